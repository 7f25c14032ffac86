// Adapters: a row through the two thin matrices of one.

// inner = x down.
static void low_rank_down(const LowRank& low, const float* x, float* inner) {
  for (int block = 0; block < low.rank; block += kLanes) {
    const size_t at = size_t(block) * low.cols;
    F sums[4] = {f_zero(), f_zero(), f_zero(), f_zero()};
    int64_t k = 0;
    for (; k + 4 <= low.cols; k += 4) {
      for (int i = 0; i < 4; ++i) {
        sums[i] = f_fma(f_set(x[k + i]), load_as(low.down, low.dtype, at + size_t(k + i) * kLanes),
                        sums[i]);
      }
    }
    for (; k < low.cols; ++k) {
      sums[0] = f_fma(f_set(x[k]), load_as(low.down, low.dtype, at + size_t(k) * kLanes), sums[0]);
    }
    f_store(inner + block, f_add(f_add(sums[0], sums[1]), f_add(sums[2], sums[3])));
  }
}

// y += inner up, of the rows of `part` in [begin, end), which are those of y; begin is a multiple of 16.
static void low_rank_up(const LowRankPart& part, int dtype, const float* inner, int64_t begin,
                        int64_t end, float* y) {
  const int64_t last = part.first_row + part.num_rows;
  const int64_t stop = end < last ? end : last;
  for (int64_t i = begin > part.first_row ? begin : part.first_row; i < stop; i += kLanes) {
    const int count = stop - i < kLanes ? int(stop - i) : kLanes;
    const size_t at = size_t(i - part.first_row) * part.rank;
    F sum = load_some(y, kFloat32, size_t(i - begin), count), other = f_zero();
    int r = 0;
    for (; r + 2 <= part.rank; r += 2) {
      const float* x = inner + part.offset + r;
      sum = f_fma(f_set(x[0]), load_as(part.up, dtype, at + size_t(r) * kLanes), sum);
      other = f_fma(f_set(x[1]), load_as(part.up, dtype, at + size_t(r + 1) * kLanes), other);
    }
    if (r < part.rank) {
      const F up = load_as(part.up, dtype, at + size_t(r) * kLanes);
      sum = f_fma(f_set(inner[part.offset + r]), up, sum);
    }
    store_some(y, kFloat32, size_t(i - begin), count, f_add(sum, other));
  }
}
