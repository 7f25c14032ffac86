// Every op that has no kernel of its own: the CPU's, on the device's bytes.
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include "call.h"
#include "fallback.h"
#include "streams.h"

namespace unisono_virtual {

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const OpInfo& info = info_of(op);
  TORCH_CHECK_NOT_IMPLEMENTED(info.served, "The virtual device cannot run ", op.schema().name(),
                              ": it lends the CPU's kernels, and the CPU has none for this.");
  Call call(info, stack);
  settle(current_stream(call.device()));
  const OnDevice here(call.device());
  if (!info.zeroes || !call.zero_pages(stack)) {
    const at::AutoDispatchBelowADInplaceOrView below;
    op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  }
  call.finish(stack);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>());
}

// Ops that torch composes of others for a device without a kernel, where the CPU's own kernel
// rounds differently, warns, or is the only one.
constexpr const char* kWhole[] = {
    "convolution",       "convolution_backward", "mse_loss",      "smooth_l1_loss",
    "native_layer_norm", "native_group_norm",    "silu_backward", "mish_backward",
    "native_channel_shuffle", "addr",            "_stack",
};

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  for (const char* name : kWhole) {
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&fallback>());
  }
}

}  // namespace unisono_virtual
