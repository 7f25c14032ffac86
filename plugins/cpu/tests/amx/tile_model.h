// The operations of AMX's tiles in plain C++, from the operation sections of Intel's instruction set
// reference: palette 1, 8 tiles of up to 16 rows of 64 bytes. Where the processor would raise an error the
// program ends. Included in a namespace, by a file that has included <math.h>, <stdlib.h> and <string.h>.
// bfloat16 that is not normal, and sums that are not, count as 0; each product is added with one rounding.
struct ModelTiles {
  bool configured = false;
  int rows[8], row_bytes[8];
  uint8_t data[8][16][64];
};
static thread_local ModelTiles model_tiles;

inline void model_tile_require(bool holds) {
  if (!holds) abort();
}

static void model_tile_loadconfig(const void* config) {
  const uint8_t* bytes = static_cast<const uint8_t*>(config);
  model_tile_require(bytes[0] == 1 && bytes[1] == 0);
  model_tiles = ModelTiles{};
  model_tiles.configured = true;
  for (int t = 0; t < 16; ++t) {
    const int row_bytes = bytes[16 + 2 * t] | bytes[17 + 2 * t] << 8, rows = bytes[48 + t];
    model_tile_require((t < 8 || (rows | row_bytes) == 0) && rows <= 16 && row_bytes <= 64);
    model_tile_require(!rows == !row_bytes);
    if (t >= 8) continue;
    model_tiles.rows[t] = rows;
    model_tiles.row_bytes[t] = row_bytes;
  }
}
static void model_tile_release() { model_tiles = ModelTiles{}; }

static ModelTiles& model_tiles_with(int t) {
  model_tile_require(model_tiles.configured && model_tiles.rows[t] > 0);
  return model_tiles;
}
static void model_tile_zero(int t) { memset(model_tiles_with(t).data[t], 0, 16 * 64); }
static void model_tile_loadd(int t, const void* from, size_t pitch) {
  model_tile_zero(t);
  for (int m = 0; m < model_tiles.rows[t]; ++m) {
    memcpy(model_tiles.data[t][m], static_cast<const char*>(from) + m * pitch,
           size_t(model_tiles.row_bytes[t]));
  }
}
static void model_tile_stored(int t, void* to, size_t pitch) {
  const ModelTiles& all = model_tiles_with(t);
  for (int m = 0; m < all.rows[t]; ++m) {
    memcpy(static_cast<char*>(to) + m * pitch, all.data[t][m], size_t(all.row_bytes[t]));
  }
}

static void model_tile_check_shapes(int c, int a, int b) {
  const ModelTiles& all = model_tiles_with(c);
  model_tile_require(c != a && c != b && a != b && all.rows[a] > 0 && all.rows[b] > 0);
  model_tile_require(all.row_bytes[a] % 4 == 0 && all.row_bytes[c] % 4 == 0);
  model_tile_require(all.rows[a] == all.rows[c] && all.row_bytes[b] == all.row_bytes[c] &&
                     all.rows[b] == all.row_bytes[a] / 4);
}

static void model_tile_dpbsud(int c, int a, int b) {
  model_tile_check_shapes(c, a, b);
  ModelTiles& all = model_tiles;
  for (int m = 0; m < all.rows[c]; ++m) {
    for (int k = 0; k < all.row_bytes[a] / 4; ++k) {
      for (int n = 0; n < all.row_bytes[c] / 4; ++n) {
        uint32_t sum;
        memcpy(&sum, all.data[c][m] + 4 * n, 4);
        for (int i = 0; i < 4; ++i) {
          sum += uint32_t(int8_t(all.data[a][m][4 * k + i]) * int(all.data[b][k][4 * n + i]));
        }
        memcpy(all.data[c][m] + 4 * n, &sum, 4);
      }
    }
  }
}

static float model_tile_flushed(float x) {
  return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x;
}
static float model_tile_number(const uint8_t* bytes) {
  const uint32_t bits = uint32_t(bytes[0] | bytes[1] << 8) << 16;
  float x;
  memcpy(&x, &bits, 4);
  return model_tile_flushed(x);
}

static void model_tile_dpbf16ps(int c, int a, int b) {
  model_tile_check_shapes(c, a, b);
  ModelTiles& all = model_tiles;
  for (int m = 0; m < all.rows[c]; ++m) {
    float sums[32] = {};
    for (int k = 0; k < all.row_bytes[a] / 4; ++k) {
      for (int i = 0; i < 2 * (all.row_bytes[c] / 4); ++i) {
        const float x = model_tile_number(all.data[a][m] + 4 * k + 2 * (i % 2));
        const float weight = model_tile_number(all.data[b][k] + 2 * i);
        sums[i] = model_tile_flushed(fmaf(x, weight, sums[i]));
      }
    }
    for (int n = 0; n < all.row_bytes[c] / 4; ++n) {
      float sum;
      memcpy(&sum, all.data[c][m] + 4 * n, 4);
      const float more = model_tile_flushed(sums[2 * n] + sums[2 * n + 1]);
      sum = model_tile_flushed(model_tile_flushed(sum) + more);
      memcpy(all.data[c][m] + 4 * n, &sum, 4);
    }
  }
}
