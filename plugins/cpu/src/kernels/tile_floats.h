// The product of a tile of activations with registers of a panel, in float32 or bfloat16.
// Each output is one chain of additions along the columns, whatever the size of the tile.

// How far ahead of a stream of weights that is read once.
constexpr size_t kAhead = 8192;

// Where a tile's sums go: float32 rows `stride` apart.
struct Sums {
  float* data;
  size_t stride;
};

// The first step of register r, counted from a panel's own, where a tile spans panels `pitch` apart.
INLINE size_t register_offset(int r, size_t pitch) {
  return (r % kPanelRegisters) * kRegisterBytes + (r / kPanelRegisters) * pitch;
}

template <FloatKind kind, int part, int rows, int registers>
INLINE void float_part(RF (&sums)[rows][registers], const uint32_t* a, const uint8_t* w,
                       size_t pitch) {
  UNROLL for (int m = 0; m < rows; ++m) {
    UNROLL for (int r = 0; r < registers; ++r) {
      sums[m][r] =
          multiply_add<kind, part>(sums[m][r], ri_load(w + register_offset(r, pitch)), a[m]);
    }
  }
}

#if defined(UC_MATRIX_PAIRS)
#include "kernels/pair_tile_neon.h"
#endif

// a: [steps][parts][rows]; w: the first register's first step. `ahead`: whether to bring what lies
// ahead to the cache.
template <FloatKind kind, int rows, int registers>
INLINE void float_tile(const uint32_t* a, const uint8_t* w, size_t pitch, int64_t steps,
                       const Sums& out, bool ahead) {
#if defined(UC_MATRIX_PAIRS)
  if (kind == kPairs) return pair_tile<rows, registers>(a, w, pitch, steps, out, ahead);
#endif
  RF sums[rows][registers];
  UNROLL for (int m = 0; m < rows; ++m) {
    UNROLL for (int r = 0; r < registers; ++r) sums[m][r] = r_zero();
  }
  for (int64_t s = 0; s < steps; ++s) {
    if (ahead) {
      UNROLL for (int r = 0; r < registers; ++r) {
        if (r * kRegisterBytes % 64) continue;
        __builtin_prefetch(w + register_offset(r, pitch) + kAhead);
      }
    }
    float_part<kind, 0, rows, registers>(sums, a, w, pitch);
    if constexpr (float_parts<kind>() > 1) {
      float_part<kind, 1, rows, registers>(sums, a + rows, w, pitch);
    }
    a += float_parts<kind>() * rows;
    w += kBytesPerStep;
  }
  UNROLL for (int m = 0; m < rows; ++m) {
    UNROLL for (int r = 0; r < registers; ++r) {
      r_store(out.data + m * out.stride + r * kRegisterLanes, sums[m][r]);
    }
  }
}

// The same for a number of rows known at run time.
template <FloatKind kind, int rows, int registers>
static void float_tile_of(int64_t num_rows, const uint32_t* a, const uint8_t* w, size_t pitch,
                          int64_t steps, const Sums& out, bool ahead = false) {
  if constexpr (rows > 0) {
    if (num_rows == rows) return float_tile<kind, rows, registers>(a, w, pitch, steps, out, ahead);
    float_tile_of<kind, rows - 1, registers>(num_rows, a, w, pitch, steps, out, ahead);
  }
}
