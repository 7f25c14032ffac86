// Weight formats and the packed blob. The picture is in README.md.
#pragma once

#include <cstddef>
#include <cstdint>

#include "status.h"

namespace uc {

enum Dtype { kBfloat16 = 0, kFloat32 = 1, kFloat16 = 2 };
enum Format {
  kF32 = 0,
  kBf16 = 1,
  kInt8 = 2,
  kInt4 = 3,
  kInt4Zero = 4,   // A zero for each group: (level - zero) * scale.
  kInt8Shift = 5,  // A shift for each group: level * scale + shift.
  kInt4Shift = 6,
  kNumFormats = 7
};

constexpr int kPanelRows = 32;
constexpr int kBytesPerStep = 128;  // Both vectors of a panel at one step along the columns.
// Columns of int8 activations that share a scale, at most. Where shifts magnify what is rounded they
// are those of the weight's group, at least kSmallXGroup.
constexpr int kXGroup = 128, kSmallXGroup = 32;
constexpr int64_t kMaxRows = int64_t(1) << 31, kMaxCols = 1 << 24;

constexpr bool is_integer(int format) { return format >= kInt8; }
constexpr bool is_byte(int format) { return format == kInt8 || format == kInt8Shift; }
constexpr bool is_shifted(int format) { return format >= kInt8Shift; }
// Columns that one step of 128 bytes covers.
constexpr int step_cols(int format) {
  return format == kF32 ? 1 : format == kBf16 ? 2 : is_byte(format) ? 4 : 8;
}
constexpr int num_levels(int format) { return is_byte(format) ? 256 : 16; }
// The level of 0 where a group has no zero of its own.
constexpr int middle_level(int format) {
  return is_shifted(format) ? 0 : is_byte(format) ? 128 : 8;
}
// What levels are multiplied less of: the middle of those in use, which bytes with shifts do not say.
constexpr int center_level(int format) {
  return format == kInt4Zero || format == kInt8Shift ? 0 : is_byte(format) ? 128 : 8;
}
// Sums of a group of x that a product takes: of int8; with shifts also of x itself.
constexpr int sums_a_group(int format) { return is_shifted(format) ? 2 : 1; }
constexpr int scale_size(int scale_dtype) { return scale_dtype == kFloat32 ? 4 : 2; }

// Lies at a multiple of 64 bytes at least: blobs come from torch and from mapped files.
struct Header {
  char magic[8];
  uint32_t version;
  uint32_t format;
  int64_t rows;
  int64_t cols;
  int32_t group;  // Columns that share a scale; 0: the whole row.
  uint32_t scale_dtype;
  uint64_t payload_bytes;
  uint64_t checksum;
  uint8_t reserved[72];
};
static_assert(sizeof(Header) == 128, "part of the format");

// Where things lie, derived from the header. A panel holds 32 rows, group after group of columns,
// each its scales, its zeros or shifts, and its steps. Float formats are one group of steps alone.
struct Layout {
  int format;
  int scale_dtype;
  int group;
  int sum_cols;       // Columns summed as integers: the group, at most kXGroup.
  int64_t rows, cols;
  int64_t padded_cols;
  int64_t panels;
  int64_t group_cols;    // padded_cols where the group is the whole row.
  int64_t num_scales;    // Per row.
  size_t scale_bytes, zero_bytes, group_bytes;  // Of a group in a panel; the last is all of it.
  size_t panel_bytes;

  int64_t sums() const { return padded_cols / sum_cols; }  // Per row, of integer formats.
  // Columns of activations that share a scale.
  int x_cols() const {
    const int least = sum_cols < kSmallXGroup ? kSmallXGroup : sum_cols;
    return is_shifted(format) ? least : kXGroup;
  }
  int64_t x_groups() const { return (padded_cols + x_cols() - 1) / x_cols(); }
  size_t scales_of(int64_t group) const { return size_t(group) * group_bytes; }
  size_t zeros_of(int64_t group) const { return scales_of(group) + scale_bytes; }
  size_t step_of(int64_t col) const {
    return zeros_of(col / group_cols) + zero_bytes +
           size_t(col % group_cols / step_cols(format)) * kBytesPerStep;
  }
  size_t total_bytes() const { return sizeof(Header) + size_t(panels) * panel_bytes; }
};

static inline float half_to_float(uint16_t bits) {
  const float sign = bits & 0x8000 ? -1.0f : 1.0f;
  const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent == 31) return fraction ? __builtin_nanf("") : sign * __builtin_inff();
  const int whole = exponent ? fraction | 1024 : fraction;
  return sign * __builtin_ldexpf(float(whole), (exponent ? exponent : 1) - 25);
}

struct Weight {
  Layout layout;
  const uint8_t* panels;
};

Status make_layout(int format, int group, int scale_dtype, int64_t rows, int64_t cols,
                   Layout* layout);
// Checks the header against itself and `bytes`, not the checksum.
Status open_weight(const void* blob, size_t bytes, Weight* weight);
Status verify_checksum(const void* blob, size_t bytes);
void write_header(const Layout& layout, void* blob);
uint64_t checksum(const void* blob);

}  // namespace uc
