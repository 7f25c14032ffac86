// What the fallback has to know about an op; read from its schema once.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include <string>
#include <vector>

namespace unisono_virtual {

enum class ArgKind { other, tensor, tensor_list, optional_tensor_list, generator, device };

struct ArgInfo {
  ArgKind kind = ArgKind::other;
  bool written = false;
  bool read = true;
};

enum class Products { none, mm, mv, dot, convolution, convolution_backward };

struct OpInfo {
  std::string name;  // without namespace and overload
  std::vector<ArgInfo> args;
  std::vector<int> returned_args;  // for each result the argument that it is, or -1
  bool served = true;              // the CPU has a kernel
  bool takes_host_indices = false;
  int host_result = -1;  // a result that stays on the host, as on other accelerators
  bool zeroes = false;

  // For the clock.
  Products products = Products::none;
  int first_factor = 0;  // argument; the second follows it
  int table = -1;        // argument of which only as much is read as the result holds
  int patch = -1;        // argument with the rows written into the first
  bool patch_adds = false;
};

const OpInfo& info_of(const c10::OperatorHandle& op);

}  // namespace unisono_virtual
