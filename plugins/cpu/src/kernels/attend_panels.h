// Many rows of queries: keys and values are laid out as the product of matrices likes its weights,
// once for all rows.

template <class Function>
INLINE void for_tiles(int rows, int max_rows, const Function& function) {
  const int64_t tiles = num_tiles(rows, max_rows);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int64_t first = tile_start(rows, max_rows, tile);
    function(first, tile_start(rows, max_rows, tile + 1) - first);
  }
}

template <FloatKind kind, bool whole>
static void lay_out_keys(const Attending& a, const HeadRows& keys, int num_keys, Ahead* ahead) {
  const int64_t steps = row_words<kind>(a);
  for (int first = 0; first < num_keys; first += kLanes) {
    uint8_t* lane = a.stage.keys + (first / kPanelRows) * steps * kBytesPerStep +
                    (first % kPanelRows) * 4;
    for (int64_t s = 0; s < steps; s += kLanes) {
      I words[kLanes];
      load_columns<whole>(a, keys.at + first, s, words);
      UNROLL for (int j = 0; j < kLanes; ++j) {
        i_store(lane + (s + j) * kBytesPerStep, words[j]);
        if (j % 2) ahead->line();
      }
    }
  }
}

template <FloatKind kind, bool whole>
static void lay_out_values(const Attending& a, const HeadRows& values, int num_keys,
                           Ahead* ahead) {
  constexpr int per_step = kind == kPairs ? 2 : 1;
  constexpr size_t pitch = kKeyBlock / per_step * kBytesPerStep;
  for (int s = 0; s < num_keys / per_step; ++s) {
    for (int d = 0; d < a.dim; d += kPanelRows) {
      I low, high;
      load_value_pair<kind, whole>(a, values.at + s * per_step, d, &low, &high);
      uint8_t* to = a.stage.values + (d / kPanelRows) * pitch + s * kBytesPerStep;
      i_store(to, low);
      i_store(to + 64, high);
      ahead->line();
    }
  }
}

// Of a block's keys those before which row `last` of the tile, and so every row before it, stops.
INLINE int64_t keys_seen(const Attending& a, int64_t last, int num_keys, int64_t start) {
  const int64_t until = a.job.position + last / a.job.group + 1 - start;
  return until < 0 ? 0 : until < num_keys ? until : num_keys;
}

// q: [rows][steps]; keys: the first vector's first step. A score is two chains of additions, of
// even and of odd steps.
template <FloatKind kind, int rows>
INLINE void score_tile(const uint32_t* q, const uint8_t* keys, int64_t steps, float* scores) {
  F sums[rows][kAttentionVectors][2];
  UNROLL for (int m = 0; m < rows; ++m) {
    UNROLL for (int v = 0; v < kAttentionVectors; ++v) sums[m][v][0] = sums[m][v][1] = f_zero();
  }
  for (int64_t s = 0; s < steps; s += 2) {
    UNROLL for (int chain = 0; chain < 2; ++chain) {
      UNROLL for (int m = 0; m < rows; ++m) {
        UNROLL for (int v = 0; v < kAttentionVectors; ++v) {
          sums[m][v][chain] = add_product<kind>(sums[m][v][chain], i_load(keys + v * 64),
                                                q[m * steps + s + chain]);
        }
      }
      keys += kBytesPerStep;
    }
  }
  UNROLL for (int m = 0; m < rows; ++m) {
    UNROLL for (int v = 0; v < kAttentionVectors; ++v) {
      f_store(scores + m * kKeyBlock + v * kLanes, f_add(sums[m][v][0], sums[m][v][1]));
    }
  }
}

template <FloatKind kind, int rows = kScoreRows>
static void score_tile_of(int64_t num_rows, const uint32_t* q, const uint8_t* keys, int64_t steps,
                          float* scores) {
  if constexpr (rows > 1) {
    if (num_rows < rows) return score_tile_of<kind, rows - 1>(num_rows, q, keys, steps, scores);
  }
  score_tile<kind, rows>(q, keys, steps, scores);
}

// weights: [rows][kKeyBlock]; values: the first vector's first step.
template <FloatKind kind, int rows>
INLINE void value_tile(const uint32_t* weights, const uint8_t* values, int64_t steps, float* out,
                       int dim) {
  F sums[rows][kAttentionVectors];
  UNROLL for (int m = 0; m < rows; ++m) {
    UNROLL for (int v = 0; v < kAttentionVectors; ++v) sums[m][v] = f_load(out + m * dim + v * kLanes);
  }
  for (int64_t s = 0; s < steps; ++s) {
    UNROLL for (int m = 0; m < rows; ++m) {
      UNROLL for (int v = 0; v < kAttentionVectors; ++v) {
        sums[m][v] =
            add_product<kind>(sums[m][v], i_load(values + v * 64), weights[m * kKeyBlock + s]);
      }
    }
    values += kBytesPerStep;
  }
  UNROLL for (int m = 0; m < rows; ++m) {
    UNROLL for (int v = 0; v < kAttentionVectors; ++v) f_store(out + m * dim + v * kLanes, sums[m][v]);
  }
}

template <FloatKind kind, int rows = kValueRows>
static void value_tile_of(int64_t num_rows, const uint32_t* weights, const uint8_t* values, int64_t steps,
                          float* out, int dim) {
  if constexpr (rows > 1) {
    if (num_rows < rows) {
      return value_tile_of<kind, rows - 1>(num_rows, weights, values, steps, out, dim);
    }
  }
  value_tile<kind, rows>(weights, values, steps, out, dim);
}

template <FloatKind kind, bool whole>
static void score_panels(const Attending& a, const HeadRows& keys, int num_keys, int64_t start,
                         Ahead* ahead) {
  lay_out_keys<kind, whole>(a, keys, num_keys, ahead);
  const int64_t steps = row_words<kind>(a);
  for_tiles(a.rows, kScoreRows, [&](int64_t first, int64_t rows) {
    const int64_t seen = keys_seen(a, first + rows - 1, num_keys, start);
    for (int64_t i = 0; i < seen; i += kAttentionVectors * kLanes) {
      score_tile_of<kind>(
          rows, a.queries + first * steps,
          a.stage.keys + (i / kPanelRows) * steps * kBytesPerStep + (i % kPanelRows) * 4, steps,
          a.scores + first * kKeyBlock + i);
    }
  });
}

template <FloatKind kind, bool whole>
static void add_value_panels(const Attending& a, const HeadRows& values, int num_keys, int64_t start,
                             Ahead* ahead) {
  lay_out_values<kind, whole>(a, values, num_keys, ahead);
  constexpr int per_step = kind == kPairs ? 2 : 1;
  constexpr size_t pitch = kKeyBlock / per_step * kBytesPerStep;
  for_tiles(a.rows, kValueRows, [&](int64_t first, int64_t rows) {
    // The weights of keys that are not seen are 0.
    const int64_t seen = keys_seen(a, first + rows - 1, num_keys, start);
    if (!seen) return;
    for (int d = 0; d < a.dim; d += kAttentionVectors * kLanes) {
      value_tile_of<kind>(rows, a.weights() + first * kKeyBlock,
                          a.stage.values + (d / kPanelRows) * pitch + (d % kPanelRows) * 4,
                          (seen + per_step - 1) / per_step, a.part.out + first * a.dim + d, a.dim);
    }
  });
}
