// Rows of float32 to a packed panel, and a row back.

struct Levels {
  float scale;
  int zero;
};

INLINE float as_scale(float scale, uint32_t dtype) {
  return dtype == kFloat32 ? scale : bf16_to_float(bf16_from_float(scale));
}

// Nearest levels of x at a scale, as whole numbers; `low` and `high` inclusive.
INLINE F nearest_level(F x, float inverse, float zero, float low, float high) {
  const F level = f_from_int(i_nearest(f_mul(x, f_set(inverse))));
  return f_min(f_max(f_add(level, f_set(zero)), f_set(low)), f_set(high));
}

static float squared_error(const float* x, int count, Levels levels, int most) {
  const float inverse = levels.scale != 0.0f ? 1.0f / levels.scale : 0.0f;
  F error = f_zero();
  for (int i = 0; i < count; i += kLanes) {
    const F value = f_load(x + i);
    const F level = nearest_level(value, inverse, float(levels.zero), 0.0f, float(most));
    const F off = f_fnma(f_sub(level, f_set(float(levels.zero))), f_set(levels.scale), value);
    error = f_fma(off, off, error);
  }
  return f_sum(error);
}

struct Range {
  float low, high;
};

static Range find_range(const float* x, long count) {
  F low = f_zero(), high = f_zero();
  for (long i = 0; i < count; i += kLanes) {
    low = f_max(f_sub(f_zero(), f_load(x + i)), low);
    high = f_max(f_load(x + i), high);
  }
  return {-f_largest(low), f_largest(high)};
}

// The scale with the smallest squared error among some that cut the ends off a little.
static Levels search_levels(const float* x, int count, float widest, Range range, bool with_zero,
                            uint32_t scale_dtype) {
  Levels best{0.0f, with_zero ? 0 : 8};
  float least = __builtin_inff();
  for (int i = 0; i < 10; ++i) {
    Levels levels{as_scale(widest * (1.0f - 0.04f * float(i)), scale_dtype), 8};
    if (with_zero && levels.scale != 0.0f) {
      const float zero = __builtin_floorf(-range.low / levels.scale + 0.5f);
      levels.zero = zero < 0.0f ? 0 : zero > 15.0f ? 15 : int(zero);
    }
    const float error = squared_error(x, count, levels, 15);
    if (error < least) {
      least = error;
      best = levels;
    }
  }
  return best;
}

static Levels choose_levels(const Layout& layout, const float* x, long count) {
  const Range range = find_range(x, count);
  const float most = range.high > -range.low ? range.high : -range.low;
  if (!(most > 1e-30f)) return {0.0f, middle_level(layout.format)};
  const uint32_t dtype = uint32_t(layout.scale_dtype);
  if (layout.format == kInt8) return {as_scale(most / 127.0f, dtype), 128};
  if (layout.format == kInt4Zero) {
    return search_levels(x, int(count), (range.high - range.low) / 15.0f, range, true, dtype);
  }
  // The end that lies farther out gets the level -8; the scale may be negative for that.
  const float extreme = range.high > -range.low ? range.high : range.low;
  return search_levels(x, int(count), extreme / -8.0f, range, false, dtype);
}

struct Place {
  size_t byte;
  int shift;
};

INLINE Place place_of(const Layout& layout, int row, long col) {
  const size_t lane = layout.step_of(col) + size_t(row / kLanes) * 64 + size_t(row % kLanes) * 4;
  switch (layout.format) {
    case kF32: return {lane, 0};
    case kBf16: return {lane + size_t(col % 2) * 2, 0};
    case kInt8: return {lane + size_t(col % 4), 0};
    default: return {lane + size_t(col % 4), col % 8 < 4 ? 0 : 4};
  }
}

INLINE void put_scale(const Layout& layout, uint8_t* panel, int row, long group, float scale) {
  store_one(panel + layout.scales_of(group), layout.scale_dtype, size_t(row), scale);
}

static void put_group(const Layout& layout, const float* x, int row, long group, long first,
                      long count, uint8_t* panel) {
  const Levels levels = choose_levels(layout, x, count);
  put_scale(layout, panel, row, group, levels.scale);
  if (layout.format == kInt4Zero) {
    panel[size_t(group) * kPanelRows + row] = uint8_t(levels.zero);
  }
  const float inverse = levels.scale != 0.0f ? 1.0f / levels.scale : 0.0f;
  const float lowest = layout.format == kInt8 ? 1.0f : 0.0f;
  const int shift = layout.format == kInt8 ? 2 : 3;
  uint8_t* lane = panel + place_of(layout, row, first).byte;
  float level[kLanes];
  for (long i = 0; i < count; i += kLanes) {
    f_store(level, nearest_level(f_load(x + i), inverse, float(levels.zero), lowest,
                                 float(num_levels(layout.format) - 1)));
    for (int j = 0; j < kLanes; ++j) {
      const int nibble = shift == 3 ? j & 4 : 0;
      lane[((i + j) >> shift) * kBytesPerStep + (j & 3)] |= uint8_t(int(level[j]) << nibble);
    }
  }
}

static void put_floats(const Layout& layout, const float* x, int row, uint8_t* panel) {
  const int per_step = step_cols(layout.format);
  uint8_t* lane = panel + place_of(layout, row, 0).byte;
  for (long s = 0; s < layout.padded_cols / per_step; ++s) {
    if (layout.format == kBf16) {
      const uint16_t pair[2] = {bf16_from_float(x[2 * s]), bf16_from_float(x[2 * s + 1])};
      memcpy(lane + s * kBytesPerStep, pair, 4);
    } else {
      memcpy(lane + s * kBytesPerStep, x + s, 4);
    }
  }
}

// rows: [num_rows, padded_cols], zero beyond the columns. Rows beyond num_rows become zero.
static void quantize_panel(const Layout& layout, const float* rows, long num_rows,
                           uint8_t* panel) {
  memset(panel, 0, layout.panel_bytes);
  const long group = layout.group_cols;
  for (int row = 0; row < num_rows; ++row) {
    const float* x = rows + size_t(row) * layout.padded_cols;
    if (!is_integer(layout.format)) {
      put_floats(layout, x, row, panel);
      continue;
    }
    for (long k = 0; k < layout.padded_cols; k += group) {
      put_group(layout, x + k, row, k / group, k, group, panel);
    }
  }
}

static float unpack_one(const Layout& layout, const uint8_t* panel, int row, long col) {
  const Place place = place_of(layout, row, col);
  const uint8_t* at = panel + place.byte;
  if (layout.format == kF32) return load_one(at, kFloat32, 0);
  if (layout.format == kBf16) return load_one(at, kBfloat16, 0);
  const long group = col / layout.group_cols;
  const int level = layout.format == kInt8 ? *at : (*at >> place.shift) & 15;
  const int zero = layout.format == kInt4Zero
                       ? panel[size_t(group) * kPanelRows + row]
                       : middle_level(layout.format);
  const float scale = load_one(panel + layout.scales_of(group), layout.scale_dtype, row);
  return float(level - zero) * scale;
}

static void unpack_row(const Weight& weight, long row, float* out) {
  const Layout& layout = weight.layout;
  const uint8_t* panel = weight.panels + size_t(row / kPanelRows) * layout.panel_bytes;
  for (long k = 0; k < layout.cols; ++k) {
    out[k] = unpack_one(layout, panel, int(row % kPanelRows), k);
  }
}
