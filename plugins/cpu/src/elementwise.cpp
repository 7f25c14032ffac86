#include "elementwise.h"

namespace uc {
namespace {

constexpr int64_t kTooSmall = 16384;  // Elements below which one thread is sooner done.

template <class Function>
Status over_rows(int64_t rows, int64_t row_size, const Function& function) {
  if (rows * row_size < kTooSmall) {
    for (int64_t row = 0; row < rows; ++row) function(row);
    return kOk;
  }
  return parallel([&](const Team& team) {
    int64_t begin, end;
    team.share(rows, &begin, &end);
    for (int64_t row = begin; row < end; ++row) function(row);
  });
}

size_t element(int dtype) { return dtype == kFloat32 ? 4 : 2; }

}  // namespace

void rotate_heads(const RotaryJob& job, int64_t row, int first, int count, const float* norm,
                  void* out, int dtype) {
  const RopeHeads heads{norm,     job.eps,
                        job.head_dim, job.half,
                        job.cos + row * job.half, job.sin + row * job.half};
  const char* in = static_cast<const char*>(job.qkv.data) +
                   (row * job.qkv.stride + size_t(first) * job.head_dim) * element(job.qkv.dtype);
  for (int head = 0; head < count; ++head) {
    const size_t at = size_t(head) * job.head_dim;
    kernels().rope_head(heads, in + at * element(job.qkv.dtype), job.qkv.dtype,
                        static_cast<char*>(out) + at * element(dtype), dtype);
  }
}

Status add_norm(const NormJob& job, int64_t rows) {
  return over_rows(rows, job.size, [&](int64_t row) { kernels().norm_row(job, row); });
}

Status silu_mul(const Source& gate_up, int64_t rows, int64_t size, const Target& y) {
  return over_rows(rows, size, [&](int64_t row) { kernels().silu_mul(gate_up, row, size, y); });
}

Status rotary(const RotaryJob& job, int64_t rows, const Target& query, const Target& key) {
  const auto at = [](const Target& target, int64_t row) {
    return static_cast<char*>(target.data) + row * target.stride * element(target.dtype);
  };
  return over_rows(rows, int64_t(job.qkv.stride), [&](int64_t row) {
    rotate_heads(job, row, 0, job.num_heads, job.q_norm, at(query, row), query.dtype);
    rotate_heads(job, row, job.num_heads, job.num_kv_heads, job.k_norm, at(key, row), key.dtype);
  });
}

}  // namespace uc
