// 16 lanes in one register. VNNI and BF16 where the compiler is told they are there.
#include <immintrin.h>

using F = __m512;
using I = __m512i;

constexpr int kFloatRows = 12, kFloatRegisters = 2;
constexpr int kFewRows = 6, kFewRegisters = 4;
constexpr int kUnaidedRows = 4;  // Of float products, that need no fetching ahead.
constexpr int kIntRows = 5, kIntRegisters = 2;
constexpr int kFewIntRows = 5, kFewIntRegisters = 2;
constexpr int kScoreRows = 6, kValueRows = 12, kAttentionVectors = 2;
constexpr int kDirectRows = 8, kDirectSums = 16;

INLINE F f_zero() { return _mm512_setzero_ps(); }
INLINE F f_set(float x) { return _mm512_set1_ps(x); }
INLINE F f_load(const float* p) { return _mm512_loadu_ps(p); }
INLINE void f_store(float* p, F x) { _mm512_storeu_ps(p, x); }
INLINE F f_add(F a, F b) { return _mm512_add_ps(a, b); }
INLINE F f_sub(F a, F b) { return _mm512_sub_ps(a, b); }
INLINE F f_mul(F a, F b) { return _mm512_mul_ps(a, b); }
INLINE F f_div(F a, F b) { return _mm512_div_ps(a, b); }
INLINE F f_max(F a, F b) { return _mm512_max_ps(a, b); }
INLINE F f_min(F a, F b) { return _mm512_min_ps(a, b); }
INLINE F f_abs(F a) { return _mm512_abs_ps(a); }
INLINE F f_fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }    // a b + c
INLINE F f_fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a b
INLINE F f_where_at_least(F x, F limit, F then, F otherwise) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, limit, _CMP_GE_OQ), otherwise, then);
}
INLINE float f_sum(F x) { return _mm512_reduce_add_ps(x); }
INLINE float f_largest(F x) { return _mm512_reduce_max_ps(x); }

INLINE I i_zero() { return _mm512_setzero_si512(); }
INLINE I i_set(int x) { return _mm512_set1_epi32(x); }
INLINE I i_load(const void* p) { return _mm512_loadu_si512(p); }
INLINE void i_store(void* p, I x) { _mm512_storeu_si512(p, x); }
INLINE I i_add(I a, I b) { return _mm512_add_epi32(a, b); }
INLINE I i_or(I a, I b) { return _mm512_or_si512(a, b); }
INLINE I i_and(I a, I b) { return _mm512_and_si512(a, b); }
template <int bits> INLINE I i_shift_left(I a) { return _mm512_slli_epi32(a, bits); }
template <int bits> INLINE I i_shift_right(I a) { return _mm512_srli_epi32(a, bits); }
// Wraps: of values that are no numbers, integers are anything. The compiler's own reduction ends in a
// signed addition, which may not.
INLINE int i_sum(I x) {
  const __m256i eight =
      _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
  __m128i four =
      _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}
INLINE I i_load_u16(const uint16_t* p) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
INLINE I i_load_u8(const uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
INLINE void i_store_s8(int8_t* p, I x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x));
}
INLINE void i_store_u16(uint16_t* p, I x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(x));
}
#define UC_FLOAT16
INLINE F f_load_f16(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
INLINE I i_nearest(F x) { return _mm512_cvtps_epi32(x); }
INLINE F f_from_int(I x) { return _mm512_cvtepi32_ps(x); }
INLINE F f_from_bits(I x) { return _mm512_castsi512_ps(x); }
INLINE I i_from_bits(F x) { return _mm512_castps_si512(x); }

#if defined(__AVX512VNNI__)
// Sums of four products of bytes a lane: weights unsigned, activations signed.
INLINE I dot_bytes(I sum, I weights, I x) { return _mm512_dpbusd_epi32(sum, weights, x); }
#else
#define UC_GENERIC_BYTES
INLINE I ri_add16(I a, I b) { return _mm512_add_epi16(a, b); }
INLINE I ri_high_bytes(I a) { return _mm512_srli_epi16(a, 8); }
INLINE I ri_pair_words(I a, I b) { return _mm512_madd_epi16(a, b); }
INLINE I ri_pair_bytes(I weights, I x) { return _mm512_maddubs_epi16(weights, x); }
// Even and odd bytes as signed 16-bit values.
INLINE void widen_bytes(I x, I* even, I* odd) {
  *odd = _mm512_srai_epi16(x, 8);
  *even = _mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8);
}
#endif

// Sums of two products of bfloat16 a lane.
#if defined(__AVX512BF16__)
INLINE F dot_pairs(F sum, I weights, I x) {
  return _mm512_dpbf16_ps(sum, (__m512bh)weights, (__m512bh)x);
}
INLINE void f_store_bf16(uint16_t* p, F x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(x));
}
// 32 floats, rounded.
INLINE I i_bf16_pairs(F low, F high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }
#else
#define UC_GENERIC_BF16
#endif

// 32 16-bit values, `count` of them from memory, zeros behind.
INLINE I i_load_halves(const void* p, int count) {
  return _mm512_maskz_loadu_epi16(__mmask32((1ull << count) - 1), p);
}

// 32 pairs of 16-bit values, one of each row.
INLINE void interleave32(I first, I second, I* low, I* high) {
  alignas(64) static const uint16_t kOrder[64] = {
      0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42,
      11, 43, 12, 44, 13, 45, 14, 46, 15, 47, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53,
      22, 54, 23, 55, 24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63};
  *low = _mm512_permutex2var_epi16(first, i_load(kOrder), second);
  *high = _mm512_permutex2var_epi16(first, i_load(kOrder + 32), second);
}

// 16 rows of 16 words become 16 columns.
INLINE void transpose16(I* r) {
  I t[16];
  UNROLL for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  UNROLL for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  UNROLL for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  UNROLL for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}
