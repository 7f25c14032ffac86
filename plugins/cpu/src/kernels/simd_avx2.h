// 16 lanes in two registers; a tile of a product works on single ones.
#include <immintrin.h>

#define UC_REGISTERS
using RF = __m256;
using RI = __m256i;

struct F {
  __m256 a, b;
};
struct I {
  __m256i a, b;
};

constexpr int kRegisterLanes = 8;
constexpr int kFloatRows = 5, kFloatRegisters = 2;
constexpr int kFewRows = 2, kFewRegisters = 4;
constexpr int kUnaidedRows = 2;  // Of float products, that need no fetching ahead.
constexpr int kIntRows = 8, kIntRegisters = 1;
constexpr int kFewIntRows = 2, kFewIntRegisters = 4;
constexpr int kScoreRows = 3, kValueRows = 5, kAttentionVectors = 1;
constexpr int kDirectRows = 4, kDirectSums = 8;

INLINE F f_zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
INLINE F f_set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE F f_load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE void f_store(float* p, F x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
INLINE F f_add(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
INLINE F f_sub(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
INLINE F f_mul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
INLINE F f_div(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
INLINE F f_max(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
INLINE F f_min(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
INLINE F f_abs(F x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
INLINE F f_fma(F x, F y, F z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
INLINE F f_fnma(F x, F y, F z) {
  return {_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)};
}
INLINE F f_where_at_least(F x, F limit, F then, F otherwise) {
  return {_mm256_blendv_ps(otherwise.a, then.a, _mm256_cmp_ps(x.a, limit.a, _CMP_GE_OQ)),
          _mm256_blendv_ps(otherwise.b, then.b, _mm256_cmp_ps(x.b, limit.b, _CMP_GE_OQ))};
}
INLINE float f_sum(F x) {
  const __m256 eight = _mm256_add_ps(x.a, x.b);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
INLINE float f_largest(F x) {
  const __m256 eight = _mm256_max_ps(x.a, x.b);
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

INLINE I i_zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
INLINE I i_set(int x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
INLINE I i_load(const void* p) {
  const __m256i* q = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
INLINE void i_store(void* p, I x) {
  __m256i* q = static_cast<__m256i*>(p);
  _mm256_storeu_si256(q, x.a);
  _mm256_storeu_si256(q + 1, x.b);
}
INLINE I i_add(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
INLINE I i_or(I x, I y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
INLINE I i_and(I x, I y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
template <int bits> INLINE I i_shift_left(I x) {
  return {_mm256_slli_epi32(x.a, bits), _mm256_slli_epi32(x.b, bits)};
}
template <int bits> INLINE I i_shift_right(I x) {
  return {_mm256_srli_epi32(x.a, bits), _mm256_srli_epi32(x.b, bits)};
}
INLINE int i_sum(I x) {
  const __m256i eight = _mm256_add_epi32(x.a, x.b);
  __m128i four =
      _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}
INLINE I i_load_u16(const uint16_t* p) {
  const __m128i* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtepu16_epi32(_mm_loadu_si128(q)), _mm256_cvtepu16_epi32(_mm_loadu_si128(q + 1))};
}
INLINE I i_load_u8(const uint8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))};
}
INLINE void i_store_s8(int8_t* p, I x) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8);
  const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(words, words), 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(bytes));
}
INLINE void i_store_u16(uint16_t* p, I x) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(x.a, x.b), 0xd8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), words);
}
INLINE I i_nearest(F x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
INLINE F f_from_int(I x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
INLINE F f_from_bits(I x) { return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
INLINE I i_from_bits(F x) { return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }

INLINE RF r_zero() { return _mm256_setzero_ps(); }
INLINE RF r_set(float x) { return _mm256_set1_ps(x); }
INLINE RF r_load(const float* p) { return _mm256_loadu_ps(p); }
INLINE void r_store(float* p, RF x) { _mm256_storeu_ps(p, x); }
INLINE RF r_fma(RF a, RF b, RF c) { return _mm256_fmadd_ps(a, b, c); }
INLINE RF r_fnma(RF a, RF b, RF c) { return _mm256_fnmadd_ps(a, b, c); }
INLINE RF r_from_int(RI x) { return _mm256_cvtepi32_ps(x); }
INLINE RF r_from_bits(RI x) { return _mm256_castsi256_ps(x); }
INLINE RF r_from_u8(const uint8_t* p) {
  return r_from_int(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
INLINE RF r_load_bf16(const uint16_t* p) {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return r_from_bits(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
INLINE RF r_load_f16(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
INLINE RI ri_set(int x) { return _mm256_set1_epi32(x); }
INLINE RI ri_load(const void* p) { return _mm256_loadu_si256(static_cast<const RI*>(p)); }
INLINE RI ri_add(RI a, RI b) { return _mm256_add_epi32(a, b); }
INLINE RI ri_and(RI a, RI b) { return _mm256_and_si256(a, b); }
template <int bits> INLINE RI ri_shift_left(RI a) { return _mm256_slli_epi32(a, bits); }
template <int bits> INLINE RI ri_shift_right(RI a) { return _mm256_srli_epi32(a, bits); }

#if defined(__AVXVNNI__)
// Sums of four products of bytes a lane: weights unsigned, activations signed.
INLINE RI dot_bytes(RI sum, RI weights, RI x) { return _mm256_dpbusd_avx_epi32(sum, weights, x); }
#elif defined(UC_EVEX_VNNI)  // The same instruction in the encoding of AVX-512, for tests.
INLINE RI dot_bytes(RI sum, RI weights, RI x) { return _mm256_dpbusd_epi32(sum, weights, x); }
#else
#define UC_GENERIC_BYTES
INLINE RI ri_add16(RI a, RI b) { return _mm256_add_epi16(a, b); }
INLINE RI ri_high_bytes(RI a) { return _mm256_srli_epi16(a, 8); }
INLINE RI ri_pair_words(RI a, RI b) { return _mm256_madd_epi16(a, b); }
INLINE RI ri_pair_bytes(RI weights, RI x) { return _mm256_maddubs_epi16(weights, x); }
// Even and odd bytes as signed 16-bit values.
INLINE void widen_bytes(I x, I* even, I* odd) {
  *odd = {_mm256_srai_epi16(x.a, 8), _mm256_srai_epi16(x.b, 8)};
  *even = {_mm256_srai_epi16(_mm256_slli_epi16(x.a, 8), 8),
           _mm256_srai_epi16(_mm256_slli_epi16(x.b, 8), 8)};
}
#endif

#define UC_GENERIC_BF16

// 32 16-bit values, `count` of them from memory, zeros behind.
INLINE I i_load_halves(const void* p, int count) {
  alignas(32) uint16_t halves[32] = {};
  memcpy(halves, p, 2 * count);
  return i_load(halves);
}

INLINE void interleave16(__m256i first, __m256i second, I* pairs) {
  const __m256i a = _mm256_unpacklo_epi16(first, second), b = _mm256_unpackhi_epi16(first, second);
  *pairs = {_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31)};
}
// 32 pairs of 16-bit values, one of each row.
INLINE void interleave32(I first, I second, I* low, I* high) {
  interleave16(first.a, second.a, low);
  interleave16(first.b, second.b, high);
}

INLINE void transpose8(const __m256i* rows, __m256i* columns) {
  __m256i t[8], u[8];
  UNROLL for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  UNROLL for (int i = 0; i < 8; i += 4) {
    u[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    u[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    u[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    u[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  UNROLL for (int i = 0; i < 4; ++i) {
    columns[i] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x20);
    columns[i + 4] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x31);
  }
}
// 16 rows of 16 words become 16 columns.
INLINE void transpose16(I* r) {
  __m256i rows[4][8], columns[8];
  UNROLL for (int i = 0; i < 8; ++i) {
    rows[0][i] = r[i].a;
    rows[1][i] = r[8 + i].a;
    rows[2][i] = r[i].b;
    rows[3][i] = r[8 + i].b;
  }
  UNROLL for (int quarter = 0; quarter < 4; ++quarter) {
    transpose8(rows[quarter], columns);
    UNROLL for (int i = 0; i < 8; ++i) {
      I& to = r[quarter / 2 * 8 + i];
      (quarter % 2 ? to.b : to.a) = columns[i];
    }
  }
}
