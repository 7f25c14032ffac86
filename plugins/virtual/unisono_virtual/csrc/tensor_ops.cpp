// Ops on storage and shape, which the fallback cannot lend: making, viewing, copying, resizing.
#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/_local_scalar_dense_native.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/copy.h>
#include <ATen/ops/is_set_to_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_as_complex_native.h>
#include <ATen/ops/view_as_real_native.h>
#include <ATen/ops/view_native.h>
#include <torch/library.h>

#include "alias.h"
#include "allocator.h"
#include "call.h"
#include "copy.h"
#include "faults.h"
#include "streams.h"

namespace unisono_virtual {
namespace {

using at::IntArrayRef;
using at::Tensor;
using std::optional;

constexpr auto kKeys = c10::DispatchKeySet(c10::DispatchKey::PrivateUse1);

c10::DeviceIndex index_of(optional<c10::Device> device) {
  const bool given = device.has_value() && device->index() >= 0;
  return given ? device->index() : current_device();
}

void refuse_pinned(optional<bool> pinned) {
  TORCH_CHECK(!pinned.value_or(false), "Only dense CPU tensors can be pinned");
}

Tensor empty(IntArrayRef size, optional<c10::ScalarType> dtype, optional<c10::Layout>,
             optional<c10::Device> device, optional<bool> pinned,
             optional<c10::MemoryFormat> format) {
  refuse_pinned(pinned);
  const OnDevice here(index_of(device));
  return at::detail::empty_generic(size, c10::GetAllocator(c10::DeviceType::PrivateUse1), kKeys,
                                   c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(IntArrayRef size, IntArrayRef stride, optional<c10::ScalarType> dtype,
                     optional<c10::Layout>, optional<c10::Device> device, optional<bool> pinned) {
  refuse_pinned(pinned);
  const OnDevice here(index_of(device));
  return at::detail::empty_strided_generic(size, stride,
                                           c10::GetAllocator(c10::DeviceType::PrivateUse1), kKeys,
                                           c10::dtype_or_default(dtype));
}

Tensor as_strided(const Tensor& self, IntArrayRef size, IntArrayRef stride,
                  optional<int64_t> offset) {
  return at::native::as_strided_tensorimpl(self, size, stride, offset);
}

void grow(c10::TensorImpl* tensor) {
  const size_t bytes = at::detail::computeStorageNbytes(
      tensor->sizes(), tensor->strides(), tensor->itemsize(),
      static_cast<size_t>(tensor->storage_offset()));
  auto* storage = tensor->unsafe_storage().unsafeGetStorageImpl();
  if (tensor->numel() > 0 && bytes > storage->nbytes()) resize_storage(storage, bytes);
}

const Tensor& resize_(const Tensor& self, IntArrayRef size, optional<c10::MemoryFormat> format) {
  settle(current_stream(self.device().index()));
  auto* tensor = self.unsafeGetTensorImpl();
  tensor->set_sizes_contiguous(size);
  if (format.has_value()) tensor->empty_tensor_restride(*format);
  grow(tensor);
  return self;
}

Tensor& set_storage_offset_(Tensor& self, at::Storage source, int64_t offset, IntArrayRef size,
                            IntArrayRef stride) {
  TORCH_CHECK(source.device() == self.device(), "set_: the storage is on ", source.device(),
              ", the tensor on ", self.device(), ".");
  auto* tensor = self.unsafeGetTensorImpl();
  tensor->set_storage_keep_dtype(std::move(source));
  if (stride.data() == nullptr || (stride.empty() && !size.empty())) {
    tensor->set_storage_offset(offset);
    tensor->set_sizes_contiguous(size);
  } else {
    tensor->set_sizes_and_strides(size, stride, offset);
  }
  grow(tensor);
  return self;
}

Tensor& set_storage_(Tensor& self, at::Storage source) {
  const auto count = static_cast<int64_t>(source.nbytes() / self.dtype().itemsize());
  return set_storage_offset_(self, std::move(source), 0, {count}, {});
}

Tensor& set_nothing_(Tensor& self) {
  const OnDevice here(self.device().index());
  at::Storage empty(c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), 0,
                                                          device_allocator(), true));
  return set_storage_offset_(self, std::move(empty), 0, {0}, {});
}

at::Scalar local_scalar(const Tensor& self) {
  const auto stream = current_stream(self.device().index());
  settle(stream);
  host_waits(stream);
  const at::AutoDispatchBelowADInplaceOrView below;
  return at::native::_local_scalar_dense_cpu(host_alias(self));
}

bool compatible(const Tensor&, const Tensor&) { return !planted(Fault::tied_weights_untied); }

void record_stream(Tensor&, c10::Stream) {}

}  // namespace

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("as_strided", as_strided);
  m.impl("view", at::native::view);
  m.impl("_reshape_alias", at::native::_reshape_alias);
  m.impl("unfold", at::native::unfold);
  m.impl("view_as_real", at::native::view_as_real);
  m.impl("view_as_complex", at::native::view_as_complex);
  m.impl("is_set_to", at::native::is_set_to);
  m.impl("resize_", resize_);
  m.impl("set_.source_Storage_storage_offset", set_storage_offset_);
  m.impl("set_.source_Storage", set_storage_);
  m.impl("set_.source_Tensor", at::native::set_tensor_);
  m.impl("set_", set_nothing_);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("_local_scalar_dense", local_scalar);
  m.impl("record_stream", record_stream);
}

// Without it, modules that move here lose the tie between shared weights (torch >= 2.13).
#define UNISONO_REGISTER_COMPATIBLE(key)                                                   \
  TORCH_LIBRARY_IMPL(aten, key, m) {                                                       \
    if (c10::Dispatcher::singleton().findSchema({"aten::_has_compatible_shallow_copy_type", \
                                                 ""})) {                                   \
      m.impl("_has_compatible_shallow_copy_type", compatible);                             \
    }                                                                                      \
  }
UNISONO_REGISTER_COMPATIBLE(PrivateUse1)
UNISONO_REGISTER_COMPATIBLE(AutogradPrivateUse1)

}  // namespace unisono_virtual
