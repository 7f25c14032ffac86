// y = x W^T + bias over a range of panels: each panel stays in the cache while all rows of x pass.

#include "kernels/linear_tile.h"

constexpr int at_least(int x, int least) { return x < least ? least : x; }

// Lanes that are finished together: a tile of one register may have fewer than a vector.
constexpr int tile_lanes(int registers) { return at_least(registers * kRegisterLanes, kLanes); }

// `registers` from lane `first` of the panel on, for all rows of x.
template <FloatKind kind, int max_rows, int registers>
static void float_panel(const MatmulJob& job, int64_t panel, int first) {
  const Layout& layout = job.weight->layout;
  const int64_t steps = layout.padded_cols / step_cols(layout.format);
  const uint8_t* w = job.weight->panels + panel * layout.panel_bytes;
  constexpr int lanes = tile_lanes(registers);
  for (int64_t tile = 0; tile < num_tiles(job.x.rows, kFloatRows); ++tile) {
    const int64_t row = tile_start(job.x.rows, kFloatRows, tile);
    const int64_t rows = tile_start(job.x.rows, kFloatRows, tile + 1) - row;
    // With few rows the processor's own prefetching keeps up.
    const bool ahead = tile == 0 && rows > kUnaidedRows;
    LinearTile out(job, row, panel * kPanelRows + first, lanes);
    for (int lane = 0; lane < lanes; lane += registers * kRegisterLanes) {
      float_tile_of<kind, max_rows, registers>(
          rows, job.x.steps + row * steps * float_parts<kind>(), w + (first + lane) * 4,
          layout.panel_bytes, steps, out.target(lane), ahead);
    }
    out.finish(rows);
  }
}

template <FloatKind kind>
static void float_panels(const MatmulJob& job, int64_t begin, int64_t end) {
  constexpr int few_panels = at_least(kFewRegisters / kPanelRegisters, 1);
  const bool few = job.x.rows <= kFewRows;
  while (begin < end) {
    if (few && begin + few_panels <= end) {
      for (int first = 0; first < kPanelRows; first += tile_lanes(kFewRegisters)) {
        float_panel<kind, kFewRows, kFewRegisters>(job, begin, first);
      }
      begin += few_panels;
    } else {
      for (int first = 0; first < kPanelRows; first += tile_lanes(kFloatRegisters)) {
        float_panel<kind, kFloatRows, kFloatRegisters>(job, begin, first);
      }
      ++begin;
    }
  }
}

// Weights are fetched while others are multiplied: those kAhead further on, or where a panel is passed
// over several times and lies in the cache, those of the next panel. For one row see int_steps.
INLINE void look_ahead(const Layout& layout, const uint8_t* panel, int64_t groups, int lines,
                       int64_t pass, int64_t passes, int64_t rows, IntPanel* out) {
  const size_t start = size_t(pass) * groups * lines * 64;
  out->ahead = panel + (passes == 1 ? kAhead : layout.panel_bytes + start);
  out->lines_ahead = rows > 1 && start < layout.panel_bytes ? lines : 0;
}

template <int format, int max_rows, int registers>
static void int_panel(const MatmulJob& job, int64_t p) {
  const Layout& layout = job.weight->layout;
  const int64_t groups = layout.sums(), x_groups = layout.x_groups();
  const int steps = layout.sum_cols / step_cols(format);
  const int64_t words = layout.padded_cols / step_cols(format) * int_parts<format>();
  const int64_t tiles = num_tiles(job.x.rows, kIntRows);
  constexpr int width = registers * kRegisterLanes, lanes = tile_lanes(registers);
  const int64_t passes = tiles * kPanelRows / width;
  const int lines = int(int64_t(layout.panel_bytes / 64) / groups / passes) + 1;
  const uint8_t* base = job.weight->panels + p * layout.panel_bytes;
  IntPanel panel{base, 0, base, 0, layout.scale_bytes, layout.zero_bytes, layout.scale_dtype,
                 layout.group_cols / layout.sum_cols};
  int64_t pass = 0;
  for (int first = 0; first < kPanelRows; first += lanes) {
    for (int64_t tile = 0, row = 0, rows; tile < tiles; ++tile, row += rows) {
      rows = tile_start(job.x.rows, kIntRows, tile + 1) - row;
      LinearTile out(job, row, p * kPanelRows + first, lanes);
      for (int lane = 0; lane < lanes; lane += width) {
        look_ahead(layout, base, groups, lines, pass++, passes, job.x.rows, &panel);
        panel.first = first + lane;
        int_tile_of<format, max_rows, registers>(
            rows, panel, job.x.steps + row * words, job.x.scales + row * x_groups,
            job.x.sums + row * groups * sums_a_group(format), groups, steps,
            layout.x_cols() / layout.sum_cols, out.target(lane));
      }
      out.finish(rows);
    }
  }
}

template <int format>
static void int_panels(const MatmulJob& job, int64_t begin, int64_t end) {
  for (; begin < end; ++begin) {
    if (job.x.rows <= kFewIntRows) {
      int_panel<format, kFewIntRows, kFewIntRegisters>(job, begin);
    } else {
      int_panel<format, kIntRows, kIntRegisters>(job, begin);
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
    case kInt8Shift: return int_panels<kInt8Shift>(job, begin, end);
    case kInt4Shift: return int_panels<kInt4Shift>(job, begin, end);
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

// Words of a row: pairs of bfloat16, or float32 where products take those (rounded to bfloat16).
template <bool rounded>
static void tile_singles(const Source& x, int64_t row, const Layout& layout, const TilePlace& place,
                         uint32_t* to) {
  float values[kLanes];
  uint16_t halves[kLanes];
  for (int64_t k = 0; k < layout.padded_cols; k += kLanes) {
    const int64_t left = layout.cols - k;
    F some = load_some(x.data, x.dtype, row * x.stride + k, left > 0 ? int(left < 16 ? left : 16) : 0);
    if (rounded && x.dtype != kBfloat16) {
      f_store_bf16(halves, some);
      some = f_load_bf16(halves);
    }
    f_store(values, some);
    for (int i = 0; i < kLanes; ++i, to += place.rows) __builtin_memcpy(to, values + i, 4);
  }
}

static void tile_pairs(const Source& x, int64_t row, const Layout& layout, const TilePlace& place,
                       uint32_t* to) {
  uint32_t chunk[kLanes];
  uint16_t* halves = reinterpret_cast<uint16_t*>(chunk);
  for (int64_t k = 0; k < layout.padded_cols; k += 2 * kLanes) {
    const size_t at = row * x.stride + k;
    const int64_t left = layout.cols - k;
    if (x.dtype == kBfloat16 && left >= 32) {
      i_store(chunk, i_load(static_cast<const uint16_t*>(x.data) + at));
    } else {
      const int some = left > 0 ? int(left < 16 ? left : 16) : 0;
      f_store_bf16(halves, load_some(x.data, x.dtype, at, some));
      const int64_t more = left - 16;
      f_store_bf16(halves + 16, load_some(x.data, x.dtype, at + 16,
                                          more > 0 ? int(more < 16 ? more : 16) : 0));
    }
    put_words<kPairsTogether>(chunk, kLanes, place.rows, to);
  }
}

static void tile_floats(const Source& x, int64_t row, const Layout& layout, const TiledX& tiled) {
  const TilePlace place = find_tile(tiled, row);
  const bool pairs = layout.format == kBf16;
  const int64_t words = layout.padded_cols / (pairs && kPairParts == 1 ? 2 : 1);
  uint32_t* to = tiled.steps + place.first * words;
  if (pairs && kPairParts == 1) {
    return tile_pairs(x, row, layout, place, to + place.inside * kPairsTogether);
  }
  to += place.inside;
  pairs ? tile_singles<true>(x, row, layout, place, to)
        : tile_singles<false>(x, row, layout, place, to);
}

// Words of four int8, or of the even and the odd ones as 16-bit values.
template <int parts>
INLINE void put_bytes(const uint32_t* words, int64_t count, int64_t stride, uint32_t*& to) {
  if constexpr (parts == 1) {
    put_words<kBytesTogether>(words, count, stride, to);
  } else {
#if defined(UC_GENERIC_BYTES)
    for (int64_t i = 0; i < count; i += kLanes) {
      I even, odd;
      uint32_t wide[2][kLanes];
      widen_bytes(i_load(words + i), &even, &odd);
      i_store(wide[0], even);
      i_store(wide[1], odd);
      for (int64_t j = 0; j < kLanes && i + j < count; ++j, to += 2 * stride) {
        to[0] = wide[0][j];
        to[stride] = wide[1][j];
      }
    }
#endif
  }
}

// The lanes in an order that is the same on every instruction set: halves onto halves.
INLINE float ordered_sum(F x) {
  float lanes[kLanes];
  f_store(lanes, x);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

// To int8: of x_cols columns the largest becomes 127; what is not finite makes their scale NaN.
static void tile_ints(const Source& x, int64_t row, const Layout& layout, const TiledX& tiled) {
  const TilePlace place = find_tile(tiled, row);
  const int parts = is_byte(layout.format) ? kInt8Parts : 1;
  uint32_t* to = tiled.steps + place.first * (layout.padded_cols / 4 * parts);
  to += place.inside * kBytesTogether;
  float* scale = tiled.scales + place.first * layout.x_groups() + place.inside;
  const bool shifted = is_shifted(layout.format);
  int32_t* to_sum = tiled.sums + place.inside;
  to_sum += place.first * layout.sums() * sums_a_group(layout.format);
  const int center = center_level(layout.format), factor = center ? -center : 1;
  const int x_cols = layout.x_cols();
  const int in_sum = layout.sum_cols / kLanes;
  F values[kXGroup / kLanes];
  uint32_t words[kXGroup / 4];
  for (int64_t first = 0; first < layout.padded_cols; first += x_cols) {
    const int64_t cols = layout.padded_cols - first;
    const int vectors = int(cols < x_cols ? cols : x_cols) / kLanes;
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
      F exact = f_zero();
      for (const int end = i + in_sum; i < end; ++i) {
        const F scaled = f_mul(values[i], f_set(inverse));
        const I q = i_nearest(scaled);
        sum = i_add(sum, q);
        if (shifted) exact = f_add(exact, scaled);
        i_store_s8(reinterpret_cast<int8_t*>(words) + i * kLanes, q);
      }
      *to_sum = int32_t(uint32_t(factor) * uint32_t(i_sum(sum)));
      to_sum += place.rows;
      if (shifted) {
        const float of_x = ordered_sum(exact);
        __builtin_memcpy(to_sum, &of_x, 4);
        to_sum += place.rows;
      }
    }
    if (parts == 1) {
      put_bytes<1>(words, vectors * kLanes / 4, place.rows, to);
    } else {
      put_bytes<kInt8Parts>(words, vectors * kLanes / 4, place.rows, to);
    }
  }
}
