// Copies between devices and the host.
#include "copy.h"

#include <ATen/core/LegacyTypeDispatch.h>

#include "alias.h"
#include "allocator.h"
#include "call.h"
#include "faults.h"
#include "streams.h"

namespace unisono_virtual {
namespace {

at::Tensor seen_by_host(const at::Tensor& tensor) {
  return on_device(tensor) ? host_alias(tensor) : tensor;
}

void corrupt(const at::Tensor& host) {
  if (host.nbytes() >= 64 && host.is_contiguous()) {
    static_cast<char*>(host.mutable_data_ptr())[host.nbytes() - 1] ^= 1;
  }
}

void copy_now(const at::Tensor& from, const at::Tensor& to) {
  const at::AutoDispatchBelowADInplaceOrView below;
  seen_by_host(to).copy_(seen_by_host(from));
  if (planted(Fault::save_load_corrupts) && !on_device(to) && to.scalar_type() == at::kByte) {
    corrupt(to);
  }
}

void charge(const at::Tensor& from, const at::Tensor& to, c10::Stream stream) {
  Cost cost;
  for (const auto* side : {&from, &to}) {
    if (on_device(*side)) cost.bytes += touched_bytes(*side);
  }
  RooflineClock::of(stream.device_index()).charge("copy_", cost, stream);
}

bool may_wait(const at::Tensor& from, const at::Tensor& to) {
  if (on_device(from) && on_device(to)) return false;
  const auto& host = on_device(from) ? to : from;
  return host.numel() > 0 && is_pinned(host.const_data_ptr());
}

}  // namespace

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool non_blocking) {
  const auto& local = on_device(from) ? from : to;
  const auto stream = current_stream(local.device().index());
  charge(from, to, stream);
  if (non_blocking && may_wait(from, to)) {
    defer_copy(stream, [from = from.detach(), to = to.detach()] { copy_now(from, to); });
    return to;
  }
  settle(stream);
  if (on_device(to)) settle(current_stream(to.device().index()));
  copy_now(from, to);
  if (!on_device(to)) host_waits(stream);
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  to.resize_(from.sizes());
  return copy_from(from, to, false);
}

}  // namespace unisono_virtual
