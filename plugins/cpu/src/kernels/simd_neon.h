// 16 lanes in four registers; a tile of a product works on single ones. Products of bytes and of
// bfloat16 where the compiler is told they are there: int_steps_neon.h, pair_tile_neon.h.
#include <arm_neon.h>

#define UC_REGISTERS
using RF = float32x4_t;
using RI = int32x4_t;

struct F {
  float32x4_t a, b, c, d;
};
struct I {
  int32x4_t a, b, c, d;
};

// Of 32 registers, sums take 24; four hold weights.
constexpr int kRegisterLanes = 4;
constexpr int kFloatRows = 6, kFloatRegisters = 4;
constexpr int kFewRows = 2, kFewRegisters = 8;
constexpr int kUnaidedRows = 4;  // Of float products, that need no fetching ahead.
constexpr int kIntRows = 6, kIntRegisters = 4;
constexpr int kFewIntRows = 2, kFewIntRegisters = 8;
constexpr int kScoreRows = 3, kValueRows = 6, kAttentionVectors = 1;
constexpr int kDirectRows = 3, kDirectSums = 6;

#define QUARTERS_OF_X(f) {f(x.a), f(x.b), f(x.c), f(x.d)}
#define QUARTERS_OF_XY(f) {f(x.a, y.a), f(x.b, y.b), f(x.c, y.c), f(x.d, y.d)}
#define QUARTERS_OF_XYZ(f) \
  {f(x.a, y.a, z.a), f(x.b, y.b, z.b), f(x.c, y.c, z.c), f(x.d, y.d, z.d)}

INLINE F f_set(float x) {
  const float32x4_t four = vdupq_n_f32(x);
  return {four, four, four, four};
}
INLINE F f_zero() { return f_set(0.0f); }
INLINE F f_load(const float* p) {
  return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
INLINE void f_store(float* p, F x) {
  vst1q_f32(p, x.a);
  vst1q_f32(p + 4, x.b);
  vst1q_f32(p + 8, x.c);
  vst1q_f32(p + 12, x.d);
}
INLINE F f_add(F x, F y) { return QUARTERS_OF_XY(vaddq_f32); }
INLINE F f_sub(F x, F y) { return QUARTERS_OF_XY(vsubq_f32); }
INLINE F f_mul(F x, F y) { return QUARTERS_OF_XY(vmulq_f32); }
INLINE F f_div(F x, F y) { return QUARTERS_OF_XY(vdivq_f32); }
// The second operand where the two do not compare: the processor's own would give a NaN.
INLINE float32x4_t max4(float32x4_t x, float32x4_t y) { return vbslq_f32(vcgtq_f32(x, y), x, y); }
INLINE float32x4_t min4(float32x4_t x, float32x4_t y) { return vbslq_f32(vcltq_f32(x, y), x, y); }
INLINE F f_max(F x, F y) { return QUARTERS_OF_XY(max4); }
INLINE F f_min(F x, F y) { return QUARTERS_OF_XY(min4); }
INLINE F f_abs(F x) { return QUARTERS_OF_X(vabsq_f32); }
INLINE float32x4_t fma4(float32x4_t x, float32x4_t y, float32x4_t z) { return vfmaq_f32(z, x, y); }
INLINE float32x4_t fnma4(float32x4_t x, float32x4_t y, float32x4_t z) { return vfmsq_f32(z, x, y); }
INLINE F f_fma(F x, F y, F z) { return QUARTERS_OF_XYZ(fma4); }
INLINE F f_fnma(F x, F y, F z) { return QUARTERS_OF_XYZ(fnma4); }
INLINE F f_where_at_least(F x, F limit, F then, F otherwise) {
  return {vbslq_f32(vcgeq_f32(x.a, limit.a), then.a, otherwise.a),
          vbslq_f32(vcgeq_f32(x.b, limit.b), then.b, otherwise.b),
          vbslq_f32(vcgeq_f32(x.c, limit.c), then.c, otherwise.c),
          vbslq_f32(vcgeq_f32(x.d, limit.d), then.d, otherwise.d)};
}
INLINE float f_sum(F x) {
  return vaddvq_f32(vaddq_f32(vaddq_f32(x.a, x.b), vaddq_f32(x.c, x.d)));
}
INLINE float f_largest(F x) { return vmaxnmvq_f32(max4(max4(x.a, x.b), max4(x.c, x.d))); }

INLINE I i_set(int x) {
  const int32x4_t four = vdupq_n_s32(x);
  return {four, four, four, four};
}
INLINE I i_zero() { return i_set(0); }
INLINE RI ri_load(const void* p) {
  return vreinterpretq_s32_u8(vld1q_u8(static_cast<const uint8_t*>(p)));
}
INLINE int32x4_t load_words(const uint32_t* p) { return vreinterpretq_s32_u32(vld1q_u32(p)); }
// Two words of a row of x, and of the next one where `both`.
INLINE int32x4_t load_row_pair(const uint32_t* p, bool both) {
  return both ? load_words(p) : vreinterpretq_s32_u32(vcombine_u32(vld1_u32(p), vdup_n_u32(0)));
}
INLINE I i_load(const void* p) {
  const uint8_t* q = static_cast<const uint8_t*>(p);
  return {ri_load(q), ri_load(q + 16), ri_load(q + 32), ri_load(q + 48)};
}
INLINE void i_store(void* p, I x) {
  uint8_t* q = static_cast<uint8_t*>(p);
  vst1q_u8(q, vreinterpretq_u8_s32(x.a));
  vst1q_u8(q + 16, vreinterpretq_u8_s32(x.b));
  vst1q_u8(q + 32, vreinterpretq_u8_s32(x.c));
  vst1q_u8(q + 48, vreinterpretq_u8_s32(x.d));
}
INLINE I i_add(I x, I y) { return QUARTERS_OF_XY(vaddq_s32); }
INLINE I i_or(I x, I y) { return QUARTERS_OF_XY(vorrq_s32); }
INLINE I i_and(I x, I y) { return QUARTERS_OF_XY(vandq_s32); }
template <int bits> INLINE int32x4_t shift_right4(int32x4_t x) {
  return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(x), bits));
}
template <int bits> INLINE int32x4_t shift_left4(int32x4_t x) { return vshlq_n_s32(x, bits); }
template <int bits> INLINE I i_shift_left(I x) { return QUARTERS_OF_X(shift_left4<bits>); }
template <int bits> INLINE I i_shift_right(I x) { return QUARTERS_OF_X(shift_right4<bits>); }
INLINE int i_sum(I x) {
  return vaddvq_s32(vaddq_s32(vaddq_s32(x.a, x.b), vaddq_s32(x.c, x.d)));
}
INLINE int32x4_t widen4(uint16x4_t x) { return vreinterpretq_s32_u32(vmovl_u16(x)); }
INLINE I widen(uint16x8_t low, uint16x8_t high) {
  return {widen4(vget_low_u16(low)), widen4(vget_high_u16(low)), widen4(vget_low_u16(high)),
          widen4(vget_high_u16(high))};
}
INLINE I i_load_u16(const uint16_t* p) { return widen(vld1q_u16(p), vld1q_u16(p + 8)); }
INLINE I i_load_u8(const uint8_t* p) {
  const uint8x16_t bytes = vld1q_u8(p);
  return widen(vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes));
}
// The low halves of both.
INLINE uint16x8_t narrow(int32x4_t low, int32x4_t high) {
  return vuzp1q_u16(vreinterpretq_u16_s32(low), vreinterpretq_u16_s32(high));
}
INLINE void i_store_u16(uint16_t* p, I x) {
  vst1q_u16(p, narrow(x.a, x.b));
  vst1q_u16(p + 8, narrow(x.c, x.d));
}
INLINE void i_store_s8(int8_t* p, I x) {
  vst1q_s8(p, vuzp1q_s8(vreinterpretq_s8_u16(narrow(x.a, x.b)),
                        vreinterpretq_s8_u16(narrow(x.c, x.d))));
}
INLINE I i_nearest(F x) { return QUARTERS_OF_X(vcvtnq_s32_f32); }
INLINE F f_from_int(I x) { return QUARTERS_OF_X(vcvtq_f32_s32); }
INLINE F f_from_bits(I x) { return QUARTERS_OF_X(vreinterpretq_f32_s32); }
INLINE I i_from_bits(F x) { return QUARTERS_OF_X(vreinterpretq_s32_f32); }

INLINE float32x4_t halves4(uint16x4_t x) { return vcvt_f32_f16(vreinterpret_f16_u16(x)); }
#define UC_FLOAT16
INLINE F f_load_f16(const uint16_t* p) {
  return {halves4(vld1_u16(p)), halves4(vld1_u16(p + 4)), halves4(vld1_u16(p + 8)),
          halves4(vld1_u16(p + 12))};
}

INLINE RF r_set(float x) { return vdupq_n_f32(x); }
INLINE RF r_zero() { return r_set(0.0f); }
INLINE RF r_load(const float* p) { return vld1q_f32(p); }
INLINE void r_store(float* p, RF x) { vst1q_f32(p, x); }
INLINE RF r_fma(RF a, RF b, RF c) { return vfmaq_f32(c, a, b); }
INLINE RF r_fnma(RF a, RF b, RF c) { return vfmsq_f32(c, a, b); }
INLINE RF r_from_int(RI x) { return vcvtq_f32_s32(x); }
INLINE RF r_from_bits(RI x) { return vreinterpretq_f32_s32(x); }
INLINE RF r_from_u8(const uint8_t* p) {
  uint32_t four;
  memcpy(&four, p, 4);
  return r_from_int(widen4(vget_low_u16(vmovl_u8(vcreate_u8(four)))));
}
INLINE RF r_load_bf16(const uint16_t* p) {
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}
INLINE RF r_load_f16(const uint16_t* p) { return halves4(vld1_u16(p)); }
INLINE RI ri_set(int x) { return vdupq_n_s32(x); }
INLINE RI ri_add(RI a, RI b) { return vaddq_s32(a, b); }
INLINE RI ri_and(RI a, RI b) { return vandq_s32(a, b); }
template <int bits> INLINE RI ri_shift_left(RI a) { return shift_left4<bits>(a); }
template <int bits> INLINE RI ri_shift_right(RI a) { return shift_right4<bits>(a); }

#define UC_INT_STEPS
#if defined(__ARM_FEATURE_MATMUL_INT8)
#define UC_MATRIX_BYTES
#endif

// Sums of two products of bfloat16 a lane.
#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#define UC_MATRIX_PAIRS
INLINE RF dot_pairs(RF sum, RI weights, RI x) {
  return vbfdotq_f32(sum, vreinterpretq_bf16_s32(weights), vreinterpretq_bf16_s32(x));
}
INLINE F dot_pairs(F x, I y, I z) { return QUARTERS_OF_XYZ(dot_pairs); }
INLINE int32x4_t pairs4(float32x4_t low, float32x4_t high) {
  return vreinterpretq_s32_bf16(vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(low), high));
}
INLINE void f_store_bf16(uint16_t* p, F x) {
  vst1q_u16(p, vreinterpretq_u16_s32(pairs4(x.a, x.b)));
  vst1q_u16(p + 8, vreinterpretq_u16_s32(pairs4(x.c, x.d)));
}
// 32 floats, rounded.
INLINE I i_bf16_pairs(F low, F high) {
  return {pairs4(low.a, low.b), pairs4(low.c, low.d), pairs4(high.a, high.b),
          pairs4(high.c, high.d)};
}
#else
#define UC_GENERIC_BF16
#endif

// 32 16-bit values, `count` of them from memory, zeros behind.
INLINE I i_load_halves(const void* p, int count) {
  uint16_t halves[32] = {};
  memcpy(halves, p, 2 * count);
  return i_load(halves);
}

INLINE int32x4_t first_pairs(int32x4_t x, int32x4_t y) {
  return vreinterpretq_s32_s16(vzip1q_s16(vreinterpretq_s16_s32(x), vreinterpretq_s16_s32(y)));
}
INLINE int32x4_t last_pairs(int32x4_t x, int32x4_t y) {
  return vreinterpretq_s32_s16(vzip2q_s16(vreinterpretq_s16_s32(x), vreinterpretq_s16_s32(y)));
}
// 32 pairs of 16-bit values, one of each row.
INLINE void interleave32(I first, I second, I* low, I* high) {
  *low = {first_pairs(first.a, second.a), last_pairs(first.a, second.a),
          first_pairs(first.b, second.b), last_pairs(first.b, second.b)};
  *high = {first_pairs(first.c, second.c), last_pairs(first.c, second.c),
           first_pairs(first.d, second.d), last_pairs(first.d, second.d)};
}

INLINE int32x4_t first_halves(int32x4_t x, int32x4_t y) {
  return vreinterpretq_s32_s64(vtrn1q_s64(vreinterpretq_s64_s32(x), vreinterpretq_s64_s32(y)));
}
INLINE int32x4_t last_halves(int32x4_t x, int32x4_t y) {
  return vreinterpretq_s32_s64(vtrn2q_s64(vreinterpretq_s64_s32(x), vreinterpretq_s64_s32(y)));
}
INLINE I transpose4(int32x4_t r0, int32x4_t r1, int32x4_t r2, int32x4_t r3) {
  const int32x4_t even = vtrn1q_s32(r0, r1), odd = vtrn2q_s32(r0, r1);
  const int32x4_t more_even = vtrn1q_s32(r2, r3), more_odd = vtrn2q_s32(r2, r3);
  return {first_halves(even, more_even), first_halves(odd, more_odd),
          last_halves(even, more_even), last_halves(odd, more_odd)};
}
// 16 rows of 16 words become 16 columns.
INLINE void transpose16(I* r) {
  I blocks[4][4];  // [rows][columns], each transposed.
  UNROLL for (int i = 0; i < 4; ++i) {
    const I *r0 = r + 4 * i, *r1 = r0 + 1, *r2 = r0 + 2, *r3 = r0 + 3;
    blocks[i][0] = transpose4(r0->a, r1->a, r2->a, r3->a);
    blocks[i][1] = transpose4(r0->b, r1->b, r2->b, r3->b);
    blocks[i][2] = transpose4(r0->c, r1->c, r2->c, r3->c);
    blocks[i][3] = transpose4(r0->d, r1->d, r2->d, r3->d);
  }
  UNROLL for (int i = 0; i < 4; ++i) {
    const I &b0 = blocks[0][i], &b1 = blocks[1][i], &b2 = blocks[2][i], &b3 = blocks[3][i];
    r[4 * i] = {b0.a, b1.a, b2.a, b3.a};
    r[4 * i + 1] = {b0.b, b1.b, b2.b, b3.b};
    r[4 * i + 2] = {b0.c, b1.c, b2.c, b3.c};
    r[4 * i + 3] = {b0.d, b1.d, b2.d, b3.d};
  }
}
