// What a call costs on the imitated chip: bytes to move and products to add.
#include <algorithm>

#include "call.h"

namespace unisono_virtual {
namespace {

double total_bytes(c10::ArrayRef<at::Tensor> tensors) {
  double bytes = 0;
  for (const auto& tensor : tensors) bytes += touched_bytes(tensor);
  return bytes;
}

double elements(const at::Tensor& tensor) { return static_cast<double>(tensor.numel()); }

double kernel_elements(const at::Tensor& weight) {
  return weight.numel() == 0 ? 0 : elements(weight) / static_cast<double>(weight.size(0));
}

}  // namespace

double touched_bytes(const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.numel() == 0) return 0;
  double count = 1;
  for (int64_t dim = 0; dim < tensor.dim(); ++dim) {
    if (tensor.stride(dim) != 0) count *= static_cast<double>(tensor.size(dim));
  }
  return count * static_cast<double>(tensor.itemsize());
}

Cost Call::cost(c10::ArrayRef<at::Tensor> results) const {
  Cost cost;
  cost.bytes = bytes(results);
  cost.flops = flops(results);
  if (cost.flops > 0) cost.dtype = tensor_of(info_.first_factor)->scalar_type();
  return cost;
}

double Call::bytes(c10::ArrayRef<at::Tensor> results) const {
  const bool patches = info_.patch >= 0 && writes_first();
  double moved = total_bytes(results);
  double held = moved;  // by the results, in fresh memory or not
  for (const auto& operand : operands_) {
    if (!argument(operand).written) continue;
    const double size = touched_bytes(operand.original);
    held += size;
    if (!patches) moved += size;
  }
  for (const auto& operand : operands_) {
    if (!argument(operand).read) continue;
    if (patches && operand.original.is_same(operands_[0].original)) continue;
    moved += operand.argument == info_.table ? held : touched_bytes(operand.original);
  }
  if (patches) {
    const at::Tensor* rows = tensor_of(info_.patch);
    if (rows != nullptr) moved += touched_bytes(*rows) * (info_.patch_adds ? 2 : 1);
  }
  return moved;
}

bool Call::writes_first() const {
  return std::any_of(operands_.begin(), operands_.end(), [this](const Operand& operand) {
    return argument(operand).written && operand.original.is_same(operands_[0].original);
  });
}

const ArgInfo& Call::argument(const Operand& operand) const {
  return info_.args[static_cast<size_t>(operand.argument)];
}

double Call::flops(c10::ArrayRef<at::Tensor> results) const {
  if (info_.products == Products::none) return 0;
  const at::Tensor* first = tensor_of(info_.first_factor);
  const at::Tensor* second = tensor_of(info_.first_factor + 1);
  if (first == nullptr || second == nullptr || second->dim() == 0) return 0;
  switch (info_.products) {
    case Products::mm:
      return 2 * elements(*first) * static_cast<double>(second->size(-1));
    case Products::mv:
    case Products::dot:
      return 2 * elements(*first);
    case Products::convolution:
      return 2 * kernel_elements(*second) *
             elements(transposed_ || results.empty() ? *first : results[0]);
    case Products::convolution_backward: {
      const at::Tensor* grad = tensor_of(0);
      const double once = 2 * kernel_elements(*second) * elements(transposed_ ? *first : *grad);
      double grads = 0;
      for (const auto& result : results) grads += result.dim() > 1 ? 1 : 0;
      return grads * once;
    }
    case Products::none:
      break;
  }
  return 0;
}

}  // namespace unisono_virtual
