// All layers of a decoder in one call: one team, with barriers between the parts of a layer.
#pragma once

#include "attention.h"
#include "matmul.h"

namespace uc {

struct Linear {
  Weight weight;
  const float* bias;
};

struct Layer {
  const float *input_norm, *post_norm, *q_norm, *k_norm;
  Linear qkv, output, gate_up, down;
};

struct Shape {
  int hidden, inner, num_heads, num_kv_heads, head_dim, half;
  float eps, scale, softcap;
};

struct Decoder {
  Shape shape;
  int num_layers;
  Layer* layers;
  const float* final_norm;  // Null: the branch and the residual come out as they are.
};

struct LayerStep {
  const Step* step;
  KvCache cache;
};

// Rows of hidden numbers, one a token: as they lie, or from a table by id.
struct Rows {
  const void* data;
  const int64_t* ids;  // Or null.
  int64_t vocabulary;
  int dtype;
};

// The angles' cosines and sines, [tokens, half]; or null, and angles are positions * frequencies.
struct Turns {
  const float *cos, *sin;
  const int64_t* positions;  // [tokens].
  const float* frequencies;  // [half].
  float scale;               // Of cosines and sines.
};

// The adapters of a run. Products of a layer: qkv, output, gate_up, down.
struct Adapters {
  const int32_t* of_tokens;  // [tokens], or -1.
  int32_t num_adapters, reserved;
  const LowRank* low_ranks;  // [num_layers, 4, num_adapters].
};

struct DecoderRun {
  const LayerStep* layers;  // [num_layers].
  int64_t num_tokens;
  Rows x;
  const void* residual;     // [tokens, hidden] of x's dtype, as are the following; or null.
  Turns turns;
  void* out;
  void* residual_out;       // Needed where there is no final norm.
  const Adapters* adapters;  // Or null.
};

Status check_decoder(const Decoder& decoder);
Status run_decoder(const Decoder& decoder, const DecoderRun& run);

}  // namespace uc
