// What one register of a panel's step is multiplied with: a step's bytes come in parts, each with a
// word of x of its own, so that nothing of x is taken apart between the products.

#if !defined(UC_REGISTERS)  // A tile works on whole vectors.
using RF = F;
using RI = I;
constexpr int kRegisterLanes = kLanes;
INLINE RF r_zero() { return f_zero(); }
INLINE RF r_set(float x) { return f_set(x); }
INLINE RF r_load(const float* p) { return f_load(p); }
INLINE void r_store(float* p, RF x) { f_store(p, x); }
INLINE RF r_fma(RF a, RF b, RF c) { return f_fma(a, b, c); }
INLINE RF r_fnma(RF a, RF b, RF c) { return f_fnma(a, b, c); }
INLINE RF r_from_int(RI x) { return f_from_int(x); }
INLINE RF r_from_bits(RI x) { return f_from_bits(x); }
INLINE RF r_from_u8(const uint8_t* p) { return f_from_int(i_load_u8(p)); }
INLINE RF r_load_bf16(const uint16_t* p) { return f_load_bf16(p); }
INLINE RF r_load_f16(const uint16_t* p) { return f_load_f16(p); }
INLINE RI ri_set(int x) { return i_set(x); }
INLINE RI ri_load(const void* p) { return i_load(p); }
INLINE RI ri_add(RI a, RI b) { return i_add(a, b); }
INLINE RI ri_and(RI a, RI b) { return i_and(a, b); }
template <int bits> INLINE RI ri_shift_left(RI a) { return i_shift_left<bits>(a); }
template <int bits> INLINE RI ri_shift_right(RI a) { return i_shift_right<bits>(a); }
#endif

constexpr int kRegisterBytes = 4 * kRegisterLanes;
constexpr int kPanelRegisters = kPanelRows / kRegisterLanes;

INLINE RF r_load_as(const void* p, int dtype, size_t index) {
  if (dtype == kFloat32) return r_load(static_cast<const float*>(p) + index);
  const uint16_t* halves = static_cast<const uint16_t*>(p) + index;
  return dtype == kBfloat16 ? r_load_bf16(halves) : r_load_f16(halves);
}

// -- float32 and bfloat16 -----------------------------------------------------------------------

enum FloatKind { kPlain, kPairs };

#if defined(UC_GENERIC_BF16)
constexpr int kPairParts = 2;  // Both columns of a pair as float32.
#else
constexpr int kPairParts = 1;
#endif

template <FloatKind kind> constexpr int float_parts() { return kind == kPairs ? kPairParts : 1; }

template <FloatKind kind, int part>
INLINE RF multiply_add(RF sum, RI weights, uint32_t x) {
#if !defined(UC_GENERIC_BF16)
  if (kind == kPairs) return dot_pairs(sum, weights, ri_set(int(x)));
#endif
  float value;
  __builtin_memcpy(&value, &x, 4);
  if (kind == kPairs) {
    weights = part == 0 ? ri_shift_left<16>(weights) : ri_and(weights, ri_set(int(0xffff0000u)));
  }
  return r_fma(r_from_bits(weights), r_set(value), sum);
}

// -- int8 and int4 ------------------------------------------------------------------------------

#if defined(UC_GENERIC_BYTES)
constexpr int kInt8Parts = 2;  // Even and odd bytes: pairs of bytes would overflow 16 bits.
#else
constexpr int kInt8Parts = 1;
#endif

template <int format> constexpr int int_parts() { return is_byte(format) ? kInt8Parts : 2; }

// Sums of nibbles fit 16 bits over four steps: 32 products of at most 15 * 127, two a lane.
template <int format> constexpr bool narrow_sums() { return !is_byte(format) && kInt8Parts == 2; }

template <int format, int part>
INLINE RI int_part(RI step) {
  if (!is_byte(format)) {
    return ri_and(part == 0 ? step : ri_shift_right<4>(step), ri_set(0x0f0f0f0f));
  }
#if defined(UC_GENERIC_BYTES)
  return part == 0 ? ri_and(step, ri_set(0x00ff00ff)) : ri_high_bytes(step);
#else
  return step;
#endif
}

#if defined(UC_GENERIC_BYTES)
// In this order: a compiler that adds up in another needs more registers than there are.
INLINE RI keep(RI x) {
  __asm__("" : "+v"(x));
  return x;
}

template <int format>
INLINE RI multiply_add(RI sum, RI weights, RI x) {
  return is_byte(format) ? keep(ri_add(sum, ri_pair_words(weights, x)))
                         : keep(ri_add16(sum, ri_pair_bytes(weights, x)));
}
INLINE RI add_narrow(RI sum, RI narrow) {
  return ri_add(sum, ri_pair_words(narrow, ri_set(0x00010001)));
}
#elif !defined(UC_INT_STEPS)
template <int format>
INLINE RI multiply_add(RI sum, RI weights, RI x) { return dot_bytes(sum, weights, x); }
INLINE RI add_narrow(RI sum, RI) { return sum; }
#endif

// -- words of x in a tile -----------------------------------------------------------------------

// So many words of a row lie side by side, then as many of the next: two where the processor
// multiplies matrices of them.
#if defined(UC_MATRIX_BYTES)
constexpr int kBytesTogether = 2;
#else
constexpr int kBytesTogether = 1;
#endif
#if defined(UC_MATRIX_PAIRS)
constexpr int kPairsTogether = 2;
#else
constexpr int kPairsTogether = 1;
#endif

template <int together>
INLINE void put_words(const uint32_t* words, int64_t count, int64_t stride, uint32_t*& to) {
  for (int64_t i = 0; i < count; i += together, to += together * stride) {
    UNROLL for (int j = 0; j < together; ++j) to[j] = words[i + j];
  }
}
