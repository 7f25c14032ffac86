// Autocast: which ops run in the lower precision, in float32, or in the widest of their inputs.
// The same ops as on torch's own accelerators.
#include <ATen/core/Tensor.h>
#include <torch/library.h>

#include "streams.h"

namespace at::autocast {  // of ATen/autocast_mode.h, which includes every op there is
TORCH_API Tensor cached_cast(at::ScalarType to, const Tensor& tensor, c10::DeviceType device);
TORCH_API at::ScalarType get_autocast_dtype(at::DeviceType device);
}  // namespace at::autocast

namespace unisono_virtual {
namespace {

using c10::ScalarType;
constexpr auto kKey = c10::DispatchKey::AutocastPrivateUse1;

constexpr const char* kLower[] = {
    "_convolution", "_convolution.deprecated", "conv1d", "conv2d", "conv3d", "conv_tbc",
    "conv_transpose1d", "conv_transpose2d.input", "conv_transpose3d.input", "convolution",
    "prelu", "addmm", "addmv", "addr", "matmul", "einsum", "mm", "mv", "linalg_vecdot", "linear",
    "addbmm", "baddbmm", "bmm", "chain_matmul", "linalg_multi_dot", "lstm_cell", "gru_cell",
    "rnn_tanh_cell", "rnn_relu_cell", "scaled_dot_product_attention"};

constexpr const char* kFull[] = {
    "acos", "asin", "cosh", "erfinv", "exp", "expm1", "log", "log10", "log2", "log1p",
    "reciprocal", "rsqrt", "sinh", "tan", "pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar",
    "softplus", "layer_norm", "native_layer_norm", "rms_norm", "group_norm",
    "frobenius_norm.dim", "nuclear_norm", "nuclear_norm.dim", "cosine_similarity",
    "poisson_nll_loss", "cosine_embedding_loss", "nll_loss", "nll_loss2d",
    "hinge_embedding_loss", "kl_div", "l1_loss", "smooth_l1_loss", "huber_loss", "mse_loss",
    "margin_ranking_loss", "multilabel_margin_loss", "soft_margin_loss", "triplet_margin_loss",
    "multi_margin_loss", "binary_cross_entropy_with_logits", "dist", "pdist", "cdist", "renorm",
    "logsumexp", "prod", "prod.dim_int", "softmax.int", "log_softmax.int", "cumprod", "cumsum",
    "linalg_vector_norm", "linalg_matrix_norm", "linalg_matrix_norm.str_ord", "sum",
    "sum.dim_IntList", "norm.Scalar", "norm.ScalarOpt_dim"};

constexpr const char* kWidest[] = {
    "addcdiv", "addcmul", "atan2", "bilinear", "cross", "dot", "vdot", "grid_sampler",
    "index_put", "tensordot", "scatter_add"};

bool castable(const at::Tensor& tensor) {
  return tensor.defined() && tensor.device().type() == kDeviceType && tensor.is_floating_point() &&
         tensor.scalar_type() != ScalarType::Double;
}

template <typename Visit>
void each_tensor(torch::jit::Stack* stack, size_t count, Visit visit) {
  for (size_t index = stack->size() - count; index < stack->size(); ++index) {
    auto& value = (*stack)[index];
    if (value.isTensor()) {
      value = visit(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<at::Tensor> visited;
      for (const at::Tensor& tensor : value.toTensorVector()) visited.push_back(visit(tensor));
      value = std::move(visited);
    }
  }
}

void cast_all(torch::jit::Stack* stack, size_t count, ScalarType to) {
  each_tensor(stack, count, [to](const at::Tensor& tensor) {
    return castable(tensor) ? at::autocast::cached_cast(to, tensor, kDeviceType) : tensor;
  });
}

ScalarType lower() { return at::autocast::get_autocast_dtype(kDeviceType); }

ScalarType widest(torch::jit::Stack* stack, size_t count) {
  ScalarType found = lower();
  each_tensor(stack, count, [&found](const at::Tensor& tensor) {
    if (castable(tensor)) found = c10::promoteTypes(found, tensor.scalar_type());
    return tensor;
  });
  return found;
}

// A dtype that the caller names wins over float32.
bool names_dtype(const c10::FunctionSchema& schema, const torch::jit::Stack& stack) {
  const auto& arguments = schema.arguments();
  for (size_t index = 0; index < arguments.size(); ++index) {
    if (arguments[index].name() == "dtype") {
      return !stack[stack.size() - arguments.size() + index].isNone();
    }
  }
  return false;
}

enum class Rule { lower, full, widest };

template <Rule rule>
void run(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(kKey);
  const size_t count = op.schema().arguments().size();
  if (rule == Rule::lower) cast_all(stack, count, lower());
  if (rule == Rule::full && !names_dtype(op.schema(), *stack)) {
    cast_all(stack, count, ScalarType::Float);
  }
  if (rule == Rule::widest) cast_all(stack, count, widest(stack, count));
  op.callBoxed(stack);
}

void refuse(const c10::OperatorHandle&, torch::jit::Stack*) {
  TORCH_CHECK(false, "binary_cross_entropy is unsafe to autocast: use "
              "binary_cross_entropy_with_logits.");
}

template <Rule rule, size_t N>
void add(torch::Library& m, const char* const (&names)[N]) {
  for (const char* name : names) {
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&run<rule>>());
  }
}

}  // namespace

TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFallthrough());
}

TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {
  add<Rule::lower>(m, kLower);
  add<Rule::full>(m, kFull);
  add<Rule::widest>(m, kWidest);
  m.impl("binary_cross_entropy", torch::CppFunction::makeFromBoxedFunction<&refuse>());
}

}  // namespace unisono_virtual
