#pragma once

#include <ATen/core/Tensor.h>

namespace unisono_virtual {

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool non_blocking);
at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to);

}  // namespace unisono_virtual
