// The product of a tile of int8 activations with registers of a panel of int8 or int4 weights.
// Within a group the sums are integers and exact. In float32 the groups of x_cols columns are
// added one after the other, then these, so an output does not depend on the size of the tile. The
// sums wait in memory: the registers are for the groups.

struct IntPanel {
  const uint8_t* groups;
  int first;           // Lane of the panel.
  const uint8_t* ahead;  // What to bring to the cache meanwhile, so many lines with each group.
  int lines_ahead;
  size_t scale_bytes, zero_bytes;
  int scale_dtype;
  int64_t groups_per_scale;  // More than one where a whole row has one scale.

  INLINE_MEMBER RF scale(const uint8_t* scales, int r) const {
    return r_load_as(scales, scale_dtype, first + r * kRegisterLanes);
  }
  INLINE_MEMBER RF zero(const uint8_t* scales, int r) const {
    return r_from_u8(scales + scale_bytes + first + r * kRegisterLanes);
  }
  INLINE_MEMBER RF shift(const uint8_t* scales, int r) const {
    return r_load_as(scales + scale_bytes, scale_dtype, first + r * kRegisterLanes);
  }
};

#if defined(UC_INT_STEPS)
#include "kernels/int_steps_neon.h"
#else
constexpr bool kCenteredBytes = false;

// One word of each row of x with the registers' bytes for it. Row by row, so that few broadcasts
// are alive at a time.
template <int format, int part, int rows, int registers>
INLINE void int_products(RI (&sums)[rows][registers], const uint32_t* a, const uint8_t* w) {
  RI bytes[registers];
  UNROLL for (int r = 0; r < registers; ++r) {
    bytes[r] = int_part<format, part>(ri_load(w + r * kRegisterBytes));
  }
  UNROLL for (int m = 0; m < rows; ++m) {
    const RI x = ri_set(int(a[part * rows + m]));
    UNROLL for (int r = 0; r < registers; ++r) {
      sums[m][r] = multiply_add<format>(sums[m][r], bytes[r], x);
    }
  }
}

// Four steps of 128 bytes.
template <int format, int rows, int registers>
INLINE void four_steps(RI (&sums)[rows][registers], const uint32_t* a, const uint8_t* w) {
  constexpr int parts = int_parts<format>();
  UNROLL for (int i = 0; i < 4; ++i) {
    int_products<format, 0, rows, registers>(sums, a, w);
    if constexpr (parts > 1) int_products<format, 1, rows, registers>(sums, a, w);
    a += parts * rows;
    w += kBytesPerStep;
  }
}

// A multiple of four steps, as every group has. One row waits for memory alone: int8 is fetched 16
// lines at a time, and with int4 the processor's own prefetching keeps up (measured on Zen 4).
template <int format, int rows, int registers>
INLINE void int_steps(RI (&dots)[rows][registers], const uint32_t* a, const uint8_t* w, int steps) {
  for (int s = 0; s < steps; s += 4) {
    if (rows == 1 && is_byte(format) && s % 8 == 0) {
      UNROLL for (int i = 0; i < 16; ++i) __builtin_prefetch(w + i * 64 + 2048, 0, 2);
    }
    if constexpr (narrow_sums<format>()) {
      RI narrow[rows][registers];
      UNROLL for (int m = 0; m < rows; ++m) {
        UNROLL for (int r = 0; r < registers; ++r) narrow[m][r] = ri_set(0);
      }
      four_steps<format, rows, registers>(narrow, a, w);
      UNROLL for (int m = 0; m < rows; ++m) {
        UNROLL for (int r = 0; r < registers; ++r) dots[m][r] = add_narrow(dots[m][r], narrow[m][r]);
      }
    } else {
      four_steps<format, rows, registers>(dots, a, w);
    }
    a += 4 * int_parts<format>() * rows;
    w += 4 * kBytesPerStep;
  }
}
#endif

// Where a group's sum of products begins, of x_sum as tile_ints has it: so that weights count from
// their middle, where it is known. kCenteredBytes: products are of levels less 128.
template <int format>
INLINE int first_dot(int32_t x_sum) {
  constexpr bool plain = center_level(format) == 0;
  if (kCenteredBytes && is_byte(format)) return plain ? int(128u * uint32_t(x_sum)) : 0;
  return plain ? 0 : x_sum;
}

template <int format, int rows, int registers>
INLINE void int_tile(const IntPanel& panel, const uint32_t* a, const float* x_scales,
                     const int32_t* x_sums, int64_t groups, int steps, int together,
                     const Sums& out) {
  constexpr bool with_zeros = format == kInt4Zero, shifted = is_shifted(format);
  UNROLL for (int m = 0; m < rows; ++m) {
    UNROLL for (int r = 0; r < registers; ++r) {
      r_store(out.data + m * out.stride + r * kRegisterLanes, r_zero());
    }
  }
  const uint8_t* w = panel.groups;
  const uint8_t* scales = w;
  const uint8_t* ahead = panel.ahead;
  const int words = steps * int_parts<format>() * rows;
  for (int64_t g = 0, next = 0; g < groups;) {
    RF part[rows][registers];
    UNROLL for (int m = 0; m < rows; ++m) {
      UNROLL for (int r = 0; r < registers; ++r) part[m][r] = r_zero();
    }
    for (const int64_t end = g + together < groups ? g + together : groups; g < end; ++g) {
      if (g == next) {
        scales = w;
        w += panel.scale_bytes + panel.zero_bytes;
        next += panel.groups_per_scale;
      }
      RI dots[rows][registers];
      UNROLL for (int m = 0; m < rows; ++m) {
        UNROLL for (int r = 0; r < registers; ++r) {
          dots[m][r] = ri_set(first_dot<format>(x_sums[m]));
        }
      }
      for (int i = 0; i < panel.lines_ahead; ++i, ahead += 64) __builtin_prefetch(ahead, 0, 2);
      int_steps<format, rows, registers>(dots, a, w + panel.first * 4, steps);
      UNROLL for (int r = 0; r < registers; ++r) {
        const RF scale = panel.scale(scales, r);
        RF zero = r_zero(), shift = r_zero();
        if constexpr (with_zeros) zero = panel.zero(scales, r);
        if constexpr (shifted) {
          shift = r_fma(scale, r_set(center_level(format)), panel.shift(scales, r));
        }
        UNROLL for (int m = 0; m < rows; ++m) {
          RF dot = r_from_int(dots[m][r]);
          if constexpr (with_zeros) dot = r_fnma(zero, r_set(float(x_sums[m])), dot);
          part[m][r] = r_fma(dot, scale, part[m][r]);
          if constexpr (shifted) {
            float sum;  // Of x itself: its rounding is not magnified.
            __builtin_memcpy(&sum, x_sums + rows + m, 4);
            part[m][r] = r_fma(shift, r_set(sum), part[m][r]);
          }
        }
      }
      a += words;
      w += size_t(steps) * kBytesPerStep;
      x_sums += sums_a_group(format) * rows;
    }
    __asm__ volatile("" : : : "memory");  // Or the compiler keeps the sums in registers all along.
    UNROLL for (int m = 0; m < rows; ++m) {
      UNROLL for (int r = 0; r < registers; ++r) {
        float* sum = out.data + m * out.stride + r * kRegisterLanes;
        r_store(sum, r_fma(part[m][r], r_set(x_scales[m]), r_load(sum)));
      }
    }
    x_scales += rows;
  }
}

template <int format, int rows, int registers>
static void int_tile_of(int64_t num_rows, const IntPanel& panel, const uint32_t* a,
                        const float* x_scales, const int32_t* x_sums, int64_t groups, int steps,
                        int together, const Sums& out) {
  if constexpr (rows > 0) {
    if (num_rows == rows) {
      return int_tile<format, rows, registers>(panel, a, x_scales, x_sums, groups, steps,
                                               together, out);
    }
    int_tile_of<format, rows - 1, registers>(num_rows, panel, a, x_scales, x_sums, groups, steps,
                                             together, out);
  }
}
