// A mixture of experts: the rows of each expert's tokens through its gated MLP, and the weighted
// sums of what a token's experts give, all in one team.
#pragma once

#include "kernels.h"

namespace uc {

struct ExpertWeights {
  Weight gate_up;  // panels is null where no token takes the expert.
  Weight down;
};

struct ExpertsJob {
  const ExpertWeights* experts;  // Of one shape.
  int64_t num_experts;
  const int64_t* ids;    // [tokens, chosen], each of an expert that has weights.
  const float* weights;  // [tokens, chosen].
  int64_t tokens, chosen;
  Source x;
  Target y;
};

// y = sum over a token's experts, in their order, of weight * down(silu(gate x) * up x), in float32.
// A token's bits do not depend on the others.
Status run_experts(const ExpertsJob& job);

}  // namespace uc
