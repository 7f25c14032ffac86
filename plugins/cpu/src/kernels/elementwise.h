// Norms, rotation, activation: one row or one head at a time, float32 inside.

static void norm_row(const NormJob& job, int64_t row) {
  const float* in = job.residual_in ? job.residual_in + row * job.size : nullptr;
  float* sum_out = job.residual_out ? job.residual_out + row * job.size : nullptr;
  F squares = f_zero();
  for (int64_t i = 0; i < job.size; i += kLanes) {
    const int count = job.size - i < kLanes ? int(job.size - i) : kLanes;
    F value = f_zero();
    if (job.x.data) value = load_some(job.x.data, job.x.dtype, row * job.x.stride + i, count);
    if (in) value = f_add(load_some(in, kFloat32, i, count), value);
    if (sum_out) store_some(sum_out, kFloat32, i, count, value);
    squares = f_fma(value, value, squares);
  }
  const float mean = f_sum(squares) / float(job.size);
  const F scale = f_set(1.0f / __builtin_sqrtf(mean + job.eps));
  for (int64_t i = 0; i < job.size; i += kLanes) {
    const int count = job.size - i < kLanes ? int(job.size - i) : kLanes;
    F value = f_zero();
    if (job.x.data) value = load_some(job.x.data, job.x.dtype, row * job.x.stride + i, count);
    if (in) value = f_add(load_some(in, kFloat32, i, count), value);
    const F weight = load_some(job.weight, kFloat32, i, count);
    store_some(job.y.data, job.y.dtype, row * job.y.stride + i, count,
               f_mul(f_mul(value, scale), weight));
  }
}

INLINE F silu(F x) { return f_div(x, f_add(f_set(1.0f), f_exp(f_sub(f_zero(), x)))); }

static void silu_mul(const Source& gate_up, int64_t row, int64_t size, const Target& y) {
  const size_t in = row * gate_up.stride;
  for (int64_t i = 0; i < size; i += kLanes) {
    const int count = size - i < kLanes ? int(size - i) : kLanes;
    const F gate = load_some(gate_up.data, gate_up.dtype, in + i, count);
    const F up = load_some(gate_up.data, gate_up.dtype, in + size + i, count);
    store_some(y.data, y.dtype, row * y.stride + i, count, f_mul(silu(gate), up));
  }
}

static float head_scale(const RopeHeads& job, const void* x, int dtype) {
  F squares = f_zero();
  for (int i = 0; i < job.head_dim; i += kLanes) {
    const F value = load_some(x, dtype, i, job.head_dim - i);
    squares = f_fma(value, value, squares);
  }
  return 1.0f / __builtin_sqrtf(f_sum(squares) / float(job.head_dim) + job.eps);
}

INLINE F normed(const RopeHeads& job, const void* x, int dtype, int i, int count, F scale) {
  const F value = load_some(x, dtype, i, count);
  return job.norm ? f_mul(f_mul(value, scale), load_some(job.norm, kFloat32, i, count)) : value;
}

// Norm where there is one, then the first 2 * half dimensions turn, in halves.
static void rope_head(const RopeHeads& job, const void* x, int x_dtype, void* y, int y_dtype) {
  const F scale = f_set(job.norm ? head_scale(job, x, x_dtype) : 1.0f);
  const int half = job.half;
  for (int i = 0; i < half; i += kLanes) {
    const int count = half - i;
    const F first = normed(job, x, x_dtype, i, count, scale);
    const F second = normed(job, x, x_dtype, half + i, count, scale);
    const F cos = load_some(job.cos, kFloat32, i, count);
    const F sin = load_some(job.sin, kFloat32, i, count);
    store_some(y, y_dtype, i, count, f_fnma(second, sin, f_mul(first, cos)));
    store_some(y, y_dtype, half + i, count, f_fma(first, sin, f_mul(second, cos)));
  }
  for (int i = 2 * half; i < job.head_dim; i += kLanes) {
    const int count = job.head_dim - i;
    store_some(y, y_dtype, i, count, normed(job, x, x_dtype, i, count, scale));
  }
}

static void convert(const void* x, int x_dtype, void* y, int y_dtype, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int some = count - i < kLanes ? int(count - i) : kLanes;
    store_some(y, y_dtype, i, some, load_some(x, x_dtype, i, some));
  }
}
