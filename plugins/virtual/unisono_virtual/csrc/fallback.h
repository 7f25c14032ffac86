#pragma once

#include <ATen/core/boxing/KernelFunction.h>
#include <ATen/core/stack.h>

namespace unisono_virtual {

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack);

}  // namespace unisono_virtual
