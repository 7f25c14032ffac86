// Rows of float32 to a packed panel, and a row back. Sixteen rows lie side by side, one a lane, so
// that levels and scales come from the very operations of unisono/hardware/weights/quantized.py, each
// rounded as there.

constexpr float kSmallestScale = 1.17549435e-38f;
constexpr double kShrink[3] = {0.95, 0.9, 0.85};
constexpr int kMostGroupColumns = 128;  // Of the formats that search for their scales.

// What a group's levels mean, for 16 rows.
struct Span {
  F scale, zero;
};

// A group of 16 rows: x [count][16].
struct GroupColumns {
  const float* x;
  int64_t count;

  INLINE_MEMBER F at(int64_t column) const { return f_load(x + column * kLanes); }
};

INLINE F as_scale(F x, int dtype) {
  const F scale = dtype == kFloat32 ? x : f_from_bits(i_shift_left<16>(bf16_bits(x)));
  return f_where_at_least(f_abs(scale), f_set(kSmallestScale), scale, f_zero());
}

INLINE F inverse_of(F scale) {
  return f_where_at_least(f_abs(scale), f_set(kSmallestScale), f_div(f_set(1.0f), scale), f_zero());
}

INLINE F clamp(F x, F low, F high) { return f_min(f_max(x, low), high); }

INLINE F level_of(F x, F inverse, F zero, F top) {
  return clamp(f_from_int(i_nearest(f_add(f_mul(x, inverse), zero))), f_zero(), top);
}

static F first_largest(const GroupColumns& group) {
  F largest = group.at(0), magnitude = f_abs(largest);
  for (int64_t i = 1; i < group.count; ++i) {
    const F x = group.at(i);
    largest = f_where_at_least(magnitude, f_abs(x), largest, x);
    magnitude = f_max(f_abs(x), magnitude);
  }
  return largest;
}

// `share` of the range; the range is found once for all shares.
class SpanChooser {
 public:
  SpanChooser(const Layout& layout, const GroupColumns& group)
      : dtype_(layout.scale_dtype), top_(num_levels(layout.format) - 1),
        middle_(middle_level(layout.format)), with_zero_(layout.format == kInt4Zero) {
    if (!with_zero_) {
      largest_ = first_largest(group);
      return;
    }
    low_ = high_ = f_zero();
    for (int64_t i = 0; i < group.count; ++i) {
      low_ = f_min(group.at(i), low_);
      high_ = f_max(group.at(i), high_);
    }
  }

  Span choose(double share) const {
    if (!with_zero_) {
      return {as_scale(f_mul(largest_, f_set(float(share / -middle_))), dtype_), f_set(middle_)};
    }
    const F part = f_set(float(share / top_));
    const F scale = as_scale(f_sub(f_mul(high_, part), f_mul(low_, part)), dtype_);
    const F below = f_mul(f_sub(f_zero(), low_), f_set(float(share)));
    const F zero = f_from_int(i_nearest(f_div(below, scale)));
    return {scale, f_where_at_least(scale, f_set(kSmallestScale),
                                    clamp(zero, f_zero(), f_set(top_)), f_zero())};
  }

 private:
  const int dtype_;
  const float top_, middle_;
  const bool with_zero_;
  F largest_, low_, high_;
};

// The second half onto the first, until one is left.
static F squared_error(const GroupColumns& group, const Span& span, float top) {
  const F inverse = inverse_of(span.scale);
  const auto square = [&](int64_t i) {
    const F level = level_of(group.at(i), inverse, span.zero, f_set(top));
    const F off = f_sub(f_mul(f_sub(level, span.zero), span.scale), group.at(i));
    return f_mul(off, off);
  };
  F sums[kMostGroupColumns / 2];
  int64_t size = group.count / 2;
  for (int64_t i = 0; i < size; ++i) sums[i] = f_add(square(i), square(i + size));
  while (size > 1) {
    size /= 2;
    for (int64_t i = 0; i < size; ++i) sums[i] = f_add(sums[i], sums[i + size]);
  }
  return sums[0];
}

static Span choose_span(const Layout& layout, const GroupColumns& group) {
  const SpanChooser chooser(layout, group);
  Span best = chooser.choose(1.0);
  if (layout.format == kInt8) return best;
  const float top = num_levels(layout.format) - 1;
  F least = squared_error(group, best, top);
  for (int i = 0; i < 3; ++i) {
    const Span narrower = chooser.choose(kShrink[i]);
    const F error = squared_error(group, narrower, top);
    best.scale = f_where_at_least(error, least, best.scale, narrower.scale);
    best.zero = f_where_at_least(error, least, best.zero, narrower.zero);
    least = f_where_at_least(error, least, least, error);
  }
  return best;
}

// The steps of a group of 16 rows; lanes that are not `live` become 0.
template <int format>
static void put_levels(const GroupColumns& group, const Span& span, I live, uint8_t* steps) {
  const F inverse = inverse_of(span.scale), top = f_set(num_levels(format) - 1);
  const auto level = [&](int64_t i) {
    return i_nearest(level_of(group.at(i), inverse, span.zero, top));
  };
  for (int64_t i = 0; i < group.count; i += step_cols(format)) {
    I word = i_or(i_or(level(i), i_shift_left<8>(level(i + 1))),
                  i_or(i_shift_left<16>(level(i + 2)), i_shift_left<24>(level(i + 3))));
    if (format != kInt8) {
      word = i_or(word, i_or(i_or(i_shift_left<4>(level(i + 4)), i_shift_left<12>(level(i + 5))),
                             i_or(i_shift_left<20>(level(i + 6)), i_shift_left<28>(level(i + 7)))));
    }
    i_store(steps + i / step_cols(format) * kBytesPerStep, i_and(word, live));
  }
}

// columns [padded_cols][16]: rows half * 16 and on of the panel.
static void put_half(const Layout& layout, const float* columns, int half, I live,
                     uint8_t* panel) {
  for (int64_t first = 0; first < layout.padded_cols; first += layout.group_cols) {
    const GroupColumns group{columns + first * kLanes, layout.group_cols};
    const Span span = choose_span(layout, group);
    const int64_t g = first / layout.group_cols;
    store_as(panel + layout.scales_of(g), layout.scale_dtype, size_t(half) * kLanes, span.scale);
    uint8_t* steps = panel + layout.step_of(first) + half * 64;
    if (layout.format == kInt8) {
      put_levels<kInt8>(group, span, live, steps);
      continue;
    }
    put_levels<kInt4>(group, span, live, steps);
    if (layout.format == kInt4Zero) {
      i_store_s8(reinterpret_cast<int8_t*>(panel + layout.zeros_of(g) + half * kLanes),
                 i_nearest(span.zero));
    }
  }
}

// Words `at` to `at + 15` of 16 rows become rows of `out`.
INLINE void transpose_words(const uint32_t* const* rows, int64_t at, uint32_t* out, size_t stride) {
  I words[kLanes];
  UNROLL for (int i = 0; i < kLanes; ++i) words[i] = i_load(rows[i] + at);
  transpose16(words);
  UNROLL for (int i = 0; i < kLanes; ++i) i_store(out + i * stride, words[i]);
}

// Words of 16 rows to the steps of a panel.
static void put_words(const uint32_t* const* rows, int64_t num_words, int half, uint8_t* panel) {
  uint32_t* out = reinterpret_cast<uint32_t*>(panel + half * 64);
  for (int64_t s = 0; s < num_words; s += kLanes) {
    transpose_words(rows, s, out + s * kPanelRows, kPanelRows);
  }
}

static void round_in_place(float* row, int64_t count) {
  uint16_t* halves = reinterpret_cast<uint16_t*>(row);
  for (int64_t k = 0; k < count; k += kLanes) i_store_u16(halves + k, bf16_bits(f_load(row + k)));
}

static bool all_finite(const float* x, int64_t count) {
  F poison = f_zero();
  for (int64_t i = 0; i < count; i += kLanes) poison = f_fma(f_load(x + i), f_zero(), poison);
  return f_sum(poison) == 0.0f;
}

// rows [32][padded_cols], zero beyond num_rows and the columns, overwritten; columns: room for half
// as many. False where integers were asked of what is not finite.
static bool pack_panel(const Layout& layout, float* rows, int64_t num_rows, float* columns,
                       uint8_t* panel) {
  const int64_t cols = layout.padded_cols;
  const bool integer = is_integer(layout.format);
  if (integer && !all_finite(rows, num_rows * cols)) return false;
  memset(panel, 0, layout.panel_bytes);
  static const int32_t kLive[2 * kLanes] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                            -1, -1, -1, -1, -1};
  for (int half = 0; half < 2 && half * kLanes < num_rows; ++half) {
    const uint32_t* words[kLanes];
    for (int r = 0; r < kLanes; ++r) {
      float* row = rows + (half * kLanes + r) * cols;
      if (layout.format == kBf16) round_in_place(row, cols);
      words[r] = reinterpret_cast<const uint32_t*>(row);
    }
    if (!integer) {
      put_words(words, cols / step_cols(layout.format), half, panel);
      continue;
    }
    for (int64_t k = 0; k < cols; k += kLanes) {
      transpose_words(words, k, reinterpret_cast<uint32_t*>(columns) + k * kLanes, kLanes);
    }
    const int64_t live = num_rows - half * kLanes < kLanes ? num_rows - half * kLanes : kLanes;
    put_half(layout, columns, half, i_load(kLive + kLanes - live), panel);
  }
  return true;
}

struct Place {
  size_t byte;
  int shift;
};

INLINE Place place_of(const Layout& layout, int row, int64_t col) {
  const size_t lane = layout.step_of(col) + size_t(row / kLanes) * 64 + size_t(row % kLanes) * 4;
  switch (layout.format) {
    case kF32: return {lane, 0};
    case kBf16: return {lane + size_t(col % 2) * 2, 0};
    case kInt8:
    case kInt8Shift: return {lane + size_t(col % 4), 0};
    default: return {lane + size_t(col % 4), col % 8 < 4 ? 0 : 4};
  }
}

static float unpack_one(const Layout& layout, const uint8_t* panel, int row, int64_t col) {
  const Place place = place_of(layout, row, col);
  const uint8_t* at = panel + place.byte;
  if (layout.format == kF32) return load_one(at, kFloat32, 0);
  if (layout.format == kBf16) return load_one(at, kBfloat16, 0);
  const int64_t group = col / layout.group_cols;
  const int level = is_byte(layout.format) ? *at : (*at >> place.shift) & 15;
  const int zero = layout.format == kInt4Zero ? panel[layout.zeros_of(group) + row]
                                              : middle_level(layout.format);
  const float scale = load_one(panel + layout.scales_of(group), layout.scale_dtype, row);
  const float value = float(level - zero) * scale;
  if (!is_shifted(layout.format)) return value;
  return value + load_one(panel + layout.zeros_of(group), layout.scale_dtype, row);
}

static void unpack_row(const Weight& weight, int64_t row, float* out) {
  const Layout& layout = weight.layout;
  const uint8_t* panel = weight.panels + size_t(row / kPanelRows) * layout.panel_bytes;
  for (int64_t k = 0; k < layout.cols; ++k) {
    out[k] = unpack_one(layout, panel, int(row % kPanelRows), k);
  }
}
