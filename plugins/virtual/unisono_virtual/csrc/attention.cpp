// Scaled dot-product attention in one op where the CPU has it in one op; else torch's math path.
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/native/transformers/attention.h>
#include <ATen/ops/_fused_sdp_choice.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <torch/library.h>

#include <array>
#include <tuple>

#include "alias.h"
#include "call.h"
#include "streams.h"

namespace unisono_virtual {
namespace {

using at::Tensor;
using std::optional;

constexpr int64_t kMath = 0, kFlash = 1, kOverrideable = 4;  // SDPBackend of sdp_utils

optional<Tensor> host(const optional<Tensor>& tensor) {
  if (!tensor.has_value() || !tensor->defined()) return std::nullopt;
  return on_device(*tensor) ? host_alias(*tensor) : *tensor;
}

int64_t choose(const Tensor& query, const Tensor& key, const Tensor& value,
               const optional<Tensor>& mask, double dropout, bool causal, optional<double> scale,
               bool grouped) {
  const bool differentiable_mask =
      mask.has_value() && mask->defined() && mask->requires_grad();
  if (!on_device(key) || !on_device(value) || differentiable_mask) return kMath;
  const auto choice = at::_fused_sdp_choice(host_alias(query), host_alias(key), host_alias(value),
                                            host(mask), dropout, causal, scale, grouped);
  return choice == kFlash ? kOverrideable : kMath;
}

void charge(const char* name, c10::ArrayRef<Tensor> touched, const Tensor& query,
            const Tensor& key, double products) {
  Cost cost;
  for (const auto& tensor : touched) cost.bytes += touched_bytes(tensor);
  cost.flops = products * 2 * static_cast<double>(query.numel()) *
               static_cast<double>(key.size(-2));
  cost.dtype = query.scalar_type();
  const auto device = query.device().index();
  RooflineClock::of(device).charge(name, cost, current_stream(device));
}

using Forward = std::tuple<Tensor, Tensor, Tensor, Tensor, c10::SymInt, c10::SymInt, Tensor,
                           Tensor, Tensor>;

Forward forward(const Tensor& query, const Tensor& key, const Tensor& value,
                const optional<Tensor>& mask, double dropout, bool causal, bool,
                optional<double> scale) {
  const auto device = query.device().index();
  settle(current_stream(device));
  const at::AutoDispatchBelowADInplaceOrView below;
  const auto [out, sums] = at::_scaled_dot_product_flash_attention_for_cpu(
      host_alias(query), host_alias(key), host_alias(value), dropout, causal, host(mask), scale);
  auto result = to_device(out, device);
  charge("attention", {query, key, value, result}, query, key, 2);
  auto nothing = to_device(at::detail::empty_cpu({0}, c10::ScalarType::Long), device);
  return {result,        to_device(sums, device), nothing, nothing, query.size(-2),
          key.size(-2), nothing,                 nothing, nothing};
}

using Backward = std::tuple<Tensor, Tensor, Tensor, Tensor>;

Backward backward(const Tensor& grad, const Tensor& query, const Tensor& key, const Tensor& value,
                  const Tensor& mask, std::array<bool, 4>, const Tensor& out, const Tensor& sums,
                  const Tensor&, const Tensor&, int64_t, int64_t, double dropout, bool causal,
                  const Tensor&, const Tensor&, optional<double> scale) {
  const auto device = query.device().index();
  settle(current_stream(device));
  const at::AutoDispatchBelowADInplaceOrView below;
  const auto [q, k, v] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      host_alias(grad), host_alias(query), host_alias(key), host_alias(value), host_alias(out),
      host_alias(sums), dropout, causal, host(mask), scale);
  Backward result = {to_device(q, device), to_device(k, device), to_device(v, device), Tensor()};
  charge("attention_backward",
         {grad, query, key, value, out, std::get<0>(result), std::get<1>(result),
          std::get<2>(result)},
         query, key, 5);
  return result;
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_fused_sdp_choice", choose);
  m.impl("_scaled_dot_product_fused_attention_overrideable", forward);
  m.impl("_scaled_dot_product_fused_attention_overrideable_backward", backward);
}

}  // namespace unisono_virtual

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(_fused_sdp_choice_stub, &unisono_virtual::choose)
}  // namespace at::native
