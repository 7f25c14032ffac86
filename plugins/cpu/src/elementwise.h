// Norms, rotation and activation over all rows of a step.
#pragma once

#include "dispatch.h"
#include "pool.h"

namespace uc {

// x [rows, (Hq + 2 Hk) * D] -> rotated query and key, and value, each where told.
struct RotaryJob {
  Source qkv;
  int num_heads, num_kv_heads, head_dim, half;
  const float* q_norm;
  const float* k_norm;
  float eps;
  const float* cos;  // [rows, half].
  const float* sin;
};

void rotate_heads(const RotaryJob& job, int64_t row, int first, int count, const float* norm,
                  void* out, int dtype);

Status add_norm(const NormJob& job, int64_t rows);
Status silu_mul(const Source& gate_up, int64_t rows, int64_t size, const Target& y);
Status rotary(const RotaryJob& job, int64_t rows, const Target& query, const Target& key);

}  // namespace uc
