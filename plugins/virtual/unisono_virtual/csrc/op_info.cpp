#include "op_info.h"

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>

namespace unisono_virtual {
namespace {

using Names = std::set<std::string>;

struct Factors {
  Products products;
  int first;
};

const std::map<std::string, Factors>& factors() {
  static const std::map<std::string, Factors> table = {
      {"mm", {Products::mm, 0}},
      {"bmm", {Products::mm, 0}},
      {"_int_mm", {Products::mm, 0}},
      {"addmm", {Products::mm, 1}},
      {"_addmm_activation", {Products::mm, 1}},
      {"addmm_", {Products::mm, 1}},
      {"baddbmm", {Products::mm, 1}},
      {"baddbmm_", {Products::mm, 1}},
      {"mv", {Products::mv, 0}},
      {"addmv", {Products::mv, 1}},
      {"addmv_", {Products::mv, 1}},
      {"dot", {Products::dot, 0}},
      {"vdot", {Products::dot, 0}},
      {"convolution", {Products::convolution, 0}},
      {"convolution_backward", {Products::convolution_backward, 1}},
  };
  return table;
}

const Names& reads_a_table() {
  static const Names names = {"embedding", "index_select", "gather", "take", "index",
                              "_unsafe_index"};
  return names;
}

struct Patch {
  int argument;
  bool adds;
};

const std::map<std::string, Patch>& writes_a_patch() {
  static const std::map<std::string, Patch> table = {
      {"index_copy", {3, false}},      {"index_copy_", {3, false}}, {"index_put_", {2, false}},
      {"_index_put_impl_", {2, false}}, {"scatter", {3, false}},    {"scatter_", {3, false}},
      {"index_add", {3, true}},        {"index_add_", {3, true}},   {"scatter_add", {3, true}},
      {"scatter_add_", {3, true}},
  };
  return table;
}

const Names& only_fills() {
  static const Names names = {"fill_",      "zero_",        "normal_",     "uniform_",
                              "random_",    "bernoulli_",   "exponential_", "log_normal_",
                              "geometric_", "cauchy_"};
  return names;
}

const Names& takes_host_indices() {
  static const Names names = {"index",          "index_put",        "index_put_",
                              "_unsafe_index",  "_unsafe_index_put", "_index_put_impl_",
                              "_pack_padded_sequence", "ctc_loss"};
  return names;
}

ArgKind kind_of(const c10::Argument& argument) {
  const std::string type = argument.type()->str();
  if (type == "Tensor" || type == "Tensor?") return ArgKind::tensor;
  if (type == "Tensor[]" || type == "Tensor[]?") return ArgKind::tensor_list;
  if (type == "Tensor?[]") return ArgKind::optional_tensor_list;
  if (type.rfind("Generator", 0) == 0) return ArgKind::generator;
  if (type.rfind("Device", 0) == 0) return ArgKind::device;
  return ArgKind::other;
}

bool is_written(const c10::Argument& argument) {
  return argument.alias_info() != nullptr && argument.alias_info()->isWrite();
}

int argument_returned(const c10::FunctionSchema& schema, const c10::Argument& result) {
  if (!is_written(result)) return -1;
  const auto& arguments = schema.arguments();
  for (size_t index = 0; index < arguments.size(); ++index) {
    const auto* alias = arguments[index].alias_info();
    if (alias != nullptr && alias->beforeSets() == result.alias_info()->beforeSets()) {
      return static_cast<int>(index);
    }
  }
  return -1;
}

std::string base_name(const c10::FunctionSchema& schema) {
  const auto& name = schema.name();
  const auto colons = name.rfind("::");
  return colons == std::string::npos ? name : name.substr(colons + 2);
}

void describe_cost(OpInfo& info) {
  const auto factor = factors().find(info.name);
  if (factor != factors().end()) {
    info.products = factor->second.products;
    info.first_factor = factor->second.first;
  }
  if (reads_a_table().count(info.name) != 0) info.table = 0;
  const auto patch = writes_a_patch().find(info.name);
  if (patch != writes_a_patch().end()) {
    info.patch = patch->second.argument;
    info.patch_adds = patch->second.adds;
  }
  if (only_fills().count(info.name) != 0) info.args[0].read = false;
}

std::unique_ptr<OpInfo> describe(const c10::OperatorHandle& op) {
  auto info = std::make_unique<OpInfo>();
  const auto& schema = op.schema();
  info->name = base_name(schema);
  for (const auto& argument : schema.arguments()) {
    const bool written = is_written(argument);
    info->args.push_back({kind_of(argument), written, !(written && argument.kwarg_only())});
  }
  for (const auto& result : schema.returns()) {
    info->returned_args.push_back(argument_returned(schema, result));
  }
  info->served = op.hasComputedKernelForDispatchKey(c10::DispatchKey::CPU);
  info->takes_host_indices = takes_host_indices().count(info->name) != 0;
  info->host_result = info->name == "_pack_padded_sequence" ? 1 : -1;
  info->zeroes = info->name == "zero_";
  describe_cost(*info);
  return info;
}

const OpInfo* look_up(const c10::OperatorHandle& op) {
  static std::mutex mutex;
  static auto* known =
      new std::unordered_map<const c10::FunctionSchema*, std::unique_ptr<OpInfo>>();
  const std::lock_guard<std::mutex> lock(mutex);
  auto& entry = (*known)[&op.schema()];
  if (entry == nullptr) entry = describe(op);
  return entry.get();
}

}  // namespace

const OpInfo& info_of(const c10::OperatorHandle& op) {
  thread_local std::unordered_map<const c10::FunctionSchema*, const OpInfo*> seen;
  auto& entry = seen[&op.schema()];
  if (entry == nullptr) entry = look_up(op);
  return *entry;
}

}  // namespace unisono_virtual
