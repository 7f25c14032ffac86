// Device tensors as CPU kernels may see them, and back.
#pragma once

#include <ATen/core/Tensor.h>

namespace unisono_virtual {

inline bool on_device(const at::Tensor& tensor) {
  return tensor.defined() && tensor.device().type() == c10::DeviceType::PrivateUse1;
}

// The same bytes as a CPU storage. A resizable one takes more memory from the current device.
c10::Storage host_storage(const c10::Storage& device_storage, bool resizable);
// A CPU tensor of the same shape over `storage`.
at::Tensor host_tensor(const at::Tensor& device_tensor, c10::Storage storage);
at::Tensor host_alias(const at::Tensor& device_tensor);

// Copies a CPU tensor into fresh device memory, with its strides.
at::Tensor to_device(const at::Tensor& host, c10::DeviceIndex device);
// A tensor shaped like `shape` over the storage of `base`.
at::Tensor view_of(const at::Tensor& base, const at::Tensor& shape);

void resize_storage(c10::StorageImpl* storage, size_t bytes);

// Shows what a CPU kernel did to the shape or size of an alias in the device tensor itself.
void follow(const at::Tensor& device_tensor, const at::Tensor& alias);

}  // namespace unisono_virtual
