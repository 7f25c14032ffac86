#include "processor.h"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace uc {
namespace {

constexpr int kMaxText = 512;

struct Text {
  char text[kMaxText] = {};

  void add(const char* name) {
    const size_t used = std::strlen(text), more = std::strlen(name);
    if (used + more + 2 > kMaxText) return;
    if (used) text[used] = ' ';
    std::memcpy(text + used + (used ? 1 : 0), name, more + 1);
  }
};

#if defined(__x86_64__)
enum Register { kEax, kEbx, kEcx, kEdx };

struct Bit {
  const char* name;
  unsigned leaf, subleaf;
  Register in;
  int bit;
  unsigned saved;  // Bits of XCR0: registers that the system must keep for a program.
};

constexpr unsigned kYmm = 0x6, kZmm = 0xe6, kTiles = 0x60000;
constexpr Bit kBits[] = {
    {"avx2", 7, 0, kEbx, 5, kYmm},          {"fma", 1, 0, kEcx, 12, kYmm},
    {"f16c", 1, 0, kEcx, 29, kYmm},         {"avx_vnni", 7, 1, kEax, 4, kYmm},
    {"avx512f", 7, 0, kEbx, 16, kZmm},      {"avx512bw", 7, 0, kEbx, 30, kZmm},
    {"avx512vl", 7, 0, kEbx, 31, kZmm},     {"avx512dq", 7, 0, kEbx, 17, kZmm},
    {"avx512_vnni", 7, 0, kEcx, 11, kZmm},  {"avx512_bf16", 7, 1, kEax, 5, kZmm},
    {"amx_tile", 7, 0, kEdx, 24, kTiles},   {"amx_int8", 7, 0, kEdx, 25, kTiles},
    {"amx_bf16", 7, 0, kEdx, 22, kTiles},   {"hypervisor", 1, 0, kEcx, 31, 0},
};

unsigned saved_registers() {
  unsigned r[4];
  if (!__get_cpuid(1, r, r + 1, r + 2, r + 3) || !(r[kEcx] >> 27 & 1)) return 0;
  unsigned low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

bool is_set(const Bit& bit, unsigned saved) {
  unsigned r[4];
  if (!__get_cpuid_count(bit.leaf, 0, r, r + 1, r + 2, r + 3)) return false;
  if (bit.subleaf > 0) {
    if (r[kEax] < bit.subleaf) return false;
    __get_cpuid_count(bit.leaf, bit.subleaf, r, r + 1, r + 2, r + 3);
  }
  return r[bit.in] >> bit.bit & 1 && (saved & bit.saved) == bit.saved;
}

Text find_features() {
  Text found;
  const unsigned saved = saved_registers();
  for (const Bit& bit : kBits) {
    if (is_set(bit, saved)) found.add(bit.name);
  }
  return found;
}
#elif defined(__aarch64__) && defined(__linux__)
// Of the C library's names for these bits some are younger than the systems that wheels are for.
Text find_features() {
  Text found;
  found.add("neon");
  if (getauxval(AT_HWCAP) >> 20 & 1) found.add("dotprod");
  if (getauxval(AT_HWCAP2) >> 13 & 1) found.add("i8mm");
  if (getauxval(AT_HWCAP2) >> 14 & 1) found.add("bf16");
  return found;
}
#elif defined(__aarch64__) && defined(__APPLE__)
bool is_set(const char* name) {
  int value = 0;
  size_t size = sizeof value;
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value;
}

Text find_features() {
  Text found;
  found.add("neon");
  if (is_set("hw.optional.arm.FEAT_DotProd")) found.add("dotprod");
  if (is_set("hw.optional.arm.FEAT_I8MM")) found.add("i8mm");
  if (is_set("hw.optional.arm.FEAT_BF16")) found.add("bf16");
  return found;
}
#elif defined(__aarch64__)  // Every processor of this kind has it.
Text find_features() {
  Text found;
  found.add("neon");
  return found;
}
#else
Text find_features() { return Text{}; }
#endif

}  // namespace

const char* features() {
  static const Text found = find_features();
  return found.text;
}

bool has_feature(const char* name) {
  const size_t length = std::strlen(name);
  for (const char* at = features(); (at = std::strstr(at, name)); at += length) {
    const bool begins = at == features() || at[-1] == ' ';
    if (begins && (at[length] == ' ' || !at[length])) return true;
  }
  return false;
}

#if defined(__x86_64__) && defined(__linux__)
bool may_use_tiles() {
  constexpr int64_t kRequestPermission = 0x1023, kTileData = 18;
  static const bool permitted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return permitted;
}
#else
bool may_use_tiles() { return false; }
#endif

}  // namespace uc
