#include "call.h"

#include "alias.h"
#include "arena.h"
#include "generator.h"
#include "streams.h"

namespace unisono_virtual {
namespace {

constexpr size_t kWorthDropping = size_t{64} << 20;  // else to clear is quicker than to map anew

bool is_host(const at::Tensor& tensor) {
  return tensor.defined() && tensor.device().type() == c10::DeviceType::CPU;
}

c10::DeviceIndex target_of(const c10::IValue& value) {
  const auto device = value.toDevice();
  return device.index() < 0 ? current_device() : device.index();
}

}  // namespace

Call::Call(const OpInfo& info, torch::jit::Stack* stack) : info_(info) {
  const size_t base = stack->size() - info.args.size();
  for (size_t index = 0; index < info.args.size(); ++index) {
    replace((*stack)[base + index], info.args[index], static_cast<int>(index));
  }
  if (stray_.defined() && !operands_.empty()) check_host_tensor(stray_);
  if (device_ < 0) device_ = current_device();
  seed_from_device(stack, base);
  if (info.products == Products::convolution) transposed_ = (*stack)[base + 6].toBool();
  if (info.products == Products::convolution_backward) {
    transposed_ = (*stack)[base + 7].toBool();
  }
}

void Call::replace(c10::IValue& value, const ArgInfo& arg, int argument) {
  switch (arg.kind) {
    case ArgKind::tensor:
      if (value.isTensor()) value = alias(value.toTensor(), arg.written, argument);
      break;
    case ArgKind::tensor_list: {
      if (!value.isTensorList()) break;
      c10::List<at::Tensor> aliases;
      for (const at::Tensor& tensor : value.toTensorVector()) {
        aliases.push_back(alias(tensor, arg.written, argument));
      }
      value = std::move(aliases);
      break;
    }
    case ArgKind::optional_tensor_list: {
      c10::List<std::optional<at::Tensor>> aliases;
      for (const auto& tensor : value.toOptionalTensorVector()) {
        aliases.push_back(tensor ? std::make_optional(alias(*tensor, false, argument)) : tensor);
      }
      value = std::move(aliases);
      break;
    }
    case ArgKind::device:
      if (!value.isDevice()) break;
      if (device_ < 0) device_ = target_of(value);
      value = c10::Device(c10::DeviceType::CPU);
      break;
    case ArgKind::generator:
    case ArgKind::other:
      break;
  }
}

at::Tensor Call::alias(const at::Tensor& original, bool written, int argument) {
  if (!on_device(original)) {
    if (is_host(original) && original.dim() > 0) stray_ = original;
    return original;
  }
  if (device_ < 0) device_ = original.device().index();
  TORCH_CHECK(device_ == original.device().index(), info_.name,
              ": expected all tensors to be on the same device, but found at least two devices: ",
              c10::Device(c10::DeviceType::PrivateUse1, device_), " and ", original.device(), ".");
  for (const auto& operand : operands_) {
    if (operand.original.is_same(original)) {
      operands_.push_back({original, operand.alias, argument});
      return operands_.back().alias;
    }
  }
  auto made = host_tensor(original, shared_storage(original, written));
  operands_.push_back({original, made, argument});
  return made;
}

c10::Storage Call::shared_storage(const at::Tensor& original, bool resizable) const {
  for (const auto& operand : operands_) {
    if (operand.original.storage().is_alias_of(original.storage())) return operand.alias.storage();
  }
  return host_storage(original.storage(), resizable);
}

void Call::check_host_tensor(const at::Tensor& tensor) const {
  TORCH_CHECK(info_.takes_host_indices, info_.name,
              ": expected all tensors to be on the same device, but found at least two devices: ",
              c10::Device(c10::DeviceType::PrivateUse1, device_), " and ", tensor.device(), ".");
}

void Call::seed_from_device(torch::jit::Stack* stack, size_t base) {
  for (size_t index = 0; index < info_.args.size(); ++index) {
    if (info_.args[index].kind != ArgKind::generator) continue;
    auto& value = (*stack)[base + index];
    value = host_generator(value.isNone() ? default_generator(device_) : value.toGenerator());
  }
}

bool Call::zero_pages(torch::jit::Stack* stack) {
  const auto& target = operands_[0].original;
  const size_t bytes = target.nbytes();
  if (bytes < kWorthDropping || !target.is_non_overlapping_and_dense()) return false;
  char* begin = static_cast<char*>(target.mutable_data_ptr());
  const size_t page = page_bytes();
  const size_t head = (page - reinterpret_cast<uintptr_t>(begin) % page) % page;
  const size_t body = (bytes - head) / page * page;
  Arenas::drop_pages(begin + head, body);
  char* host = static_cast<char*>(Arenas::to_host(begin));
  std::memset(host, 0, head);
  std::memset(host + head + body, 0, bytes - head - body);
  stack->back() = operands_[0].alias;
  return true;
}

void Call::finish(torch::jit::Stack* stack) {
  for (const auto& operand : operands_) {
    if (info_.args[static_cast<size_t>(operand.argument)].written) {
      follow(operand.original, operand.alias);
    }
  }
  const size_t base = stack->size() - info_.returned_args.size();
  for (size_t index = 0; index < info_.returned_args.size(); ++index) {
    bring((*stack)[base + index], index);
  }
  RooflineClock::of(device_).charge(info_.name, cost(fresh_), current_stream(device_));
}

void Call::bring(c10::IValue& value, size_t index) {
  if (static_cast<int>(index) == info_.host_result) return;
  const at::Tensor* same = tensor_of(info_.returned_args[index]);
  if (value.isTensor()) {
    value = same != nullptr ? *same : bring(value.toTensor());
  } else if (value.isTensorList()) {
    c10::List<at::Tensor> results;
    for (const at::Tensor& result : value.toTensorVector()) results.push_back(bring(result));
    value = std::move(results);
  }
}

at::Tensor Call::bring(const at::Tensor& result) {
  if (!is_host(result) || !result.has_storage()) return result;
  if (Arenas::in_host_view(result.storage().data())) {
    for (const auto& operand : operands_) {
      if (operand.alias.is_same(result)) return operand.original;
      if (operand.alias.storage().is_alias_of(result.storage())) {
        return view_of(operand.original, result);
      }
    }
  }
  fresh_.push_back(to_device(result, device_));
  return fresh_.back();
}

const at::Tensor* Call::tensor_of(int argument) const {
  if (argument < 0) return nullptr;
  for (const auto& operand : operands_) {
    if (operand.argument == argument) return &operand.original;
  }
  return nullptr;
}

}  // namespace unisono_virtual
