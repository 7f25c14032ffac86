// What choosing a token needs of a row of logits, and a plain read of memory to compare with.

static void largest(const float* x, int64_t count, float* value) {
  F most = f_set(-__builtin_inff());
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) most = f_max(f_load(x + i), most);
  float best = f_largest(most);
  for (; i < count; ++i) best = x[i] > best ? x[i] : best;
  *value = best;
}

// out = exp(x - shift), and its sum in double.
static void exponentials(const float* x, int64_t count, float shift, float* out, double* sum) {
  double total = 0.0;
  const F shifts = f_set(shift);
  for (int64_t start = 0; start < count; start += 512) {
    F part = f_zero();
    const int64_t end = count - start < 512 ? count : start + 512;
    for (int64_t i = start; i < end; i += kLanes) {
      const int some = end - i < kLanes ? int(end - i) : kLanes;
      F values = f_set(-__builtin_inff());
      if (some == kLanes) {
        values = f_load(x + i);
      } else {
        float lanes[kLanes];
        f_store(lanes, values);
        for (int j = 0; j < some; ++j) lanes[j] = x[i + j];
        values = f_load(lanes);
      }
      values = f_exp(f_sub(values, shifts));
      store_some(out, kFloat32, i, some, values);
      part = f_add(part, values);
    }
    total += f_sum(part);
  }
  *sum = total;
}

static uint64_t read(const void* data, size_t bytes) {
  const char* p = static_cast<const char*>(data);
  I sums[4] = {i_zero(), i_zero(), i_zero(), i_zero()};
  for (size_t i = 0; i + 256 <= bytes; i += 256) {
    UNROLL for (int j = 0; j < 4; ++j) {
      __builtin_prefetch(p + i + 64 * j + kAhead);
      sums[j] = i_add(sums[j], i_load(p + i + 64 * j));
    }
  }
  return uint64_t(i_sum(i_add(i_add(sums[0], sums[1]), i_add(sums[2], sums[3]))));
}
