// Products on tiles (src/amx.cpp, with the model of tiles in this folder) beside those of avx512, on panels of
// random levels and numbers: the exit code is 0 where all bits are as they should be. Integer formats give
// avx512's, bfloat16 the sums in the order that kernels/amx_products.h states, alone and among other rows.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "matmul.h"
#include "packing.h"

namespace uc {
namespace avx512 {
extern const ProductKernels products;
}
namespace amx {
extern const ProductKernels products;
}

static Kernels chosen;
const Kernels& kernels() { return chosen; }  // In the place of dispatch.cpp.

namespace {

std::mt19937 random_bits(7);
float random_number() { return float(int(random_bits() % 2001) - 1000) / 64; }
template <class T>
T* aligned(std::vector<T>& room) {
  return room.data() + (64 - uintptr_t(room.data()) % 64) / sizeof(T);
}

struct Case {
  int format, group, scale_dtype;
  int64_t rows, cols;
};

struct Packed {
  std::vector<uint8_t> room;
  Weight weight;
};

// Scales and shifts are small numbers of few bits, which every dtype has.
Packed pack_random(const Case& c) {
  Layout layout;
  make_layout(c.format, c.group, c.scale_dtype, c.rows, c.cols, &layout);
  Packed packed{std::vector<uint8_t>(layout.total_bytes() + 64), {}};
  uint8_t* blob = aligned(packed.room);
  const size_t count = size_t(c.rows) * size_t(layout.num_scales);
  if (is_integer(c.format)) {
    std::vector<uint8_t> levels(size_t(c.rows) * c.cols), zeros(count);
    std::vector<float> scales(count), shifts(count);
    for (auto& level : levels) level = uint8_t(random_bits() % num_levels(c.format));
    for (auto& zero : zeros) zero = uint8_t(random_bits() % 16);
    for (auto& scale : scales) scale = float(int(random_bits() % 63) - 31) / 256;
    for (auto& shift : shifts) shift = float(int(random_bits() % 63) - 31) / 16;
    pack_levels(layout, levels.data(), scales.data(), c.format == kInt4Zero ? zeros.data() : nullptr,
                is_shifted(c.format) ? shifts.data() : nullptr, blob);
  } else {
    uint16_t* halves = reinterpret_cast<uint16_t*>(blob + sizeof(Header));
    for (int64_t panel = 0; panel < layout.panels; ++panel) {
      for (int64_t k = 0; k < layout.padded_cols; ++k) {
        for (int lane = 0; lane < kPanelRows; ++lane) {
          const float value = k < layout.cols ? random_number() / 8 : 0.0f;
          uint32_t bits;
          std::memcpy(&bits, &value, 4);
          halves[panel * int64_t(layout.panel_bytes) / 2 + k / 2 * 64 + lane * 2 + k % 2] =
              uint16_t(bits >> 16);
        }
      }
    }
    write_header(layout, blob);
  }
  packed.weight = {layout, blob + sizeof(Header)};
  return packed;
}

std::vector<float> multiply(const ProductKernels& products, const Weight& weight,
                            const std::vector<float>& x, int64_t first, int64_t rows) {
  static_cast<ProductKernels&>(chosen) = products;
  const size_t cols = size_t(weight.layout.cols), outputs = size_t(weight.layout.rows);
  std::vector<float> y(size_t(rows) * outputs), bias(outputs);
  for (size_t n = 0; n < outputs; ++n) bias[n] = float(n % 7);
  linear(weight, Source{x.data() + first * cols, kFloat32, cols}, rows, bias.data(),
         Target{y.data(), kFloat32, outputs});
  return y;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && !std::memcmp(a.data(), b.data(), a.size() * 4);
}

float half_number(uint16_t half) {
  const uint32_t bits = uint32_t(half) << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
uint16_t to_half(float x) {  // x is finite.
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// The stated order: of 32 columns even and odd ones, then both, then all before.
float pairs_in_order(const Weight& weight, const float* x, int64_t n) {
  const Layout& layout = weight.layout;
  const uint16_t* panel = reinterpret_cast<const uint16_t*>(
      weight.panels + n / kPanelRows * int64_t(layout.panel_bytes));
  float total = 0.0f;
  for (int64_t first = 0; first < layout.padded_cols; first += 32) {
    float sums[2] = {};
    for (int64_t k = first; k < first + 32; ++k) {
      const float a = k < layout.cols ? half_number(to_half(x[k])) : 0.0f;
      const float b = half_number(panel[k / 2 * 64 + n % kPanelRows * 2 + k % 2]);
      sums[k % 2] = std::fma(a, b, sums[k % 2]);
    }
    total += sums[0] + sums[1];
  }
  return total + float(n % 7);
}

bool check_case(const Case& c) {
  const Packed packed = pack_random(c);
  constexpr int64_t kMost = 37;
  std::vector<float> x(kMost * c.cols);
  for (auto& value : x) value = random_number();
  const std::vector<float> all = multiply(amx::products, packed.weight, x, 0, kMost);
  for (int64_t rows : {1, 3, 15, 16, 17, 32, 37}) {
    std::vector<float> expected(all.begin(), all.begin() + rows * c.rows);
    if (!same(multiply(amx::products, packed.weight, x, 0, rows), expected)) return false;
    if (is_integer(c.format) &&
        !same(multiply(avx512::products, packed.weight, x, 0, rows), expected)) {
      return false;
    }
  }
  for (int64_t m = 0; c.format == kBf16 && m < kMost; ++m) {
    for (int64_t n = 0; n < c.rows; ++n) {
      const float expected = pairs_in_order(packed.weight, x.data() + m * c.cols, n);
      if (std::memcmp(&expected, &all[m * c.rows + n], 4)) return false;
    }
  }
  return true;
}

constexpr Case kCases[] = {
    {kBf16, 0, kBfloat16, 70, 300},       {kBf16, 0, kBfloat16, 32, 64},
    {kInt8, 0, kBfloat16, 70, 300},       {kInt8, 16, kFloat16, 33, 272},
    {kInt8, 32, kBfloat16, 70, 300},      {kInt8, 64, kFloat32, 40, 64},
    {kInt8, 128, kBfloat16, 70, 300},     {kInt4, 32, kBfloat16, 70, 300},
    {kInt4, 64, kFloat16, 64, 320},       {kInt4, 128, kBfloat16, 33, 256},
    {kInt4Zero, 32, kBfloat16, 70, 300},  {kInt4Zero, 128, kFloat32, 64, 384},
    {kInt8Shift, 16, kFloat16, 70, 300},  {kInt8Shift, 32, kBfloat16, 32, 96},
    {kInt8Shift, 128, kFloat32, 33, 300}, {kInt4Shift, 32, kFloat16, 70, 300},
    {kInt4Shift, 128, kFloat16, 64, 256}, {kF32, 0, kBfloat16, 33, 100},
};

}  // namespace
}  // namespace uc

int main() {
  uc::set_num_threads(2);
  int wrong = 0;
  for (const auto& c : uc::kCases) {
    if (uc::check_case(c)) continue;
    std::fprintf(stderr, "format %d, group %d\n", c.format, c.group);
    ++wrong;
  }
  return wrong ? 1 : 0;
}
