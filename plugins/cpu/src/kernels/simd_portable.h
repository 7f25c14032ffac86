// 16 lanes in four vectors of the compiler's own, on any machine.
typedef float F4 __attribute__((vector_size(16)));
typedef int I4 __attribute__((vector_size(16)));
typedef unsigned U4 __attribute__((vector_size(16)));

struct F {
  F4 v[4];
};
struct I {
  I4 v[4];
};

constexpr int kFloatRows = 2, kFloatRegisters = 1;
constexpr int kFewRows = 1, kFewRegisters = 1;
constexpr int kUnaidedRows = 4;  // Of float products, that need no fetching ahead.
constexpr int kIntRows = 2, kIntRegisters = 1;
constexpr int kFewIntRows = 2, kFewIntRegisters = 1;
constexpr int kScoreRows = 1, kValueRows = 2, kAttentionVectors = 1;
constexpr int kDirectRows = 2, kDirectSums = 4;

#define EACH UNROLL for (int q = 0; q < 4; ++q)

INLINE F f_set(float x) {
  F r;
  EACH r.v[q] = F4{x, x, x, x};
  return r;
}
INLINE F f_zero() { return f_set(0.0f); }
INLINE F f_load(const float* p) {
  F r;
  __builtin_memcpy(&r, p, 64);
  return r;
}
INLINE void f_store(float* p, F x) { __builtin_memcpy(p, &x, 64); }
INLINE F f_add(F a, F b) {
  EACH a.v[q] += b.v[q];
  return a;
}
INLINE F f_sub(F a, F b) {
  EACH a.v[q] -= b.v[q];
  return a;
}
INLINE F f_mul(F a, F b) {
  EACH a.v[q] *= b.v[q];
  return a;
}
INLINE F f_div(F a, F b) {
  EACH a.v[q] /= b.v[q];
  return a;
}
// As the processor's own: the second operand where the two do not compare.
INLINE F f_max(F a, F b) {
  EACH a.v[q] = a.v[q] > b.v[q] ? a.v[q] : b.v[q];
  return a;
}
INLINE F f_min(F a, F b) {
  EACH a.v[q] = a.v[q] < b.v[q] ? a.v[q] : b.v[q];
  return a;
}
INLINE F f_abs(F a) {
  EACH a.v[q] = (F4)((I4)a.v[q] & 0x7fffffff);
  return a;
}
INLINE F f_fma(F a, F b, F c) { return f_add(f_mul(a, b), c); }
INLINE F f_fnma(F a, F b, F c) { return f_sub(c, f_mul(a, b)); }
INLINE F f_where_at_least(F x, F limit, F then, F otherwise) {
  EACH x.v[q] = x.v[q] >= limit.v[q] ? then.v[q] : otherwise.v[q];
  return x;
}
INLINE float f_sum(F x) {
  const F4 s = (x.v[0] + x.v[1]) + (x.v[2] + x.v[3]);
  return (s[0] + s[1]) + (s[2] + s[3]);
}
INLINE float f_largest(F x) {
  float largest = x.v[0][0];
  EACH UNROLL for (int i = 0; i < 4; ++i) largest = x.v[q][i] > largest ? x.v[q][i] : largest;
  return largest;
}

INLINE I i_set(int x) {
  I r;
  EACH r.v[q] = I4{x, x, x, x};
  return r;
}
INLINE I i_zero() { return i_set(0); }
INLINE I i_load(const void* p) {
  I r;
  __builtin_memcpy(&r, p, 64);
  return r;
}
INLINE void i_store(void* p, I x) { __builtin_memcpy(p, &x, 64); }
INLINE I i_add(I a, I b) {
  EACH a.v[q] = (I4)((U4)a.v[q] + (U4)b.v[q]);
  return a;
}
INLINE I i_or(I a, I b) {
  EACH a.v[q] |= b.v[q];
  return a;
}
INLINE I i_and(I a, I b) {
  EACH a.v[q] &= b.v[q];
  return a;
}
template <int bits> INLINE I i_shift_left(I a) {
  EACH a.v[q] = (I4)((U4)a.v[q] << bits);
  return a;
}
template <int bits> INLINE I i_shift_right(I a) {
  EACH a.v[q] = (I4)((U4)a.v[q] >> bits);
  return a;
}
INLINE int i_sum(I x) {
  const U4 s = ((U4)x.v[0] + (U4)x.v[1]) + ((U4)x.v[2] + (U4)x.v[3]);
  return int((s[0] + s[1]) + (s[2] + s[3]));
}
template <class T> INLINE I i_widen(const T* p) {
  I r;
  EACH r.v[q] = I4{p[4 * q], p[4 * q + 1], p[4 * q + 2], p[4 * q + 3]};
  return r;
}
INLINE I i_load_u16(const uint16_t* p) { return i_widen(p); }
INLINE I i_load_u8(const uint8_t* p) { return i_widen(p); }
INLINE void i_store_s8(int8_t* p, I x) {
  EACH UNROLL for (int i = 0; i < 4; ++i) p[4 * q + i] = int8_t(x.v[q][i]);
}
INLINE void i_store_u16(uint16_t* p, I x) {
  EACH UNROLL for (int i = 0; i < 4; ++i) p[4 * q + i] = uint16_t(x.v[q][i]);
}
INLINE F f_from_int(I x) {
  F r;
  EACH r.v[q] = __builtin_convertvector(x.v[q], F4);
  return r;
}
INLINE F f_from_bits(I x) {
  F r;
  EACH r.v[q] = (F4)x.v[q];
  return r;
}
INLINE I i_from_bits(F x) {
  I r;
  EACH r.v[q] = (I4)x.v[q];
  return r;
}
// To even at halves, by adding and taking away 1.5 * 2^23; |x| < 2^22.
INLINE I i_nearest(F x) {
  const F magic = f_set(12582912.0f);
  const I bits = i_from_bits(f_add(x, magic));
  I r;
  EACH r.v[q] = bits.v[q] - (I4)magic.v[q];
  return r;
}

INLINE I dot_bytes(I sum, I weights, I x) {
  EACH {
    const U4 w = (U4)weights.v[q];
    const I4 a = x.v[q];
    sum.v[q] += (I4)(w & 255) * ((I4)((U4)a << 24) >> 24);
    sum.v[q] += (I4)((w >> 8) & 255) * ((I4)((U4)a << 16) >> 24);
    sum.v[q] += (I4)((w >> 16) & 255) * ((I4)((U4)a << 8) >> 24);
    sum.v[q] += (I4)(w >> 24) * (a >> 24);
  }
  return sum;
}

#define UC_GENERIC_BF16

// 32 16-bit values, `count` of them from memory, zeros behind.
INLINE I i_load_halves(const void* p, int count) {
  uint16_t halves[32] = {};
  memcpy(halves, p, 2 * count);
  return i_load(halves);
}
// 32 pairs of 16-bit values, one of each row.
INLINE void interleave32(I first, I second, I* low, I* high) {
  uint16_t rows[2][32], pairs[64];
  i_store(rows[0], first);
  i_store(rows[1], second);
  for (int i = 0; i < 64; ++i) pairs[i] = rows[i % 2][i / 2];
  *low = i_load(pairs);
  *high = i_load(pairs + 32);
}
// 16 rows of 16 words become 16 columns.
INLINE void transpose16(I* r) {
  uint32_t rows[16][16], columns[16][16];
  for (int i = 0; i < 16; ++i) i_store(rows[i], r[i]);
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) columns[j][i] = rows[i][j];
  }
  for (int j = 0; j < 16; ++j) r[j] = i_load(columns[j]);
}
