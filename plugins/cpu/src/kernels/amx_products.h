// Products on tiles. Integers are exact, and become float32 in the order of tile_ints.h: an output is that
// of avx512, bit for bit, so fewer rows than kManyRows, which would leave tiles empty, are computed there.
// Of bfloat16 an instruction adds up even and odd columns of 32, each in a chain that begins with 0, the
// two chains, and that to the sum: another order than vdpbf16ps has. So that a row does not depend on those
// that come along, any number of rows is computed here.

constexpr int64_t kManyRows = kTileRows;

// x as tiles take it, row by row; else as avx512 does.
static bool takes_tiles(int format, int64_t rows) {
  return format == kBf16 || (is_integer(format) && rows >= kManyRows);
}
static int tile_rows(int format, int64_t rows) {
  return takes_tiles(format, rows) ? 1 : avx512::products.tile_rows(format, rows);
}
static void tile_floats(const Source& x, int64_t row, const Layout& layout, const TiledX& tiled) {
  avx512::products.tile_floats(x, row, layout, tiled);
}
static void tile_ints(const Source& x, int64_t row, const Layout& layout, const TiledX& tiled) {
  avx512::products.tile_ints(x, row, layout, tiled);
}

// Calls function(first row) for tiles of `height` rows; the last one begins early rather than end late, and
// computes some rows again.
template <class Function>
INLINE void for_row_tiles(int64_t rows, int height, const Function& function) {
  for (int64_t row = 0; row < rows; row += height) {
    function(row + height < rows ? row : rows - height);
  }
}

static void pair_panel(const MatmulJob& job, int64_t panel, int height) {
  const Layout& layout = job.weight->layout;
  const int64_t words = layout.padded_cols / 2;
  const uint8_t* weights = job.weight->panels + panel * layout.panel_bytes;
  for_row_tiles(job.x.rows, height, [&](int64_t row) {
    LinearTile out(job, row, panel * kPanelRows, kPanelRows);
    const uint32_t* x = job.x.steps + row * words;
    zero_sums();
    for (int64_t word = 0; word < words; word += kTileWords) {
      load_tiles(x + word, 4 * size_t(words), weights + word * kBytesPerStep);
      add_pairs();
    }
    store_sums(out.sums);
    out.finish(height);
  });
}

// Steps of a group of int4 as those of int8: low nibbles, then high ones.
INLINE void widen_nibbles(const uint8_t* steps, int count, uint8_t* to) {
  for (int i = 0; i < 2 * count; ++i) {  // Halves of a step.
    const I both = i_load(steps + i * 64);
    uint8_t* low = to + i / 2 * 2 * kBytesPerStep + i % 2 * 64;
    i_store(low, int_part<kInt4, 0>(both));
    i_store(low + kBytesPerStep, int_part<kInt4, 1>(both));
  }
}

// Sums of a tile's rows, [row][lane of the panel].
struct TileSums {
  alignas(64) int32_t dots[kTileRows * kPanelRows];  // Of a group.
  float parts[kTileRows * kPanelRows];               // Of columns that share a scale of x.
};

// A group's sums become float32: times its scale, less its zero, plus its shift.
template <int format>
INLINE void add_group(const Layout& layout, const uint8_t* scales, const int32_t* x_sums,
                      size_t pitch, TileSums* sums) {
  for (int lane = 0; lane < kPanelRows; lane += kLanes) {
    const F scale = r_load_as(scales, layout.scale_dtype, lane);
    F zero = f_zero(), shift = f_zero();
    if (format == kInt4Zero) zero = r_from_u8(scales + layout.scale_bytes + lane);
    if (is_shifted(format)) {
      shift = r_load_as(scales + layout.scale_bytes, layout.scale_dtype, lane);
      shift = f_fma(scale, f_set(center_level(format)), shift);
    }
    for (int m = 0; m < kTileRows; ++m) {
      const int32_t* of_x = x_sums + m * pitch;
      const int at = m * kPanelRows + lane, first = center_level(format) ? of_x[0] : 0;
      F dot = f_from_int(i_add(i_load(sums->dots + at), i_set(first)));
      if (format == kInt4Zero) dot = f_fnma(zero, f_set(float(of_x[0])), dot);
      F part = f_fma(dot, scale, f_load(sums->parts + at));
      if (is_shifted(format)) {
        float sum;
        __builtin_memcpy(&sum, of_x + 1, 4);
        part = f_fma(shift, f_set(sum), part);
      }
      f_store(sums->parts + at, part);
    }
  }
}

template <int format>
static void int_panel(const MatmulJob& job, int64_t panel) {
  const Layout& layout = job.weight->layout;
  const int64_t groups = layout.sums(), words = layout.padded_cols / 4, x_groups = layout.x_groups();
  const int group_words = layout.sum_cols / 4, a_group = sums_a_group(format);
  const int at_once = group_words < kTileWords ? group_words : kTileWords;
  const int together = layout.x_cols() / layout.sum_cols;
  const uint8_t* base = job.weight->panels + panel * layout.panel_bytes;
  for_row_tiles(job.x.rows, kTileRows, [&](int64_t row) {
    LinearTile out(job, row, panel * kPanelRows, kPanelRows);
    TileSums sums;
    alignas(64) uint8_t wide[kXGroup / 4 * kBytesPerStep];
    const size_t pitch = size_t(groups) * a_group;  // From row to row of x.sums.
    for (int64_t g = 0; g < groups; ++g) {
      if (g % together == 0) memset(sums.parts, 0, sizeof sums.parts);
      const uint8_t* steps = base + layout.step_of(g * layout.sum_cols);
      if (!is_byte(format)) {
        widen_nibbles(steps, group_words / 2, wide);
        steps = wide;
      }
      zero_sums();
      for (int word = 0; word < group_words; word += at_once) {
        load_tiles(job.x.steps + row * words + g * group_words + word, 4 * size_t(words),
                   steps + word * kBytesPerStep);
        add_bytes();
      }
      store_sums(sums.dots);
      add_group<format>(layout, base + layout.scales_of(g * layout.sum_cols / layout.group_cols),
                        job.x.sums + row * pitch + g * a_group, pitch, &sums);
      if ((g + 1) % together && g + 1 < groups) continue;
      for (int i = 0; i < kTileRows * kPanelRows; i += kLanes) {
        const F scale = f_set(job.x.scales[(row + i / kPanelRows) * x_groups + g / together]);
        const F before = g < together ? f_zero() : f_load(out.sums + i);
        f_store(out.sums + i, f_fma(f_load(sums.parts + i), scale, before));
      }
    }
    out.finish(kTileRows);
  });
}

template <int format>
static void int_panels(const MatmulJob& job, int64_t begin, int64_t end) {
  const int words = job.weight->layout.sum_cols / 4;
  begin_tiles(kTileRows, words < kTileWords ? words : kTileWords);
  for (; begin < end; ++begin) int_panel<format>(job, begin);
  end_tiles();
}

static void pair_panels(const MatmulJob& job, int64_t begin, int64_t end) {
  const int height = job.x.rows < kTileRows ? int(job.x.rows) : kTileRows;
  begin_tiles(height, kTileWords);
  for (; begin < end; ++begin) pair_panel(job, begin, height);
  end_tiles();
}

static void matmul(const MatmulJob& job, int64_t begin, int64_t end) {
  const int format = job.weight->layout.format;
  if (!takes_tiles(format, job.x.rows)) return avx512::products.matmul(job, begin, end);
  switch (format) {
    case kBf16: return pair_panels(job, begin, end);
    case kInt8: return int_panels<kInt8>(job, begin, end);
    case kInt4: return int_panels<kInt4>(job, begin, end);
    case kInt4Zero: return int_panels<kInt4Zero>(job, begin, end);
    case kInt8Shift: return int_panels<kInt8Shift>(job, begin, end);
    case kInt4Shift: return int_panels<kInt4Shift>(job, begin, end);
  }
}

// Products of tiles that stay in the registers; operations, a multiplication and an addition each.
static double products_alone(int format, int64_t rounds) {
  if (format == kF32) return avx512::products.products_alone(format, rounds);
  alignas(64) static const uint8_t zeros[kTileWords * kBytesPerStep] = {};
  begin_tiles(kTileRows, kTileWords);
  zero_sums();
  load_tiles(reinterpret_cast<const uint32_t*>(zeros), kBytesPerStep, zeros);
  constexpr int kTimes = 6;  // Two products each: a round has as many as on other sets.
  for (int64_t i = 0; i < kTimes * rounds; ++i) format == kBf16 ? add_pairs() : add_bytes();
  end_tiles();
  const int words = kTimes * kTileRows * kTileWords * kPanelRows;
  return 2.0 * (format == kBf16 ? 2 : 4) * words * double(rounds);
}
