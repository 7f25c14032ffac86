// y = x W^T + bias over a range of panels: each panel stays in the cache while all rows of x pass.

constexpr int kMaxTileRows = 12, kMaxVectors = 4;

// A tile's sums on their way to y: the bias is added, the dtype is y's.
struct LinearTile {
  const MatmulJob& job;
  int64_t row;     // Of x, the tile's first.
  int64_t column;  // Of y, the first vector's first.
  float sums[kMaxTileRows * kMaxVectors * kLanes];

  LinearTile(const MatmulJob& job, int64_t row, int64_t column)
      : job(job), row(row), column(column) {}

  Sums target(int vectors) { return {sums, size_t(vectors) * kLanes}; }

  void finish(int64_t rows, int vectors) const {
    const Target y = job.y;
    for (int v = 0; v < vectors; ++v) {
      const int64_t n = column + v * kLanes, left = job.weight->layout.rows - n;
      if (left <= 0) return;
      const int count = left < kLanes ? int(left) : kLanes;
      const F bias = job.bias ? load_some(job.bias, kFloat32, n, count) : f_zero();
      size_t at = size_t(row) * y.stride + n;
      for (int64_t m = 0; m < rows; ++m, at += y.stride) {
        const F sum = f_add(f_load(sums + (m * vectors + v) * kLanes), bias);
        store_some(y.data, y.dtype, at, count, sum);
      }
    }
  }
};

// `vectors` from vector `first` of the panel on, for all rows of x.
template <FloatKind kind, int max_rows, int vectors>
static void float_panel(const MatmulJob& job, int64_t panel, int first) {
  const Layout& layout = job.weight->layout;
  const int64_t steps = layout.padded_cols / step_cols(layout.format);
  const uint8_t* w = job.weight->panels + panel * layout.panel_bytes + first * 64;
  const int64_t column = panel * kPanelRows + first * kLanes;
  for (int64_t tile = 0; tile < num_tiles(job.x.rows, kFloatRows); ++tile) {
    const int64_t row = tile_start(job.x.rows, kFloatRows, tile);
    const int64_t rows = tile_start(job.x.rows, kFloatRows, tile + 1) - row;
    // With few rows the processor's own prefetching keeps up.
    const bool ahead = tile == 0 && rows > 4;
    LinearTile out(job, row, column);
    float_tile_of<kind, max_rows, vectors>(rows, job.x.steps + row * steps, w, layout.panel_bytes,
                                           steps, out.target(vectors), ahead);
    out.finish(rows, vectors);
  }
}

template <FloatKind kind>
static void float_panels(const MatmulJob& job, int64_t begin, int64_t end) {
  constexpr int few_panels = kFewVectors > 2 ? kFewVectors / 2 : 1;
  const bool few = job.x.rows <= kFewRows;
  while (begin < end) {
    if (few && begin + few_panels <= end) {
      for (int first = 0; first < 2; first += kFewVectors) {
        float_panel<kind, kFewRows, kFewVectors>(job, begin, first);
      }
      begin += few_panels;
    } else {
      for (int first = 0; first < 2; first += kFloatVectors) {
        float_panel<kind, kFloatRows, kFloatVectors>(job, begin, first);
      }
      ++begin;
    }
  }
}

// Weights are fetched while others are multiplied: those kAhead further on, or with many rows, which
// keep a panel in the cache for long, those of the next panel. For one row see int_steps.
INLINE void look_ahead(const Layout& layout, const uint8_t* panel, int64_t groups, int lines,
                       int64_t pass, int64_t passes, int64_t rows, IntPanel* out) {
  const size_t start = size_t(pass) * groups * lines * 64;
  out->ahead = panel + (passes == 1 ? kAhead : layout.panel_bytes + start);
  out->lines_ahead = rows > 1 && start < layout.panel_bytes ? lines : 0;
}

template <int format>
static void int_panels(const MatmulJob& job, int64_t begin, int64_t end) {
  const Layout& layout = job.weight->layout;
  const int64_t groups = layout.sums(), x_groups = layout.x_groups();
  const int steps = layout.sum_cols / step_cols(format);
  const int64_t words = layout.padded_cols / 4, tiles = num_tiles(job.x.rows, kIntRows);
  const int64_t passes = tiles * 2 / kIntVectors;
  const int lines = int(int64_t(layout.panel_bytes / 64) / groups / passes) + 1;
  for (int64_t p = begin; p < end; ++p) {
    for (int first = 0; first < 2; first += kIntVectors) {
      const uint8_t* base = job.weight->panels + p * layout.panel_bytes;
      IntPanel panel{base, first, base, 0, layout.scale_bytes, layout.zero_bytes,
                     layout.scale_dtype, layout.group_cols / layout.sum_cols};
      for (int64_t tile = 0, row = 0, rows; tile < tiles; ++tile, row += rows) {
        rows = tile_start(job.x.rows, kIntRows, tile + 1) - row;
        look_ahead(layout, base, groups, lines, first / kIntVectors * tiles + tile, passes,
                   job.x.rows, &panel);
        LinearTile out(job, row, p * kPanelRows + first * kLanes);
        int_tile_of<format, kIntRows, kIntVectors>(
            rows, panel, job.x.steps + row * words, job.x.scales + row * x_groups,
            job.x.sums + row * groups, groups, steps, out.target(kIntVectors));
        out.finish(rows, kIntVectors);
      }
    }
  }
}

static void matmul(const MatmulJob& job, int64_t begin, int64_t end) {
  switch (job.weight->layout.format) {
    case kF32: return float_panels<kPlain>(job, begin, end);
    case kBf16: return float_panels<kPairs>(job, begin, end);
    case kInt8: return int_panels<kInt8>(job, begin, end);
    case kInt4: return int_panels<kInt4>(job, begin, end);
    case kInt4Zero: return int_panels<kInt4Zero>(job, begin, end);
  }
}

// -- laying out activations ---------------------------------------------------------------------

struct TilePlace {
  int64_t first;   // Row of x the tile begins with.
  int64_t rows;
  int64_t inside;  // Of the row in question.
};

INLINE TilePlace find_tile(const TiledX& tiled, int64_t row) {
  int64_t tile = row * num_tiles(tiled.rows, tiled.max_tile_rows) / tiled.rows;
  while (tile_start(tiled.rows, tiled.max_tile_rows, tile + 1) <= row) ++tile;
  const int64_t first = tile_start(tiled.rows, tiled.max_tile_rows, tile);
  return {first, tile_start(tiled.rows, tiled.max_tile_rows, tile + 1) - first, row - first};
}

static void tile_floats(const Source& x, int64_t row, const Layout& layout, const TiledX& tiled) {
  const TilePlace place = find_tile(tiled, row);
  const bool pairs = layout.format == kBf16;
  const int64_t steps = layout.padded_cols / step_cols(layout.format);
  uint32_t* out = tiled.steps + place.first * steps + place.inside;
  const int per_chunk = pairs ? 2 * kLanes : kLanes;
  uint32_t chunk[kLanes];
  for (int64_t k = 0; k < layout.padded_cols; k += per_chunk) {
    const size_t at = row * x.stride + k;
    const int64_t left = layout.cols - k;
    if (pairs) {
      uint16_t* halves = reinterpret_cast<uint16_t*>(chunk);
      if (x.dtype == kBfloat16 && left >= 32) {
        i_store(chunk, i_load(static_cast<const uint16_t*>(x.data) + at));
      } else {
        const int some = left > 0 ? int(left < 16 ? left : 16) : 0;
        f_store_bf16(halves, load_some(x.data, x.dtype, at, some));
        const int64_t more = left - 16;
        f_store_bf16(halves + 16, load_some(x.data, x.dtype, at + 16,
                                            more > 0 ? int(more < 16 ? more : 16) : 0));
      }
    } else {
      f_store(reinterpret_cast<float*>(chunk),
              load_some(x.data, x.dtype, at, left > 0 ? int(left < 16 ? left : 16) : 0));
    }
    uint32_t* to = out + k / step_cols(layout.format) * place.rows;
    for (int i = 0; i < kLanes; ++i) to[i * place.rows] = chunk[i];
  }
}

// To int8: of kXGroup columns the largest becomes 127; what is not finite makes their scale NaN.
static void tile_ints(const Source& x, int64_t row, const Layout& layout, const TiledX& tiled) {
  const TilePlace place = find_tile(tiled, row);
  uint32_t* to = tiled.steps + place.first * (layout.padded_cols / 4) + place.inside;
  float* scale = tiled.scales + place.first * layout.x_groups() + place.inside;
  int32_t* to_sum = tiled.sums + place.first * layout.sums() + place.inside;
  const int factor = layout.format == kInt4Zero ? 1 : -middle_level(layout.format);
  const int in_sum = layout.sum_cols / kLanes;
  F values[kXGroup / kLanes];
  uint32_t words[kXGroup / 4];
  for (int64_t first = 0; first < layout.padded_cols; first += kXGroup) {
    const int64_t cols = layout.padded_cols - first;
    const int vectors = int(cols < kXGroup ? cols : kXGroup) / kLanes;
    F largest = f_zero(), poison = f_zero();
    for (int i = 0; i < vectors; ++i) {
      const int64_t k = first + i * kLanes, left = layout.cols - k;
      values[i] = load_some(x.data, x.dtype, row * x.stride + k,
                            left > 0 ? int(left < 16 ? left : 16) : 0);
      largest = f_max(f_abs(values[i]), largest);
      poison = f_fma(values[i], f_zero(), poison);
    }
    const float most = f_largest(largest);
    const float inverse = most > 1e-30f ? 127.0f / most : 0.0f;
    *scale = (inverse > 0.0f ? most / 127.0f : 0.0f) + f_sum(poison);
    scale += place.rows;
    for (int i = 0; i < vectors;) {
      I sum = i_zero();
      for (const int end = i + in_sum; i < end; ++i) {
        const I q = i_nearest(f_mul(values[i], f_set(inverse)));
        sum = i_add(sum, q);
        i_store_s8(reinterpret_cast<int8_t*>(words) + i * kLanes, q);
      }
      *to_sum = int32_t(uint32_t(factor) * uint32_t(i_sum(sum)));
      to_sum += place.rows;
    }
    for (int i = 0; i < vectors * kLanes / 4; ++i, to += place.rows) *to = words[i];
  }
}
