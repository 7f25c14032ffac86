// float_tile of bfloat16 where the processor multiplies 2 x 4 by 4 x 2 of them: two rows of x go at
// once. That product is two of pairs, one after the other, so each sum is the chain of additions
// that it is with one row.

INLINE RF dot_pair(RF sum, RI weights, RI words, int i) {
  const bfloat16x8_t w = vreinterpretq_bf16_s32(weights), x = vreinterpretq_bf16_s32(words);
  switch (i) {
    case 0: return vbfdotq_laneq_f32(sum, w, x, 0);
    case 1: return vbfdotq_laneq_f32(sum, w, x, 1);
    case 2: return vbfdotq_laneq_f32(sum, w, x, 2);
    default: return vbfdotq_laneq_f32(sum, w, x, 3);
  }
}

INLINE RF multiply_blocks(RF sums, RI weights, RI x) {
  return vbfmmlaq_f32(sums, vreinterpretq_bf16_s32(weights), vreinterpretq_bf16_s32(x));
}

template <int registers>
INLINE void fetch_pairs(const uint8_t* w, size_t pitch) {
  UNROLL for (int r = 0; r < registers; r += 4) {
    __builtin_prefetch(w + register_offset(r, pitch) + kAhead);
  }
}

// One row, four steps at a time.
template <int registers>
INLINE void pair_row(const uint32_t* a, const uint8_t* w, size_t pitch, int64_t steps,
                     float* out) {
  RF sums[registers];
  UNROLL for (int r = 0; r < registers; ++r) sums[r] = r_zero();
  for (int64_t s = 0; s < steps; s += 4) {
    const RI x = load_words(a + s);
    UNROLL for (int i = 0; i < 4; ++i) {
      UNROLL for (int r = 0; r < registers; ++r) {
        sums[r] = dot_pair(sums[r], ri_load(w + register_offset(r, pitch)), x, i);
      }
      w += kBytesPerStep;
    }
  }
  UNROLL for (int r = 0; r < registers; ++r) r_store(out + 4 * r, sums[r]);
}

// Two steps at a time. A block of sums: rows of weights down, of x across.
template <int rows, int registers>
INLINE void pair_rows(const uint32_t* a, const uint8_t* w, size_t pitch, int64_t steps,
                      const Sums& out, bool ahead) {
  constexpr int pairs = (rows + 1) / 2;
  RF blocks[pairs][registers][2];
  UNROLL for (int p = 0; p < pairs; ++p) {
    UNROLL for (int r = 0; r < registers; ++r) {
      blocks[p][r][0] = blocks[p][r][1] = r_zero();
    }
  }
  for (int64_t s = 0; s < steps; s += 2) {
    if (ahead) {
      fetch_pairs<registers>(w, pitch);
      fetch_pairs<registers>(w + kBytesPerStep, pitch);
    }
    RI x[pairs];
    UNROLL for (int p = 0; p < pairs; ++p) x[p] = load_row_pair(a + 4 * p, 2 * p + 1 < rows);
    UNROLL for (int r = 0; r < registers; ++r) {
      const uint8_t* at = w + register_offset(r, pitch);
      const RI first = ri_load(at), second = ri_load(at + kBytesPerStep);
      const RI low = vzip1q_s32(first, second), high = vzip2q_s32(first, second);
      UNROLL for (int p = 0; p < pairs; ++p) {
        blocks[p][r][0] = multiply_blocks(blocks[p][r][0], low, x[p]);
        blocks[p][r][1] = multiply_blocks(blocks[p][r][1], high, x[p]);
      }
    }
    a += 2 * rows;
    w += 2 * kBytesPerStep;
  }
  UNROLL for (int m = 0; m < rows; ++m) {
    UNROLL for (int r = 0; r < registers; ++r) {
      const RF low = blocks[m / 2][r][0], high = blocks[m / 2][r][1];
      r_store(out.data + m * out.stride + 4 * r,
                m % 2 ? vuzp2q_f32(low, high) : vuzp1q_f32(low, high));
    }
  }
}

template <int rows, int registers>
INLINE void pair_tile(const uint32_t* a, const uint8_t* w, size_t pitch, int64_t steps,
                      const Sums& out, bool ahead) {
  if constexpr (rows == 1) {
    pair_row<registers>(a, w, pitch, steps, out.data);
  } else {
    pair_rows<rows, registers>(a, w, pitch, steps, out, ahead);
  }
}
