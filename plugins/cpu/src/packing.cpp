#include "packing.h"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstring>

#include "dispatch.h"
#include "pieces.h"
#include "workspace.h"

namespace uc {
namespace {

constexpr char kMagic[8] = {'U', 'N', 'I', 'S', 'O', 'C', 'P', 'U'};
constexpr uint32_t kVersion = 2;

void widen_row(const Matrix& source, int64_t row, float* out) {
  const size_t at = size_t(row) * source.stride;
  if (source.dtype == kFloat16) {
    const uint16_t* halves = static_cast<const uint16_t*>(source.data) + at;
    for (int64_t k = 0; k < source.cols; ++k) out[k] = half_to_float(halves[k]);
  } else if (source.dtype == kBfloat16) {
    const uint16_t* halves = static_cast<const uint16_t*>(source.data) + at;
    for (int64_t k = 0; k < source.cols; ++k) {
      const uint32_t wide = uint32_t(halves[k]) << 16;
      std::memcpy(out + k, &wide, 4);
    }
  } else {
    std::memcpy(out, static_cast<const float*>(source.data) + at, sizeof(float) * source.cols);
  }
}

uint64_t mix(uint64_t sum, uint64_t word) {
  sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
  return sum ^ (sum >> 29);
}

void finish_blob(const Layout& layout, void* blob) {
  write_header(layout, blob);
  static_cast<Header*>(blob)->checksum = checksum(blob);
}

enum Fault { kNone = 0, kScale = 1, kLevel = 2 };

// 16 bits of a dtype that mean the same number; false where there are none.
bool narrowed(float value, int dtype, uint16_t* half) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if (dtype == kBfloat16) {
    *half = uint16_t(bits >> 16);
    return !(bits & 0xffff);
  }
  int exponent = 0;
  const float fraction = std::frexp(std::fabs(value), &exponent);  // In [0.5, 1).
  const int places = std::min(11, exponent + 24);  // Fewer for the smallest numbers.
  const float whole = std::ldexp(fraction, places);
  if (value != 0 && (exponent > 16 || places < 1 || whole != std::floor(whole))) return false;
  const int size = value == 0 ? 0 : exponent < -13 ? int(whole) : (exponent + 13) * 1024 + int(whole);
  *half = uint16_t(size | (bits >> 16 & 0x8000));
  return half_to_float(*half) == value;
}

// What a row's groups share: scales, or shifts.
Fault put_shared(const Layout& layout, int row, const float* values, size_t offset,
                 uint8_t* panel) {
  for (int64_t g = 0; g < layout.num_scales; ++g) {
    uint8_t* at = panel + layout.scales_of(g) + offset + scale_size(layout.scale_dtype) * row;
    if (layout.scale_dtype == kFloat32) {
      std::memcpy(at, values + g, 4);
      continue;
    }
    uint16_t half;
    if (!narrowed(values[g], layout.scale_dtype, &half)) return kScale;
    std::memcpy(at, &half, 2);
  }
  return kNone;
}

// As place_of of kernels/quantize.h, one row at a time. Columns beyond the last get the zero.
Fault put_levels(const Layout& layout, int row, const uint8_t* levels, const uint8_t* zeros,
                 uint8_t* panel) {
  const int shift = is_byte(layout.format) ? 2 : 3, most = num_levels(layout.format) - 1;
  uint8_t* lane = panel + (row / 16) * 64 + (row % 16) * 4;
  int largest = 0;
  for (int64_t first = 0; first < layout.padded_cols; first += layout.group_cols) {
    uint8_t* group = lane + layout.step_of(first);
    const int zero = zeros ? zeros[first / layout.group_cols] : middle_level(layout.format);
    for (int64_t i = 0; i < layout.group_cols; ++i) {
      const int64_t k = first + i;
      const int level = k < layout.cols ? levels[k] : zero;
      largest = std::max(largest, level);
      const int nibble = shift == 3 ? int(i & 4) : 0;
      group[(i >> shift) * kBytesPerStep + (i & 3)] |= uint8_t(level << nibble);
    }
  }
  return largest > most ? kLevel : kNone;
}

bool group_fits(int format, int group) {
  if (!is_integer(format)) return group == 0;
  if (group == 16) return is_byte(format);
  return group == 32 || group == 64 || group == 128 || (format == kInt8 && group == 0);
}

}  // namespace

Status make_layout(int format, int group, int scale_dtype, int64_t rows, int64_t cols,
                   Layout* layout) {
  if (format < 0 || format >= kNumFormats) return fail(kBadArgument, "no format %d", format);
  if (rows < 1 || cols < 1 || rows > kMaxRows || cols > kMaxCols) {
    return fail(kBadArgument, "a weight of %" PRId64 " x %" PRId64 " cannot be packed", rows, cols);
  }
  if (!group_fits(format, group)) return fail(kBadArgument, "group %d does not go with it", group);
  if (scale_dtype < kBfloat16 || scale_dtype > kFloat16) {
    return fail(kBadArgument, "scales are bfloat16, float16 or float32");
  }
  const bool integer = is_integer(format);
  const int sum_cols = !integer ? 0 : group ? group : kXGroup;
  const int64_t padded = int64_t(round_up(size_t(cols), size_t(integer ? sum_cols : 32)));
  const int64_t num_scales = !integer ? 0 : group ? padded / group : 1;
  const size_t scale_bytes = !integer ? 0 : kPanelRows * scale_size(scale_dtype);
  const int64_t group_cols = group ? group : padded;
  const size_t zero_bytes = format == kInt4Zero ? kPanelRows : is_shifted(format) ? scale_bytes : 0;
  const size_t group_bytes =
      scale_bytes + zero_bytes + size_t(group_cols / step_cols(format)) * kBytesPerStep;
  const size_t panel_bytes = size_t(padded / group_cols) * group_bytes;
  *layout = Layout{format, scale_dtype, group, sum_cols, rows, cols, padded,
                   (rows + kPanelRows - 1) / kPanelRows, group_cols, num_scales, scale_bytes,
                   zero_bytes, group_bytes, round_up(panel_bytes, kAlignment)};
  return kOk;
}

void write_header(const Layout& layout, void* blob) {
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kVersion;
  header.format = uint32_t(layout.format);
  header.rows = layout.rows;
  header.cols = layout.cols;
  header.group = layout.group;
  header.scale_dtype = uint32_t(layout.scale_dtype);
  header.payload_bytes = layout.total_bytes() - sizeof(Header);
  std::memcpy(blob, &header, sizeof header);
}

Status open_weight(const void* blob, size_t bytes, Weight* weight) {
  if (!blob || bytes < sizeof(Header)) return fail(kCorrupt, "too short for a packed weight");
  if (reinterpret_cast<uintptr_t>(blob) % kAlignment) {
    return fail(kBadArgument, "a packed weight must lie at a multiple of %zu", kAlignment);
  }
  Header header;
  std::memcpy(&header, blob, sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) {
    return fail(kCorrupt, "not a packed weight");
  }
  if (header.version != kVersion) {
    return fail(kCorrupt, "packed weight of version %u, this is %u", header.version, kVersion);
  }
  if (make_layout(int(header.format), header.group, int(header.scale_dtype), header.rows,
                  header.cols, &weight->layout)) {
    return kCorrupt;
  }
  const size_t total = weight->layout.total_bytes();
  if (header.payload_bytes != total - sizeof(Header) || bytes < total) {
    return fail(kCorrupt, "a packed weight of %zu bytes in %zu", total, bytes);
  }
  weight->panels = static_cast<const uint8_t*>(blob) + sizeof(Header);
  return kOk;
}

// Eight interleaved sums, so that it runs at the rate of the memory.
uint64_t checksum(const void* blob) {
  Header header;
  std::memcpy(&header, blob, sizeof header);
  const uint64_t payload = header.payload_bytes;
  header.checksum = 0;
  uint64_t sums[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  const auto add = [&sums](const void* data, size_t bytes) {
    const char* p = static_cast<const char*>(data);
    for (size_t i = 0; i + 64 <= bytes; i += 64) {
      uint64_t words[8];
      std::memcpy(words, p + i, 64);
      for (int j = 0; j < 8; ++j) sums[j] = mix(sums[j], words[j]);
    }
  };
  add(&header, sizeof header);
  add(static_cast<const char*>(blob) + sizeof header, payload);
  uint64_t all = 0;
  for (const uint64_t sum : sums) all = mix(all, sum);
  return all;
}

namespace {

// A page of a file comes to the memory of whoever reads it first: of the member that will multiply it.
void read_by_shares(const Weight& weight) {
  parallel([&](const Team& team) {
    int64_t begin, end;
    team.share(weight.layout.panels, &begin, &end);
    const size_t bytes = weight.layout.panel_bytes;
    kernels().read(weight.panels + size_t(begin) * bytes, size_t(end - begin) * bytes);
  });
}

}  // namespace

Status verify_checksum(const void* blob, size_t bytes) {
  Weight weight;
  if (Status status = open_weight(blob, bytes, &weight)) return status;
  if (num_nodes() > 1) read_by_shares(weight);
  if (static_cast<const Header*>(blob)->checksum != checksum(blob)) {
    return fail(kCorrupt, "the checksum of a packed weight does not match");
  }
  return kOk;
}

Status pack(const Matrix& source, const Layout& layout, void* blob) {
  if (is_shifted(layout.format) || layout.scale_dtype == kFloat16 || layout.group == 16) {
    return fail(kBadArgument, "this form takes levels alone");
  }
  PoolLock lock;
  float *rows = nullptr, *columns = nullptr;
  const size_t row_floats = size_t(kPanelRows) * layout.padded_cols, column_floats = row_floats / 2;
  Workspace workspace;
  workspace.want(&rows, row_floats * num_threads());
  workspace.want(&columns, column_floats * num_threads());
  if (Status status = workspace.place()) return status;
  uint8_t* panels = static_cast<uint8_t*>(blob) + sizeof(Header);
  bool finite = true;
  const Status status = parallel([&](const Team& team) {
    float* own = rows + row_floats * team.id;
    std::memset(own, 0, row_floats * sizeof(float));
    Pieces pieces(team, layout.panels, 1);
    for (int64_t panel, end; pieces.next(&panel, &end);) {
      const int64_t first = panel * kPanelRows;
      const int64_t count = std::min<int64_t>(kPanelRows, layout.rows - first);
      if (count < kPanelRows) std::memset(own, 0, row_floats * sizeof(float));
      for (int64_t r = 0; r < count; ++r) {
        widen_row(source, first + r, own + r * layout.padded_cols);
      }
      if (!kernels().pack_panel(layout, own, count, columns + column_floats * team.id,
                                panels + panel * layout.panel_bytes)) {
        __atomic_store_n(&finite, false, __ATOMIC_RELAXED);
      }
    }
  });
  if (status) return status;
  if (!finite) return fail(kNotFinite, "a weight that is not finite cannot be quantised");
  finish_blob(layout, blob);
  return kOk;
}

Status pack_levels(const Layout& layout, const uint8_t* levels, const float* scales,
                   const uint8_t* zeros, const float* shifts, void* blob) {
  if (!is_integer(layout.format)) return fail(kBadArgument, "only integer formats have levels");
  if ((layout.format == kInt4Zero) != (zeros != nullptr)) {
    return fail(kBadArgument, "zeros belong to int4 with zeros and to nothing else");
  }
  if (is_shifted(layout.format) != (shifts != nullptr)) {
    return fail(kBadArgument, "shifts belong to the formats with shifts and to nothing else");
  }
  uint8_t* panels = static_cast<uint8_t*>(blob) + sizeof(Header);
  int fault = kNone;
  const Status status = parallel([&](const Team& team) {
    int64_t begin, end;
    team.share(layout.panels, &begin, &end);
    std::memset(panels + begin * layout.panel_bytes, 0, (end - begin) * layout.panel_bytes);
    const int64_t last = std::min(end * kPanelRows, layout.rows);
    for (int64_t row = begin * kPanelRows; row < last; ++row) {
      uint8_t* panel = panels + row / kPanelRows * layout.panel_bytes;
      const int inside = int(row % kPanelRows);
      const int64_t groups = layout.num_scales;
      const uint8_t* row_zeros = zeros ? zeros + row * groups : nullptr;
      int found = put_shared(layout, inside, scales + row * groups, 0, panel) |
                  put_levels(layout, inside, levels + row * layout.cols, row_zeros, panel);
      for (int64_t g = 0; zeros && g < groups; ++g) {
        panel[layout.zeros_of(g) + inside] = row_zeros[g];
        if (row_zeros[g] > 15) found |= kLevel;
      }
      if (shifts) {
        found |= put_shared(layout, inside, shifts + row * groups, layout.scale_bytes, panel);
      }
      if (found) __atomic_fetch_or(&fault, found, __ATOMIC_RELAXED);
    }
  });
  if (status) return status;
  if (fault & kScale) return fail(kBadArgument, "a scale or shift is not of the stated dtype");
  if (fault & kLevel) return fail(kBadArgument, "a level or zero beyond those of the format");
  finish_blob(layout, blob);
  return kOk;
}

Status unpack(const Weight& weight, float* out) {
  return parallel([&](const Team& team) {
    int64_t begin, end;
    team.share(weight.layout.rows, &begin, &end);
    for (int64_t row = begin; row < end; ++row) {
      kernels().unpack_row(weight, row, out + row * weight.layout.cols);
    }
  });
}

Status embed(const Weight& weight, const int64_t* ids, int64_t count, void* out, int dtype) {
  const Layout& layout = weight.layout;
  for (int64_t i = 0; i < count; ++i) {
    if (ids[i] < 0 || ids[i] >= layout.rows) {
      return fail(kBadArgument, "no row %" PRId64 " in a table of %" PRId64, ids[i], layout.rows);
    }
  }
  PoolLock lock;
  float* scratch = nullptr;
  Workspace workspace;
  workspace.want(&scratch, size_t(layout.padded_cols) * num_threads());
  if (Status status = workspace.place()) return status;
  return parallel([&](const Team& team) {
    float* row = scratch + size_t(layout.padded_cols) * team.id;
    int64_t begin, end;
    team.share(count, &begin, &end);
    for (int64_t i = begin; i < end; ++i) {
      kernels().unpack_row(weight, ids[i], row);
      char* to = static_cast<char*>(out) + size_t(i) * layout.cols * (dtype == kFloat32 ? 4 : 2);
      kernels().convert(row, kFloat32, to, dtype, layout.cols);
    }
  });
}

}  // namespace uc
