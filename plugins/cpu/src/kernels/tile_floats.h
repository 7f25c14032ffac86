// The product of a tile of activations with vectors of a panel, in float32 or bfloat16.
// Each output is one chain of additions along the columns, whatever the size of the tile.

enum FloatKind { kPlain, kPairs };

template <FloatKind kind>
INLINE F multiply_add(F sum, const uint8_t* weights, uint32_t x) {
  if (kind == kPairs) return dot_pairs(sum, i_load(weights), i_set(int(x)));
  float value;
  __builtin_memcpy(&value, &x, 4);
  return f_fma(f_load(reinterpret_cast<const float*>(weights)), f_set(value), sum);
}

// How far ahead of a stream of weights that is read once.
constexpr size_t kAhead = 8192;

// Where a tile's sums go: float32 rows `stride` apart.
struct Sums {
  float* data;
  size_t stride;
};

// a: [steps][rows]; w: the first vector's first step; vector v lies (v % 2) * 64 + (v / 2) * pitch
// behind it. `ahead`: whether to bring what lies ahead to the cache.
template <FloatKind kind, int rows, int vectors>
INLINE void float_tile(const uint32_t* a, const uint8_t* w, size_t pitch, int64_t steps,
                       const Sums& out, bool ahead) {
  F sums[rows][vectors];
  UNROLL for (int m = 0; m < rows; ++m) {
    UNROLL for (int v = 0; v < vectors; ++v) sums[m][v] = f_zero();
  }
  for (int64_t s = 0; s < steps; ++s) {
    if (ahead) {
      UNROLL for (int v = 0; v < vectors; ++v) {
        __builtin_prefetch(w + (v % 2) * 64 + (v / 2) * pitch + kAhead);
      }
    }
    UNROLL for (int m = 0; m < rows; ++m) {
      UNROLL for (int v = 0; v < vectors; ++v) {
        sums[m][v] = multiply_add<kind>(sums[m][v], w + (v % 2) * 64 + (v / 2) * pitch, a[m]);
      }
    }
    a += rows;
    w += kBytesPerStep;
  }
  UNROLL for (int m = 0; m < rows; ++m) {
    UNROLL for (int v = 0; v < vectors; ++v) {
      f_store(out.data + m * out.stride + v * kLanes, sums[m][v]);
    }
  }
}

// The same for a number of rows known at run time.
template <FloatKind kind, int rows, int vectors>
static void float_tile_of(int64_t num_rows, const uint32_t* a, const uint8_t* w, size_t pitch,
                          int64_t steps, const Sums& out, bool ahead = false) {
  if constexpr (rows > 0) {
    if (num_rows == rows) return float_tile<kind, rows, vectors>(a, w, pitch, steps, out, ahead);
    float_tile_of<kind, rows - 1, vectors>(num_rows, a, w, pitch, steps, out, ahead);
  }
}
