// The product of a tile of int8 activations with vectors of a panel of int8 or int4 weights.
// Within a group the sums are integers and exact. In float32 the groups of kXGroup columns are
// added one after the other, then these, so an output does not depend on the size of the tile. The
// sums wait in memory: the registers are for the groups.

struct IntPanel {
  const uint8_t* groups;
  int first;           // Vector of the panel.
  const uint8_t* ahead;  // What to bring to the cache meanwhile, so many lines with each group.
  int lines_ahead;
  size_t scale_bytes, zero_bytes;
  int scale_dtype;
  int64_t groups_per_scale;  // More than one where a whole row has one scale.

  INLINE_MEMBER F scale(const uint8_t* scales, int v) const {
    return load_as(scales, scale_dtype, (first + v) * kLanes);
  }
  INLINE_MEMBER F zero(const uint8_t* scales, int v) const {
    return f_from_int(i_load_u8(scales + scale_bytes + kLanes * (first + v)));
  }
};

// One word of each row of x, four columns, with the vectors' bytes for them. Row by row, so that
// few broadcasts are alive at a time.
template <int format, int rows, int vectors>
INLINE void int_dots(I (&dots)[rows][vectors], const uint32_t* a, const I (&bytes)[vectors]) {
  UNROLL for (int m = 0; m < rows; ++m) {
    const I x = i_set(int(a[m]));
    UNROLL for (int v = 0; v < vectors; ++v) {
      dots[m][v] = format == kInt8 ? dot_bytes(dots[m][v], bytes[v], x)
                                   : dot_nibbles(dots[m][v], bytes[v], x);
    }
  }
}

// One step of 128 bytes.
template <int format, int rows, int vectors>
INLINE void int_step(I (&dots)[rows][vectors], const uint32_t* a, const uint8_t* w) {
  const I low = i_set(0x0f0f0f0f);
  I bytes[vectors];
  UNROLL for (int v = 0; v < vectors; ++v) {
    bytes[v] = i_load(w + v * 64);
    if (format != kInt8) bytes[v] = i_and(bytes[v], low);
  }
  int_dots<format, rows, vectors>(dots, a, bytes);
  if (format == kInt8) return;
  UNROLL for (int v = 0; v < vectors; ++v) {
    bytes[v] = i_and(i_shift_right<4>(i_load(w + v * 64)), low);
  }
  int_dots<format, rows, vectors>(dots, a + rows, bytes);
}

// A multiple of four steps, as every group has. One row waits for memory alone: int8 is fetched 16
// lines at a time, and with int4 the processor's own prefetching keeps up (measured on Zen 4).
template <int format, int rows, int vectors>
INLINE void int_steps(I (&dots)[rows][vectors], const uint32_t* a, const uint8_t* w, int steps) {
  constexpr int words = format == kInt8 ? rows : 2 * rows;
  for (int s = 0; s < steps; s += 4) {
    if (rows == 1 && format == kInt8 && s % 8 == 0) {
      UNROLL for (int i = 0; i < 16; ++i) __builtin_prefetch(w + i * 64 + 2048, 0, 2);
    }
    UNROLL for (int i = 0; i < 4; ++i) {
      int_step<format, rows, vectors>(dots, a + i * words, w + i * kBytesPerStep);
    }
    a += 4 * words;
    w += 4 * kBytesPerStep;
  }
}

template <int format, int rows, int vectors>
INLINE void int_tile(const IntPanel& panel, const uint32_t* a, const float* x_scales,
                     const int32_t* x_sums, int64_t groups, int steps, const Sums& out) {
  constexpr bool with_zeros = format == kInt4Zero;
  UNROLL for (int m = 0; m < rows; ++m) {
    UNROLL for (int v = 0; v < vectors; ++v) {
      f_store(out.data + m * out.stride + v * kLanes, f_zero());
    }
  }
  const uint8_t* w = panel.groups;
  const uint8_t* scales = w;
  const uint8_t* ahead = panel.ahead;
  const int words = steps * (format == kInt8 ? rows : 2 * rows);
  const int together = kXGroup / step_cols(format) / steps;
  for (int64_t g = 0, next = 0; g < groups;) {
    F part[rows][vectors];
    UNROLL for (int m = 0; m < rows; ++m) {
      UNROLL for (int v = 0; v < vectors; ++v) part[m][v] = f_zero();
    }
    for (const int64_t end = g + together < groups ? g + together : groups; g < end; ++g) {
      if (g == next) {
        scales = w;
        w += panel.scale_bytes + panel.zero_bytes;
        next += panel.groups_per_scale;
      }
      I dots[rows][vectors];
      UNROLL for (int m = 0; m < rows; ++m) {
        UNROLL for (int v = 0; v < vectors; ++v) {
          dots[m][v] = with_zeros ? i_zero() : i_set(x_sums[m]);
        }
      }
      for (int i = 0; i < panel.lines_ahead; ++i, ahead += 64) __builtin_prefetch(ahead, 0, 2);
      int_steps<format, rows, vectors>(dots, a, w + panel.first * 64, steps);
      UNROLL for (int v = 0; v < vectors; ++v) {
        const F scale = panel.scale(scales, v);
        UNROLL for (int m = 0; m < rows; ++m) {
          F dot = f_from_int(dots[m][v]);
          if (with_zeros) dot = f_fnma(panel.zero(scales, v), f_set(float(x_sums[m])), dot);
          part[m][v] = f_fma(dot, scale, part[m][v]);
        }
      }
      a += words;
      w += size_t(steps) * kBytesPerStep;
      x_sums += rows;
    }
    __asm__ volatile("" : : : "memory");  // Or the compiler keeps the sums in registers all along.
    UNROLL for (int m = 0; m < rows; ++m) {
      UNROLL for (int v = 0; v < vectors; ++v) {
        float* sum = out.data + m * out.stride + v * kLanes;
        f_store(sum, f_fma(part[m][v], f_set(x_scales[m]), f_load(sum)));
      }
    }
    x_scales += rows;
  }
}

template <int format, int rows, int vectors>
static void int_tile_of(int64_t num_rows, const IntPanel& panel, const uint32_t* a,
                               const float* x_scales, const int32_t* x_sums, int64_t groups,
                               int steps, const Sums& out) {
  if constexpr (rows > 0) {
    if (num_rows == rows) {
      return int_tile<format, rows, vectors>(panel, a, x_scales, x_sums, groups, steps, out);
    }
    int_tile_of<format, rows - 1, vectors>(num_rows, panel, a, x_scales, x_sums, groups, steps,
                                           out);
  }
}
