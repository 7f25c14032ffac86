#include "alias.h"

#include <ATen/EmptyTensor.h>

#include <cstring>

#include "allocator.h"
#include "arena.h"
#include "streams.h"

namespace unisono_virtual {
namespace {

void keep(void*) {}

c10::TensorImpl* impl(const at::Tensor& tensor) { return tensor.unsafeGetTensorImpl(); }

at::Tensor make_like(const at::Tensor& shape, c10::Storage storage, c10::DispatchKey key) {
  auto made = at::detail::make_tensor<c10::TensorImpl>(std::move(storage),
                                                       c10::DispatchKeySet(key), shape.dtype());
  impl(made)->set_sizes_and_strides(shape.sizes(), shape.strides(), shape.storage_offset());
  return made;
}

size_t storage_bytes(const at::Tensor& tensor) {
  return at::detail::computeStorageNbytes(tensor.sizes(), tensor.strides(), tensor.itemsize(), 0);
}

}  // namespace

c10::Storage host_storage(const c10::Storage& device_storage, bool resizable) {
  auto* from = device_storage.unsafeGetStorageImpl();
  void* address = Arenas::to_host(from->mutable_data());
  c10::DataPtr data(address, address, &keep, c10::Device(c10::DeviceType::CPU));
  return c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), from->nbytes(),
                                               std::move(data),
                                               resizable ? alias_allocator() : nullptr, resizable);
}

at::Tensor host_tensor(const at::Tensor& device_tensor, c10::Storage storage) {
  auto made = make_like(device_tensor, std::move(storage), c10::DispatchKey::CPU);
  if (device_tensor.is_conj()) impl(made)->_set_conj(true);
  if (device_tensor.is_neg()) impl(made)->_set_neg(true);
  return made;
}

at::Tensor host_alias(const at::Tensor& device_tensor) {
  return host_tensor(device_tensor, host_storage(device_tensor.storage(), false));
}

at::Tensor to_device(const at::Tensor& host, c10::DeviceIndex device) {
  const size_t bytes = storage_bytes(host);
  auto data = allocate_on(device, bytes);
  if (bytes > 0) std::memcpy(Arenas::to_host(data.get()), host.const_data_ptr(), bytes);
  auto storage = c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), bytes,
                                                       std::move(data), device_allocator(), true);
  auto made = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(std::move(storage)), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
      host.dtype());
  impl(made)->set_sizes_and_strides(host.sizes(), host.strides(), 0);
  return made;
}

at::Tensor view_of(const at::Tensor& base, const at::Tensor& shape) {
  return make_like(shape, base.storage(), c10::DispatchKey::PrivateUse1);
}

void resize_storage(c10::StorageImpl* storage, size_t bytes) {
  TORCH_CHECK(storage->resizable(), "This storage cannot be resized.");
  auto data = allocate_on(storage->device().index(), bytes);
  const size_t kept = std::min(bytes, storage->nbytes());
  if (kept > 0) {
    std::memcpy(Arenas::to_host(data.get()), Arenas::to_host(storage->data()), kept);
  }
  storage->set_data_ptr_noswap(std::move(data));
  storage->set_nbytes(bytes);
}

void follow(const at::Tensor& device_tensor, const at::Tensor& alias) {
  auto* to = device_tensor.storage().unsafeGetStorageImpl();
  auto* from = alias.storage().unsafeGetStorageImpl();
  if (from->data() != Arenas::to_host(to->data())) {
    const size_t bytes = from->nbytes();
    to->set_data_ptr_noswap(adopt(from->set_data_ptr(c10::DataPtr())));
    to->set_nbytes(bytes);
  }
  if (alias.sizes() != device_tensor.sizes() || alias.strides() != device_tensor.strides()) {
    impl(device_tensor)
        ->set_sizes_and_strides(alias.sizes(), alias.strides(), alias.storage_offset());
  }
}

}  // namespace unisono_virtual
