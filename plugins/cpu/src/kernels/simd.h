// What every kernel is written in: 16 lanes of float32 (F) or 32-bit integers (I), whatever the
// registers. An I also stands for 64 bytes, or 32 bfloat16, of weights.
#define INLINE static inline __attribute__((always_inline))
#define INLINE_MEMBER inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")

#if defined(__AVX512F__) && !defined(UC_EVEX_VNNI)
#include "kernels/simd_avx512.h"
#elif defined(__AVX2__)
#include "kernels/simd_avx2.h"
#elif defined(UC_NEON)
#include "kernels/simd_neon.h"
#else
#include "kernels/simd_portable.h"
#endif

constexpr int kLanes = 16;

INLINE F f_load_bf16(const uint16_t* p) { return f_from_bits(i_shift_left<16>(i_load_u16(p))); }
#if !defined(UC_FLOAT16)
// Finite numbers: exponent and fraction where float32 has them, then 2^112 for the other bias.
INLINE F f_load_f16(const uint16_t* p) {
  const I bits = i_load_u16(p);
  const F size = f_from_bits(i_shift_left<13>(i_and(bits, i_set(0x7fff))));
  const I sign = i_shift_left<16>(i_and(bits, i_set(0x8000)));
  return f_from_bits(i_or(i_from_bits(f_mul(size, f_set(0x1p112f))), sign));
}
#endif

// bfloat16 numbers as integers: to nearest, to even at halves; NaN stays NaN. No number is too small,
// unlike for the processor's own conversion.
INLINE I bf16_bits(F x) {
  const I bits = i_from_bits(x);
  const I odd = i_and(i_shift_right<16>(bits), i_set(1));
  const I rounded = i_shift_right<16>(i_add(bits, i_add(odd, i_set(0x7fff))));
  const F quiet = f_from_bits(i_or(i_shift_right<16>(bits), i_set(0x40)));
  const F infinity = f_from_bits(i_set(0x7f800000));
  return i_from_bits(f_where_at_least(infinity, f_abs(x), f_from_bits(rounded), quiet));
}

#if defined(UC_GENERIC_BF16)
INLINE F dot_pairs(F sum, I weights, I x) {
  const I high = i_set(int(0xffff0000u));
  sum = f_fma(f_from_bits(i_shift_left<16>(weights)), f_from_bits(i_shift_left<16>(x)), sum);
  return f_fma(f_from_bits(i_and(weights, high)), f_from_bits(i_and(x, high)), sum);
}
INLINE void f_store_bf16(uint16_t* p, F x) { i_store_u16(p, bf16_bits(x)); }
// 32 floats, rounded.
INLINE I i_bf16_pairs(F low, F high) {
  uint16_t halves[2 * kLanes];
  f_store_bf16(halves, low);
  f_store_bf16(halves + kLanes, high);
  return i_load(halves);
}
#endif

INLINE float bf16_to_float(uint16_t bits) {
  const uint32_t wide = uint32_t(bits) << 16;
  float value;
  __builtin_memcpy(&value, &wide, 4);
  return value;
}
INLINE uint16_t bf16_from_float(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  if (value != value) return uint16_t((bits >> 16) | 0x40);
  return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// e^x within 2 ulp; 1 at 0, 0 from -87 down, NaN for NaN.
INLINE F f_exp(F x) {
  const F limit = f_set(-87.0f);
  const F clamped = f_max(limit, f_min(f_set(88.0f), x));
  const I n = i_nearest(f_mul(clamped, f_set(1.44269504f)));
  const F whole = f_from_int(n);
  F r = f_fnma(whole, f_set(0.693359375f), clamped);
  r = f_fnma(whole, f_set(-2.12194440e-4f), r);
  F p = f_set(1.9875691500e-4f);
  p = f_fma(p, r, f_set(1.3981999507e-3f));
  p = f_fma(p, r, f_set(8.3334519073e-3f));
  p = f_fma(p, r, f_set(4.1665795894e-2f));
  p = f_fma(p, r, f_set(1.6666665459e-1f));
  p = f_fma(p, r, f_set(5.0000001201e-1f));
  p = f_add(f_fma(f_mul(r, r), p, r), f_set(1.0f));
  const F scaled = f_from_bits(i_add(i_from_bits(p), i_shift_left<23>(n)));
  return f_where_at_least(limit, x, f_zero(), scaled);
}

// 16 values from memory of a dtype (bfloat16 or float32), and back.
INLINE F load_as(const void* p, int dtype, size_t index) {
  return dtype == kFloat32 ? f_load(static_cast<const float*>(p) + index)
                           : f_load_bf16(static_cast<const uint16_t*>(p) + index);
}
INLINE void store_as(void* p, int dtype, size_t index, F x) {
  if (dtype == kFloat32) {
    f_store(static_cast<float*>(p) + index, x);
  } else {
    f_store_bf16(static_cast<uint16_t*>(p) + index, x);
  }
}
INLINE float load_one(const void* p, int dtype, size_t index) {
  if (dtype == kFloat32) return static_cast<const float*>(p)[index];
  const uint16_t bits = static_cast<const uint16_t*>(p)[index];
  return dtype == kBfloat16 ? bf16_to_float(bits) : half_to_float(bits);
}
INLINE void store_one(void* p, int dtype, size_t index, float x) {
  if (dtype == kFloat32) {
    static_cast<float*>(p)[index] = x;
  } else {
    static_cast<uint16_t*>(p)[index] = bf16_from_float(x);
  }
}
// The first `count` of 16 lanes; the others are 0 or not written.
INLINE F load_some(const void* p, int dtype, size_t index, int count) {
  if (count >= kLanes) return load_as(p, dtype, index);
  float lanes[kLanes] = {};
  for (int i = 0; i < count; ++i) lanes[i] = load_one(p, dtype, index + i);
  return f_load(lanes);
}
INLINE void store_some(void* p, int dtype, size_t index, int count, F x) {
  if (count >= kLanes) return store_as(p, dtype, index, x);
  float lanes[kLanes];
  f_store(lanes, x);
  for (int i = 0; i < count; ++i) store_one(p, dtype, index + i, lanes[i]);
}
