// One op on its way to the CPU: device tensors become aliases, results become device tensors.
#pragma once

#include <ATen/core/stack.h>
#include <c10/util/SmallVector.h>

#include "clock.h"
#include "op_info.h"

namespace unisono_virtual {

struct Operand {
  at::Tensor original;
  at::Tensor alias;
  int argument;
};

class Call {
 public:
  // Replaces the arguments on the stack.
  Call(const OpInfo& info, torch::jit::Stack* stack);

  c10::DeviceIndex device() const { return device_; }
  // Clears large blocks by giving their pages back; true where that was all there was to do.
  bool zero_pages(torch::jit::Stack* stack);
  // Replaces the results on the stack.
  void finish(torch::jit::Stack* stack);

 private:
  void replace(c10::IValue& value, const ArgInfo& arg, int argument);
  at::Tensor alias(const at::Tensor& original, bool written, int argument);
  c10::Storage shared_storage(const at::Tensor& original, bool resizable) const;
  void check_host_tensor(const at::Tensor& tensor) const;
  void seed_from_device(torch::jit::Stack* stack, size_t base);
  at::Tensor bring(const at::Tensor& result);
  void bring(c10::IValue& value, size_t index);
  const at::Tensor* tensor_of(int argument) const;

  Cost cost(c10::ArrayRef<at::Tensor> results) const;
  bool writes_first() const;  // whether the first operand is changed in place
  const ArgInfo& argument(const Operand& operand) const;
  double bytes(c10::ArrayRef<at::Tensor> results) const;
  double flops(c10::ArrayRef<at::Tensor> results) const;

  const OpInfo& info_;
  c10::SmallVector<Operand, 6> operands_;
  c10::SmallVector<at::Tensor, 2> fresh_;
  c10::DeviceIndex device_ = -1;
  at::Tensor stray_;  // a host tensor among the arguments
  bool transposed_ = false;
};

// Bytes that an op touches in a tensor; what is expanded counts once.
double touched_bytes(const at::Tensor& tensor);

}  // namespace unisono_virtual
