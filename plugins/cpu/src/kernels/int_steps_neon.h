// A group's integer products, four rows of weights a register. Words of x stay in registers, to be
// taken by their place in one; where the processor multiplies 2 x 8 by 8 x 2 bytes, two rows of x
// go at once.

INLINE int8x16_t bytes_of(RI x) { return vreinterpretq_s8_s32(x); }

#if defined(__ARM_FEATURE_MATMUL_INT8)
constexpr bool kCenteredBytes = false;
#define UC_DOT_LANE(sum, weights, words, lane) \
  vusdotq_laneq_s32(sum, vreinterpretq_u8_s32(weights), bytes_of(words), lane)
INLINE RI multiply_blocks(RI sums, RI weights, RI x) {
  return vusmmlaq_s32(sums, vreinterpretq_u8_s32(weights), bytes_of(x));
}
#else
// Both operands are signed: nibbles are that already, bytes less 128.
constexpr bool kCenteredBytes = true;
INLINE RI multiply_blocks(RI sums, RI, RI) { return sums; }
#if defined(__ARM_FEATURE_DOTPROD)
#define UC_DOT_LANE(sum, weights, words, lane) \
  vdotq_laneq_s32(sum, bytes_of(weights), bytes_of(words), lane)
#else
// Two products fit 16 bits: activations are at least -127.
INLINE RI dot4(RI sum, int8x16_t w, int8x16_t x) {
  const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(x)), high = vmull_high_s8(w, x);
  return vpadalq_s16(sum, vpaddq_s16(low, high));
}
#define UC_DOT_LANE(sum, weights, words, lane) \
  dot4(sum, bytes_of(weights), bytes_of(vdupq_laneq_s32(words, lane)))
#endif
#endif

// words[i], four bytes of a row of x, times those of four rows of weights.
INLINE RI dot_word(RI sum, RI weights, RI words, int i) {
  switch (i) {
    case 0: return UC_DOT_LANE(sum, weights, words, 0);
    case 1: return UC_DOT_LANE(sum, weights, words, 1);
    case 2: return UC_DOT_LANE(sum, weights, words, 2);
    default: return UC_DOT_LANE(sum, weights, words, 3);
  }
}

template <int format> constexpr int words_a_step() { return is_byte(format) ? 1 : 2; }

template <int format>
INLINE RI weight_word(const uint8_t* w, int i) {
  const RI step = ri_load(w);
  if (!is_byte(format)) {
    return i ? vreinterpretq_s32_u8(vshrq_n_u8(vreinterpretq_u8_s32(step), 4))
             : vandq_s32(step, vdupq_n_s32(0x0f0f0f0f));
  }
  return kCenteredBytes ? veorq_s32(step, vdupq_n_s32(int(0x80808080u))) : step;
}

// Four words of each row at a time.
template <int format, int rows, int registers>
INLINE void dot_steps(RI (&sums)[rows][registers], const uint32_t* a, const uint8_t* w,
                      int steps) {
  constexpr int words = words_a_step<format>();
  for (int s = 0; s < steps; s += 4 / words) {
    UNROLL for (int step = 0; step < 4 / words; ++step) {
      const int first = step * words * rows, last = first + words * rows - 1;
      RI x[rows];
      UNROLL for (int i = first / 4; i <= last / 4; ++i) x[i] = load_words(a + 4 * i);
      UNROLL for (int r = 0; r < registers; ++r) {
        UNROLL for (int i = 0; i < words; ++i) {
          const RI weights = weight_word<format>(w + r * 16, i);
          UNROLL for (int m = 0; m < rows; ++m) {
            const int word = first + i * rows + m;
            sums[m][r] = dot_word(sums[m][r], weights, x[word / 4], word % 4);
          }
        }
      }
      w += kBytesPerStep;
    }
    a += 4 * rows;
  }
}

// Two words of each row at a time. A block of sums: rows of weights down, of x across.
template <int format, int rows, int registers>
INLINE void matrix_steps(RI (&sums)[rows][registers], const uint32_t* a, const uint8_t* w,
                         int steps) {
  constexpr int pairs = (rows + 1) / 2, together = 2 / words_a_step<format>();
  RI blocks[pairs][registers][2];
  UNROLL for (int p = 0; p < pairs; ++p) {
    UNROLL for (int r = 0; r < registers; ++r) blocks[p][r][0] = blocks[p][r][1] = ri_set(0);
  }
  for (int s = 0; s < steps; s += together) {
    RI x[pairs];
    UNROLL for (int p = 0; p < pairs; ++p) x[p] = load_row_pair(a + 4 * p, 2 * p + 1 < rows);
    UNROLL for (int r = 0; r < registers; ++r) {
      const uint8_t* at = w + r * 16;
      const uint8_t* last = at + (together - 1) * kBytesPerStep;
      const RI first = weight_word<format>(at, 0);
      const RI second = weight_word<format>(last, 2 - together);
      const RI low = vzip1q_s32(first, second), high = vzip2q_s32(first, second);
      UNROLL for (int p = 0; p < pairs; ++p) {
        blocks[p][r][0] = multiply_blocks(blocks[p][r][0], low, x[p]);
        blocks[p][r][1] = multiply_blocks(blocks[p][r][1], high, x[p]);
      }
    }
    a += 2 * rows;
    w += together * kBytesPerStep;
  }
  UNROLL for (int m = 0; m < rows; ++m) {
    UNROLL for (int r = 0; r < registers; ++r) {
      const RI low = blocks[m / 2][r][0], high = blocks[m / 2][r][1];
      sums[m][r] = vaddq_s32(sums[m][r], m % 2 ? vuzp2q_s32(low, high) : vuzp1q_s32(low, high));
    }
  }
}

template <int format, int rows, int registers>
INLINE void int_steps(RI (&dots)[rows][registers], const uint32_t* a, const uint8_t* w, int steps) {
  if constexpr (kBytesTogether == 2 && rows > 1) {
    matrix_steps<format, rows, registers>(dots, a, w, steps);
  } else {
    dot_steps<format, rows, registers>(dots, a, w, steps);
  }
}
