// Many rows of queries: keys and values are laid out as the product of matrices likes its weights,
// once for all rows.

constexpr int kScoreRows = (kFloatRows + 1) / 2;

template <class Function>
INLINE void for_tiles(int rows, int max_rows, const Function& function) {
  const long tiles = num_tiles(rows, max_rows);
  for (long tile = 0; tile < tiles; ++tile) {
    const long first = tile_start(rows, max_rows, tile);
    function(first, tile_start(rows, max_rows, tile + 1) - first);
  }
}

template <FloatKind kind, bool whole>
static void lay_out_keys(const Attending& a, const HeadRows& keys, Ahead* ahead) {
  const long steps = row_words<kind>(a);
  for (int first = 0; first < kKeyBlock; first += kLanes) {
    uint8_t* lane = a.stage.keys + (first / kPanelRows) * steps * kBytesPerStep +
                    (first % kPanelRows) * 4;
    for (long s = 0; s < steps; s += kLanes) {
      I words[kLanes];
      load_columns<whole>(a, keys.at + first, s, words);
      UNROLL for (int j = 0; j < kLanes; ++j) i_store(lane + (s + j) * kBytesPerStep, words[j]);
    }
    ahead->some(kLanes / 2);
  }
}

template <FloatKind kind, bool whole>
static void lay_out_values(const Attending& a, const HeadRows& values, Ahead* ahead) {
  constexpr int per_step = kind == kPairs ? 2 : 1;
  constexpr long steps = kKeyBlock / per_step;
  for (int s = 0; s < steps; ++s) {
    if (s % 2 == 0 || kind == kPairs) ahead->some(1);
    for (int d = 0; d < a.dim; d += kPanelRows) {
      I low, high;
      load_value_pair<kind, whole>(a, values.at + s * per_step, d, &low, &high);
      uint8_t* to = a.stage.values + ((d / kPanelRows) * steps + s) * kBytesPerStep;
      i_store(to, low);
      i_store(to + 64, high);
    }
  }
}

// q: [steps][rows]; keys: the first vector's first step. A score is two chains of additions, of even
// and of odd steps.
template <FloatKind kind, int rows>
INLINE void score_tile(const uint32_t* q, const uint8_t* keys, size_t pitch, long steps,
                       float* scores) {
  F sums[rows][kFloatVectors][2];
  UNROLL for (int m = 0; m < rows; ++m) {
    UNROLL for (int v = 0; v < kFloatVectors; ++v) sums[m][v][0] = sums[m][v][1] = f_zero();
  }
  for (long s = 0; s < steps; s += 2) {
    UNROLL for (int chain = 0; chain < 2; ++chain) {
      UNROLL for (int m = 0; m < rows; ++m) {
        UNROLL for (int v = 0; v < kFloatVectors; ++v) {
          sums[m][v][chain] = multiply_add<kind>(sums[m][v][chain],
                                                 keys + (v % 2) * 64 + (v / 2) * pitch, q[m]);
        }
      }
      q += rows;
      keys += kBytesPerStep;
    }
  }
  UNROLL for (int m = 0; m < rows; ++m) {
    UNROLL for (int v = 0; v < kFloatVectors; ++v) {
      f_store(scores + m * kKeyBlock + v * kLanes, f_add(sums[m][v][0], sums[m][v][1]));
    }
  }
}

template <FloatKind kind, int rows = kScoreRows>
static void score_tile_of(long num_rows, const uint32_t* q, const uint8_t* keys, size_t pitch,
                          long steps, float* scores) {
  if constexpr (rows > 1) {
    if (num_rows < rows) {
      return score_tile_of<kind, rows - 1>(num_rows, q, keys, pitch, steps, scores);
    }
  }
  score_tile<kind, rows>(q, keys, pitch, steps, scores);
}

template <FloatKind kind, bool whole>
static void score_panels(const Attending& a, const HeadRows& keys, Ahead* ahead) {
  lay_out_keys<kind, whole>(a, keys, ahead);
  const long steps = row_words<kind>(a);
  const size_t pitch = steps * kBytesPerStep;
  for_tiles(a.rows, kScoreRows, [&](long first, long rows) {
    for (int v = 0; v < kKeyBlock / kLanes; v += kFloatVectors) {
      score_tile_of<kind>(rows, a.queries + first * steps,
                          a.stage.keys + (v / 2) * pitch + (v % 2) * 64, pitch, steps,
                          a.scores + first * kKeyBlock + v * kLanes);
    }
  });
}

template <FloatKind kind, bool whole>
static void add_value_panels(const Attending& a, const HeadRows& values, Ahead* ahead) {
  lay_out_values<kind, whole>(a, values, ahead);
  constexpr long steps = kKeyBlock / (kind == kPairs ? 2 : 1);
  constexpr size_t pitch = steps * kBytesPerStep;
  for_tiles(a.rows, kFloatRows, [&](long first, long rows) {
    for (int d = 0; d < a.dim; d += kFloatVectors * kLanes) {
      float_tile_of<kind, kFloatRows, kFloatVectors>(
          rows, a.weights + first * steps,
          a.stage.values + (d / kPanelRows) * pitch + (d % kPanelRows) * 4, pitch, steps,
          Sums{a.part.out + first * a.dim + d, size_t(a.dim), true});
    }
  });
}
