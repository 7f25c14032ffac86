// A few rows of queries, as when decoding: keys and values pass through registers once, on their
// way from the cache to the sums. Every sum is the same chain of additions as in attend_panels.h.

// 16 keys times the queries.
template <FloatKind kind, bool whole, int rows>
INLINE void score_16(const Attending& a, const uint32_t* const* keys, float* scores, Ahead* ahead) {
  const int64_t steps = row_words<kind>(a);
  F sums[rows][2];
  UNROLL for (int m = 0; m < rows; ++m) sums[m][0] = sums[m][1] = f_zero();
  for (int64_t s = 0; s < steps; s += kLanes) {
    I words[kLanes];
    load_columns<whole>(a, keys, s, words);
    UNROLL for (int j = 0; j < kLanes; ++j) {
      UNROLL for (int m = 0; m < rows; ++m) {
        sums[m][j % 2] =
            add_product<kind>(sums[m][j % 2], words[j], a.queries[m * steps + s + j]);
      }
      if (j % 2) ahead->line();
    }
  }
  UNROLL for (int m = 0; m < rows; ++m) {
    f_store(scores + m * kKeyBlock, f_add(sums[m][0], sums[m][1]));
  }
}

// `pairs` times 32 dimensions from d on.
template <FloatKind kind, bool whole, int rows, int pairs>
INLINE void add_values_at(const Attending& a, const uint32_t* const* values, int num_keys, int d,
                          Ahead* ahead) {
  constexpr int per_step = kind == kPairs ? 2 : 1;
  F sums[rows][pairs][2];
  float* out = a.part.out + d;
  UNROLL for (int m = 0; m < rows; ++m) {
    UNROLL for (int i = 0; i < pairs; ++i) {
      sums[m][i][0] = f_load(out + m * a.dim + i * kPanelRows);
      sums[m][i][1] = f_load(out + m * a.dim + i * kPanelRows + kLanes);
    }
  }
  const uint32_t* weights = a.weights();
  for (int s = 0; s < num_keys / per_step; ++s) {
    UNROLL for (int i = 0; i < pairs; ++i) {
      I low, high;
      load_value_pair<kind, whole>(a, values + s * per_step, d + i * kPanelRows, &low, &high);
      UNROLL for (int m = 0; m < rows; ++m) {
        sums[m][i][0] = add_product<kind>(sums[m][i][0], low, weights[m * kKeyBlock + s]);
        sums[m][i][1] = add_product<kind>(sums[m][i][1], high, weights[m * kKeyBlock + s]);
      }
      ahead->line();
    }
  }
  UNROLL for (int m = 0; m < rows; ++m) {
    UNROLL for (int i = 0; i < pairs; ++i) {
      f_store(out + m * a.dim + i * kPanelRows, sums[m][i][0]);
      f_store(out + m * a.dim + i * kPanelRows + kLanes, sums[m][i][1]);
    }
  }
}

template <FloatKind kind, bool whole, int rows = kDirectRows>
static void score_few(const Attending& a, const HeadRows& keys, int num_keys, Ahead* ahead) {
  if constexpr (rows > 1) {
    if (a.rows < rows) return score_few<kind, whole, rows - 1>(a, keys, num_keys, ahead);
  }
  for (int i = 0; i < num_keys; i += kLanes) {
    score_16<kind, whole, rows>(a, keys.at + i, a.scores + i, ahead);
  }
}

template <FloatKind kind, bool whole, int rows = kDirectRows>
static void add_values_few(const Attending& a, const HeadRows& values, int num_keys,
                           Ahead* ahead) {
  if constexpr (rows > 1) {
    if (a.rows < rows) return add_values_few<kind, whole, rows - 1>(a, values, num_keys, ahead);
  }
  constexpr int fitting = kDirectSums / (2 * rows), pairs = fitting > 4 ? 4 : fitting;
  int d = 0;
  for (; d + pairs * kPanelRows <= a.dim; d += pairs * kPanelRows) {
    add_values_at<kind, whole, rows, pairs>(a, values.at, num_keys, d, ahead);
  }
  for (; d < a.dim; d += kPanelRows) {
    add_values_at<kind, whole, rows, 1>(a, values.at, num_keys, d, ahead);
  }
}
