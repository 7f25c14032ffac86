// Choosing tokens from logits over a large vocabulary, without sorting it.
#pragma once

#include "dispatch.h"
#include "pool.h"

namespace uc {

// The first largest of each row of float32 [rows, vocabulary].
Status argmax(const float* logits, int64_t rows, int64_t vocabulary, int64_t* ids);

struct DrawJob {
  const float* logits;  // [rows, vocabulary].
  int64_t rows, vocabulary;
  const double* uniforms;  // [rows], in [0, 1).
  const int32_t* top_k;    // 0 keeps all.
  const float* top_p;      // 1 keeps all.
  const float* min_p;      // 0 keeps all.
};
// top_k, then top_p over what is left, then min_p; ties of the last one kept are kept. Then the
// first token, in order of ids, at which the cumulative probability exceeds the uniform number.
Status draw(const DrawJob& job, int64_t* ids);

}  // namespace uc
