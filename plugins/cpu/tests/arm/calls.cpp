// Calls of the library on instruction sets of this processor: `calls CALLS OUT SET...`.
// CALLS holds, for each call, a Head, then for each buffer an int64, its bytes (0: a null pointer), and
// those of the given ones. OUT/SET gets the bytes of the buffers that the calls make.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "unisono_cpu.h"

namespace {

enum Function { kAttention, kKvWrite, kAddRmsNorm, kSiluMul, kRotaryHeads, kArgmax, kDraw };

struct Head {
  int32_t function;
  int32_t n[12];
  float f[2];
  int32_t given, made;
};

struct Call : Head {
  std::vector<std::vector<char>> buffers;

  template <class T>
  T* at(int i) {
    return buffers[i].empty() ? nullptr : reinterpret_cast<T*>(buffers[i].data());
  }
};

// n: rows, tokens, heads, blocks, dtype, block size, heads of keys, head size, window.
uc_cache cache_of(Call& c, void* data) {
  const int64_t block = int64_t(c.n[5]) * c.n[6] * c.n[7] * (c.n[4] == UC_FLOAT32 ? 4 : 2);
  return {data, c.n[3], c.n[4], c.n[5], c.n[6], c.n[7], block, c.n[3] * block};
}

int attention(Call& c) {
  const uc_cache cache = cache_of(c, c.at<void>(4));
  const uc_step step = {c.n[0], 0, c.n[1], c.at<int32_t>(0), c.at<int32_t>(1), c.at<int32_t>(2),
                        c.at<int64_t>(3), nullptr, c.n[8]};
  return uc_attention(&cache, &step, c.n[2], c.f[0], c.f[1], c.at<float>(6), c.at<void>(5), c.n[4],
                      int64_t(c.n[2]) * c.n[7], c.at<void>(7), c.n[4]);
}

int kv_write(Call& c) {
  std::memcpy(c.at<void>(4), c.at<void>(0), c.buffers[0].size());
  const uc_cache cache = cache_of(c, c.at<void>(4));
  const int64_t stride = int64_t(c.n[6]) * c.n[7];
  uc_step step = {};
  step.num_tokens = c.n[1];
  step.slots = c.at<int64_t>(3);
  return uc_kv_write(&cache, &step, c.at<void>(1), c.at<void>(2), c.n[4], stride, stride);
}

// n: rows, size, dtype.
int add_rms_norm(Call& c) {
  return uc_add_rms_norm(c.at<void>(0), c.n[2], c.at<float>(1), c.at<float>(4), c.at<float>(2),
                         c.f[0], c.n[0], c.n[1], c.at<void>(3), c.n[2]);
}

int silu_mul(Call& c) {
  return uc_silu_mul(c.at<void>(0), c.n[2], c.n[0], c.n[1], c.at<void>(1), c.n[2]);
}

// n: tokens, heads, heads of keys, head size, half, dtype.
int rotary_heads(Call& c) {
  return uc_rotary_heads(c.at<void>(0), c.n[5], c.n[0], c.n[1], c.n[2], c.n[3], c.n[4],
                         c.at<float>(1), c.at<float>(2), c.f[0], c.at<float>(3), c.at<float>(4),
                         c.at<void>(5), c.at<void>(6), c.n[5]);
}

// n: rows, vocabulary.
int argmax(Call& c) { return uc_argmax(c.at<float>(0), c.n[0], c.n[1], c.at<int64_t>(1)); }

int draw(Call& c) {
  return uc_draw(c.at<float>(0), c.n[0], c.n[1], c.at<double>(1), c.at<int32_t>(2), c.at<float>(3),
                 c.at<float>(4), c.at<int64_t>(5));
}

bool read(std::FILE* file, Call* c) {
  if (std::fread(static_cast<Head*>(c), sizeof(Head), 1, file) != 1) return false;
  c->buffers.resize(c->given + c->made);
  for (int i = 0; i < c->given + c->made; ++i) {
    int64_t bytes;
    if (std::fread(&bytes, 8, 1, file) != 1) return false;
    c->buffers[i].assign(bytes, 0);
    if (i < c->given && std::fread(c->buffers[i].data(), 1, bytes, file) != size_t(bytes)) return false;
  }
  return true;
}

bool run(const char* isa, const char* calls_path, const std::string& folder) {
  int (*const functions[])(Call&) = {attention,    kv_write, add_rms_norm, silu_mul,
                                     rotary_heads, argmax,   draw};
  std::FILE* calls = std::fopen(calls_path, "rb");
  std::FILE* out = std::fopen((folder + "/" + isa).c_str(), "wb");
  int status = calls && out ? uc_set_isa(isa) : 1;
  for (Call c; !status && read(calls, &c);) {
    status = functions[c.function](c);
    for (int i = c.given; i < c.given + c.made; ++i) {
      std::fwrite(c.buffers[i].data(), 1, c.buffers[i].size(), out);
    }
  }
  if (status) std::fprintf(stderr, "%s: %s\n", isa, uc_last_error());
  if (calls) std::fclose(calls);
  return out && std::fclose(out) == 0 && !status;
}

}  // namespace

int main(int count, char** arguments) {
  uc_set_threads(2);
  for (int i = 3; i < count; ++i) {
    if (!run(arguments[i], arguments[1], arguments[2])) return 1;
  }
  return count < 4 ? 2 : 0;
}
