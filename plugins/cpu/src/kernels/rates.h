// The products of a format with weights in registers, and nothing else: the most that an instruction
// set can do, which products of matrices are compared with.

constexpr int kRateSums = 12;  // Enough that none waits for its own last product.
constexpr int kRateWords = 1024;  // Of x, in the first cache; 16 for each round.

// Sums that no compiler may leave out.
template <class Register, int count>
INLINE void use(const Register (&sums)[count]) {
  UNROLL for (int i = 0; i < count; ++i) __asm__ volatile("" : : "m"(sums[i]));
}

// Bytes of weights that a product takes.
#if defined(UC_INT_STEPS)
template <int format> constexpr int product_bytes() { return kBytesTogether * kRegisterBytes; }
template <int format>
INLINE RI one_product(RI sum, RI weights, uint32_t x) {
  if (kBytesTogether == 2) return multiply_blocks(sum, weights, ri_set(int(x)));
  return dot_word(sum, weights, ri_set(int(x)), 0);
}
#else
template <int format> constexpr int product_bytes() {
  return is_byte(format) ? kRegisterBytes / kInt8Parts : kRegisterBytes;
}
template <int format>
INLINE RI one_product(RI sum, RI weights, uint32_t x) {
  return multiply_add<format>(sum, weights, ri_set(int(x)));
}
#endif

template <int format>
static double int_products(const uint32_t* x, uint64_t rounds) {
  RI sums[kRateSums];
  UNROLL for (int m = 0; m < kRateSums; ++m) sums[m] = ri_set(0);
  const RI weights = ri_load(x);
  for (uint64_t i = 0; i < rounds; ++i) {
    const uint32_t* words = x + i * 16 % kRateWords;
    UNROLL for (int m = 0; m < kRateSums; ++m) {
      sums[m] = one_product<format>(sums[m], weights, words[m]);
    }
  }
  use(sums);
  return 2.0 * product_bytes<format>() * kRateSums * double(rounds);
}

template <FloatKind kind>
static double float_products(const uint32_t* x, uint64_t rounds) {
  RF sums[kRateSums];
  UNROLL for (int m = 0; m < kRateSums; ++m) sums[m] = r_zero();
  const RI weights = ri_load(x);
  for (uint64_t i = 0; i < rounds; ++i) {
    const uint32_t* words = x + i * 16 % kRateWords;
    UNROLL for (int m = 0; m < kRateSums; ++m) {
      sums[m] = multiply_add<kind, 1>(sums[m], weights, words[m]);
    }
  }
  use(sums);
  constexpr int columns = kind == kPairs && kPairParts == 1 ? 2 : 1;
  return 2.0 * columns * kRegisterLanes * kRateSums * double(rounds);
}

// Operations: a multiplication and an addition each.
static double products_alone(int format, int64_t num_rounds) {
  const uint64_t rounds = uint64_t(num_rounds);
  alignas(64) static const uint32_t zeros[kRateWords] = {};
  const uint32_t* x = zeros;
  __asm__ volatile("" : "+r"(x));  // Or the compiler computes with what it knows.
  switch (format) {
    case kF32: return float_products<kPlain>(x, rounds);
    case kBf16: return float_products<kPairs>(x, rounds);
    case kInt8:
    case kInt8Shift: return int_products<kInt8>(x, rounds);
    default: return int_products<kInt4>(x, rounds);
  }
}
