// Packs weights and multiplies on every instruction set of this processor: `products CASES OUT`.
// CASES holds, for each case, 8 int32 (format, group, scale_dtype, rows, cols, x_dtype, batch, bytes),
// the weight in float32 or, where bytes is not 0, so many of a blob, and x [batch, cols] in x_dtype.
// OUT/NAME gets the blob of each case and, for 1 to `batch` rows of x, the product in float32.
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "unisono_cpu.h"

namespace {

struct Case {
  int32_t format, group, scale_dtype, rows, cols, x_dtype, batch, bytes;
};

bool check(int status) {
  if (status) std::fprintf(stderr, "%s\n", uc_last_error());
  return status == 0;
}

bool take(std::FILE* file, void* to, size_t bytes) {
  return std::fread(to, 1, bytes, file) == bytes;
}

// The blob of a case, in memory that lies as blobs have to.
struct Blob {
  std::vector<uint8_t> room;
  uint8_t* data;
  size_t bytes;

  explicit Blob(size_t bytes)
      : room(bytes + 64), data(room.data() + (64 - uintptr_t(room.data()) % 64)), bytes(bytes) {}
};

bool pack(const Case& c, std::FILE* cases, const uc_weight_info& info, const Blob& blob) {
  if (c.bytes) return size_t(c.bytes) == blob.bytes && take(cases, blob.data, blob.bytes);
  std::vector<float> weight(size_t(c.rows) * c.cols);
  return take(cases, weight.data(), weight.size() * 4) &&
         check(uc_pack(weight.data(), UC_FLOAT32, c.cols, &info, blob.data, blob.bytes));
}

bool multiply(const Case& c, std::FILE* cases, std::FILE* out) {
  uc_weight_info info;
  if (!check(uc_describe(c.format, c.group, c.scale_dtype, c.rows, c.cols, &info))) return false;
  const Blob blob(info.bytes);
  std::vector<uint8_t> x(size_t(c.batch) * c.cols * (c.x_dtype == UC_FLOAT32 ? 4 : 2));
  if (!pack(c, cases, info, blob) || !take(cases, x.data(), x.size())) return false;
  std::fwrite(blob.data, 1, blob.bytes, out);
  std::vector<float> y(size_t(c.batch) * c.rows);
  const uc_linear linear = {blob.data, blob.bytes, nullptr};
  for (int rows = 1; rows <= c.batch; ++rows) {
    if (!check(uc_multiply(&linear, x.data(), c.x_dtype, c.cols, rows, y.data(), UC_FLOAT32,
                           c.rows))) {
      return false;
    }
    std::fwrite(y.data(), 4, size_t(rows) * c.rows, out);
  }
  return true;
}

bool run(const char* isa, const char* cases_path, const std::string& folder) {
  std::FILE* cases = std::fopen(cases_path, "rb");
  std::FILE* out = std::fopen((folder + "/" + isa).c_str(), "wb");
  if (!cases || !out || !check(uc_set_isa(isa))) return false;
  Case c;
  while (take(cases, &c, sizeof(c))) {
    if (!multiply(c, cases, out)) return false;
  }
  std::fclose(cases);
  return std::fclose(out) == 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  uc_set_threads(2);
  for (int i = 0; uc_available_isa(i); ++i) {
    if (!run(uc_available_isa(i), arguments[1], arguments[2])) return 1;
  }
  return 0;
}
