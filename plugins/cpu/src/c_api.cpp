#include "unisono_cpu.h"

#include <algorithm>
#include <cinttypes>
#include <new>

#include "attention.h"
#include "decoder.h"
#include "dispatch.h"
#include "elementwise.h"
#include "experts.h"
#include "matmul.h"
#include "packing.h"
#include "pool.h"
#include "processor.h"
#include "sampling.h"
#include "workspace.h"

#if defined(_WIN32)
#define API extern "C" __declspec(dllexport)
#else
#define API extern "C" __attribute__((visibility("default")))
#endif

using namespace uc;

namespace {

Status check(bool good, const char* what) { return good ? kOk : fail(kBadArgument, "%s", what); }

bool is_activation(int dtype) { return dtype == kBfloat16 || dtype == kFloat32; }

Status layout_of(const uc_weight_info* info, size_t bytes, Layout* layout) {
  if (Status status = check(info, "no description")) return status;
  if (Status status = make_layout(info->format, info->group, info->scale_dtype, info->rows,
                                  info->cols, layout)) {
    return status;
  }
  return check(bytes >= layout->total_bytes(), "too little room for the packed weight");
}

void describe(const Layout& layout, uc_weight_info* info) {
  *info = uc_weight_info{layout.format,     layout.group, layout.scale_dtype, layout.rows,
                         layout.cols,       layout.num_scales,
                         int64_t(layout.total_bytes())};
}

Status open_linear(const uc_linear& from, Linear* to) {
  to->bias = from.bias;
  return open_weight(from.blob, from.bytes, &to->weight);
}

Status check_rows(const void* x, int x_dtype, int64_t rows, const void* y, int y_dtype) {
  if (Status status = check(rows >= 0 && (rows == 0 || (x && y)),
                            "no input, no output or fewer than 0 rows")) {
    return status;
  }
  return check(is_activation(x_dtype) && is_activation(y_dtype),
               "activations are bfloat16 or float32");
}

Step step_of(const uc_step& step) {
  return Step{step.num_rows, step.num_tokens,   step.query_lens, step.context_lens,
              step.blocks,   step.table_starts, step.slots,      step.window};
}

KvCache cache_of(const uc_cache& cache) {
  return KvCache{static_cast<char*>(cache.data), cache.dtype,
                 cache.num_blocks,          cache.block_size,
                 cache.num_kv_heads,        cache.head_dim,
                 size_t(cache.block_bytes), size_t(cache.value_bytes)};
}

Status check_tables(const uc_step* step) {
  return check(step && step->num_rows >= 0 && step->window >= 0 &&
                   (step->num_rows == 0 || (step->query_lens && step->context_lens &&
                                            step->blocks && step->table_starts)),
               "an incomplete step");
}

}  // namespace

struct uc_decoder {
  Decoder decoder;
};

// -- the library --------------------------------------------------------------------------------

API int uc_abi_version(void) { return UC_ABI_VERSION; }
API const char* uc_last_error(void) { return last_error(); }
API const char* uc_isa(void) { return kernels().name; }
API const char* uc_available_isa(int index) { return available_isa(index); }
API const char* uc_features(void) { return features(); }
API int uc_set_isa(const char* name) {
  PoolLock lock;
  return set_isa(name);
}
API int uc_threads(void) { return num_threads(); }
API int uc_set_threads(int count) { return set_num_threads(count); }
API size_t uc_workspace_bytes(void) { return workspace_bytes(); }
API void uc_release_workspace(void) {
  PoolLock lock;
  release_workspace();
}
API void uc_test_fail_allocation(int after) { fail_allocation_after(after); }

API int uc_read(const void* data, size_t bytes, uint64_t* sum) {
  uint64_t total = 0;
  const Status status = parallel([&](const Team& team) {
    int64_t begin, end;
    team.share(int64_t(bytes / 4096), &begin, &end);
    const uint64_t part =
        kernels().read(static_cast<const char*>(data) + begin * 4096, size_t(end - begin) * 4096);
    __atomic_fetch_add(&total, part, __ATOMIC_RELAXED);
  });
  if (sum) *sum = total;
  return status;
}

API int uc_products(int format, int64_t rounds, double* operations) {
  if (Status status = check(format >= 0 && format < kNumFormats && rounds >= 0 && operations,
                            "no such format, fewer than 0 rounds or no result")) {
    return status;
  }
  double* found = nullptr;
  PoolLock lock;
  Workspace workspace;
  workspace.want(&found, size_t(num_threads()));
  if (Status status = workspace.place()) return status;
  const Status status = parallel(
      [&](const Team& team) { found[team.id] = kernels().products_alone(format, rounds); });
  *operations = 0;
  for (int i = 0; i < num_threads(); ++i) *operations += found[i];
  return status;
}

// -- packed weights -----------------------------------------------------------------------------

API int uc_describe(int format, int group, int scale_dtype, int64_t rows, int64_t cols,
                    uc_weight_info* info) {
  Layout layout;
  if (Status status = make_layout(format, group, scale_dtype, rows, cols, &layout)) return status;
  describe(layout, info);
  return kOk;
}

API int uc_inspect(const void* blob, size_t bytes, uc_weight_info* info) {
  Weight weight;
  if (Status status = open_weight(blob, bytes, &weight)) return status;
  describe(weight.layout, info);
  return kOk;
}

API int uc_verify(const void* blob, size_t bytes) { return verify_checksum(blob, bytes); }

API int uc_pack(const void* source, int dtype, int64_t stride, const uc_weight_info* info,
                void* blob, size_t bytes) {
  Layout layout;
  if (Status status = layout_of(info, bytes, &layout)) return status;
  const bool good = source && blob && stride >= layout.cols && dtype >= 0 && dtype <= kFloat16;
  if (Status status = check(good, "no source, no blob, a short stride or an unknown dtype")) {
    return status;
  }
  return pack(Matrix{source, dtype, layout.rows, layout.cols, size_t(stride)}, layout, blob);
}

API int uc_pack_levels(const uint8_t* levels, const float* scales, const uint8_t* zeros,
                       const float* shifts, const uc_weight_info* info, void* blob,
                       size_t bytes) {
  Layout layout;
  if (Status status = layout_of(info, bytes, &layout)) return status;
  if (Status status = check(levels && scales && blob, "no levels, scales or blob")) return status;
  return pack_levels(layout, levels, scales, zeros, shifts, blob);
}

API int uc_unpack(const void* blob, size_t bytes, float* out) {
  Weight weight;
  if (Status status = open_weight(blob, bytes, &weight)) return status;
  if (Status status = check(out, "no output")) return status;
  return unpack(weight, out);
}

API int uc_embed(const void* blob, size_t bytes, const int64_t* ids, int64_t count, void* out,
                 int dtype) {
  Weight weight;
  if (Status status = open_weight(blob, bytes, &weight)) return status;
  if (Status status = check_rows(ids, dtype, count, out, dtype)) return status;
  return embed(weight, ids, count, out, dtype);
}

// -- products -----------------------------------------------------------------------------------

API int uc_multiply(const uc_linear* from, const void* x, int x_dtype, int64_t x_stride,
                    int64_t rows, void* y, int y_dtype, int64_t y_stride) {
  Linear to;
  if (Status status = open_linear(*from, &to)) return status;
  if (Status status = check_rows(x, x_dtype, rows, y, y_dtype)) return status;
  const Layout& layout = to.weight.layout;
  if (Status status = check(x_stride >= layout.cols && y_stride >= layout.rows, "a short stride")) {
    return status;
  }
  if (rows == 0) return kOk;
  return linear(to.weight, Source{x, x_dtype, size_t(x_stride)}, rows, to.bias,
                Target{y, y_dtype, size_t(y_stride)});
}

API int uc_mlp(const uc_linear* gate_up, const uc_linear* down, const void* x, int x_dtype,
               int64_t x_stride, int64_t rows, void* y, int y_dtype, int64_t y_stride) {
  Linear wide, narrow;
  if (Status status = open_linear(*gate_up, &wide)) return status;
  if (Status status = open_linear(*down, &narrow)) return status;
  if (Status status = check_rows(x, x_dtype, rows, y, y_dtype)) return status;
  const Layout &in = wide.weight.layout, &out = narrow.weight.layout;
  if (Status status = check(in.rows == 2 * out.cols && x_stride >= in.cols && y_stride >= out.rows,
                            "shapes of an MLP that do not go together")) {
    return status;
  }
  if (rows == 0) return kOk;
  return mlp(MlpWeights{&wide.weight, &narrow.weight, wide.bias, narrow.bias},
             Source{x, x_dtype, size_t(x_stride)}, rows, Target{y, y_dtype, size_t(y_stride)});
}

static Status open_expert(const uc_linear& gate_up, const uc_linear& down, ExpertWeights* to) {
  if (Status status = check(!gate_up.bias && !down.bias, "experts with biases")) return status;
  if (Status status = open_weight(gate_up.blob, gate_up.bytes, &to->gate_up)) return status;
  return open_weight(down.blob, down.bytes, &to->down);
}

static Status open_experts(const uc_linear* gate_up, const uc_linear* down, int64_t x_stride,
                           int64_t y_stride, const ExpertsJob& job, ExpertWeights* experts) {
  const Layout* in = nullptr;
  const Layout* out = nullptr;
  for (int64_t pair = 0; pair < job.tokens * job.chosen; ++pair) {
    const int64_t id = job.ids[pair];
    if (Status status = check(id >= 0 && id < job.num_experts, "no such expert")) return status;
    ExpertWeights* expert = experts + id;
    if (expert->gate_up.panels) continue;
    if (Status status = check(gate_up[id].blob && down[id].blob, "an expert without weights")) {
      return status;
    }
    if (Status status = open_expert(gate_up[id], down[id], expert)) return status;
    const Layout &wide = expert->gate_up.layout, &narrow = expert->down.layout;
    const bool alike = !in || (wide.rows == in->rows && wide.cols == in->cols &&
                               narrow.rows == out->rows && narrow.cols == out->cols);
    if (Status status = check(alike && wide.rows == 2 * narrow.cols && x_stride >= wide.cols &&
                                  y_stride >= narrow.rows,
                              "shapes of experts that do not go together")) {
      return status;
    }
    in = &wide;
    out = &narrow;
  }
  return kOk;
}

API int uc_experts(const uc_linear* gate_up, const uc_linear* down, int64_t num_experts,
                   const int64_t* ids, const float* weights, int64_t tokens, int64_t chosen,
                   const void* x, int x_dtype, int64_t x_stride, void* y, int y_dtype,
                   int64_t y_stride) {
  if (Status status = check_rows(x, x_dtype, tokens, y, y_dtype)) return status;
  if (Status status = check(gate_up && down && num_experts > 0 && chosen > 0 &&
                                (tokens == 0 || (ids && weights)),
                            "no experts, or no choice of them")) {
    return status;
  }
  if (tokens == 0) return kOk;
  ExpertWeights* experts = new (std::nothrow) ExpertWeights[size_t(num_experts)]{};
  if (!experts) return fail(kNoMemory, "no memory for %" PRId64 " experts", num_experts);
  const ExpertsJob job{experts, num_experts, ids, weights, tokens, chosen,
                       Source{x, x_dtype, size_t(x_stride)},
                       Target{y, y_dtype, size_t(y_stride)}};
  Status status = open_experts(gate_up, down, x_stride, y_stride, job, experts);
  if (!status) status = run_experts(job);
  delete[] experts;
  return status;
}

// -- rows of a step -----------------------------------------------------------------------------

API int uc_add_rms_norm(const void* x, int x_dtype, const float* residual, float* sum,
                        const float* weight, float eps, int64_t rows, int64_t size, void* y,
                        int y_dtype) {
  if (Status status = check_rows(x, x_dtype, rows, y, y_dtype)) return status;
  if (Status status = check(weight && size > 0 && (!sum || sum != residual),
                            "no weight, no size, or the sum in place of the residual")) {
    return status;
  }
  return add_norm(NormJob{Source{x, x_dtype, size_t(size)}, residual, sum, weight, eps, size,
                          Target{y, y_dtype, size_t(size)}},
                  rows);
}

API int uc_silu_mul(const void* gate_up, int dtype, int64_t rows, int64_t size, void* y,
                    int y_dtype) {
  if (Status status = check_rows(gate_up, dtype, rows, y, y_dtype)) return status;
  return silu_mul(Source{gate_up, dtype, 2 * size_t(size)}, rows, size,
                  Target{y, y_dtype, size_t(size)});
}

API int uc_rotary_heads(const void* qkv, int dtype, int64_t tokens, int num_heads,
                        int num_kv_heads, int head_dim, int half, const float* q_norm,
                        const float* k_norm, float eps, const float* cos, const float* sin,
                        void* query, void* key, int out_dtype) {
  if (Status status = check_rows(qkv, dtype, tokens, query, out_dtype)) return status;
  if (Status status = check(key && cos && sin && num_heads > 0 && num_kv_heads > 0 && half > 0 &&
                                2 * half <= head_dim,
                            "heads that cannot be rotated")) {
    return status;
  }
  const size_t heads = size_t(num_heads) + 2 * size_t(num_kv_heads);
  const RotaryJob job{Source{qkv, dtype, heads * head_dim}, num_heads, num_kv_heads, head_dim,
                      half, q_norm, k_norm, eps, cos, sin};
  return rotary(job, tokens, Target{query, out_dtype, size_t(num_heads) * head_dim},
                Target{key, out_dtype, size_t(num_kv_heads) * head_dim});
}

// -- the paged cache ----------------------------------------------------------------------------

API int uc_kv_write(const uc_cache* cache, const uc_step* step, const void* key, const void* value,
                    int dtype, int64_t key_stride, int64_t value_stride) {
  if (Status status = check_rows(key, dtype, step->num_tokens, value, dtype)) return status;
  if (Status status = check(step->slots, "no slots")) return status;
  return kv_write(step_of(*step), cache_of(*cache),
                  Tensor3{const_cast<void*>(key), dtype, size_t(key_stride)},
                  Tensor3{const_cast<void*>(value), dtype, size_t(value_stride)});
}

API int uc_attention(const uc_cache* cache, const uc_step* step, int num_heads, float scale,
                     float softcap, const float* sinks, const void* query, int dtype,
                     int64_t query_stride, void* out, int out_dtype) {
  if (Status status = check_tables(step)) return status;
  if (Status status = check_rows(query, dtype, step->num_tokens, out, out_dtype)) return status;
  const size_t row = size_t(num_heads) * cache->head_dim;
  return attention(step_of(*step), cache_of(*cache), Heads{num_heads, scale, softcap, sinks},
                   Tensor3{const_cast<void*>(query), dtype, size_t(query_stride)},
                   Tensor3{out, out_dtype, row});
}

// -- all layers ---------------------------------------------------------------------------------

static Status open_layer(const uc_layer& from, Layer* to) {
  to->input_norm = from.input_norm;
  to->post_norm = from.post_norm;
  to->q_norm = from.q_norm;
  to->k_norm = from.k_norm;
  Status status = open_linear(from.qkv, &to->qkv);
  if (!status) status = open_linear(from.output, &to->output);
  if (!status) status = open_linear(from.gate_up, &to->gate_up);
  if (!status) status = open_linear(from.down, &to->down);
  return status;
}

API void uc_decoder_free(uc_decoder* decoder) {
  if (decoder) delete[] decoder->decoder.layers;
  delete decoder;
}

API int uc_decoder_new(const uc_decoder_spec* spec, uc_decoder** decoder) {
  if (Status status = check(spec && decoder && spec->num_layers > 0 && spec->layers,
                            "a decoder without layers")) {
    return status;
  }
  uc_decoder* made = new (std::nothrow) uc_decoder{};
  Layer* layers = new (std::nothrow) Layer[size_t(spec->num_layers)];
  if (!made || !layers) {
    delete made;
    delete[] layers;
    return fail(kNoMemory, "no memory for %d layers", spec->num_layers);
  }
  made->decoder = Decoder{Shape{spec->hidden, spec->inner, spec->num_heads, spec->num_kv_heads,
                                spec->head_dim, spec->half, spec->eps, spec->scale, spec->softcap},
                          spec->num_layers, layers, spec->final_norm};
  Status status = kOk;
  for (int i = 0; i < spec->num_layers && !status; ++i) {
    status = open_layer(spec->layers[i], layers + i);
  }
  if (!status) status = check_decoder(made->decoder);
  if (status) {
    uc_decoder_free(made);
    return status;
  }
  *decoder = made;
  return kOk;
}

API int uc_decoder_run(const uc_decoder* decoder, const uc_layer_step* layers, int64_t tokens,
                       const uc_rows* x, const void* residual, const uc_turns* turns, void* out,
                       void* residual_out) {
  return uc_decoder_run_adapted(decoder, layers, tokens, x, residual, turns, out, residual_out,
                                nullptr);
}

static_assert(sizeof(uc_low_rank) == sizeof(LowRank), "they are the same");
static_assert(sizeof(uc_low_rank_part) == sizeof(LowRankPart), "they are the same");

API int uc_decoder_run_adapted(const uc_decoder* decoder, const uc_layer_step* layers,
                               int64_t tokens, const uc_rows* x, const void* residual,
                               const uc_turns* turns, void* out, void* residual_out,
                               const uc_adapters* adapters) {
  const bool turned = turns && (turns->cos ? turns->sin != nullptr
                                           : turns->positions && turns->frequencies);
  if (Status status = check(decoder && layers && x && turned, "no decoder, layers, x or angles")) {
    return status;
  }
  if (Status status = check_rows(x->rows, x->dtype, tokens, out, x->dtype)) return status;
  const Rows rows{x->rows, x->ids, x->vocabulary, x->dtype};
  const Turns how{turns->cos, turns->sin, turns->positions, turns->frequencies, turns->scale};
  Adapters with{};
  if (adapters) {
    if (Status status = check(adapters->of_tokens && adapters->low_ranks, "no adapters")) {
      return status;
    }
    with = Adapters{adapters->of_tokens, adapters->num_adapters, 0,
                    reinterpret_cast<const LowRank*>(adapters->low_ranks)};
  }
  const int count = decoder->decoder.num_layers;
  LayerStep* at = new (std::nothrow) LayerStep[size_t(count)];
  Step* steps = new (std::nothrow) Step[size_t(count)];
  Status status = at && steps ? kOk : fail(kNoMemory, "no memory for %d layers", count);
  for (int i = 0; i < count && !status; ++i) {
    status = check_tables(layers[i].step);
    if (status) break;
    const bool shared = i > 0 && layers[i].step == layers[i - 1].step;
    if (!shared) steps[i] = step_of(*layers[i].step);
    at[i] = LayerStep{shared ? at[i - 1].step : steps + i, cache_of(layers[i].cache)};
  }
  if (!status) {
    status = run_decoder(decoder->decoder, DecoderRun{at, tokens, rows, residual, how, out,
                                                      residual_out, adapters ? &with : nullptr});
  }
  delete[] at;
  delete[] steps;
  return status;
}

// -- choosing tokens ----------------------------------------------------------------------------

API int uc_argmax(const float* logits, int64_t rows, int64_t vocabulary, int64_t* ids) {
  if (Status status = check(logits && ids && rows >= 0 && vocabulary > 0, "no logits or ids")) {
    return status;
  }
  return argmax(logits, rows, vocabulary, ids);
}

API int uc_draw(const float* logits, int64_t rows, int64_t vocabulary, const double* uniforms,
                const int32_t* top_k, const float* top_p, const float* min_p, int64_t* ids) {
  if (Status status = check(logits && ids && rows >= 0 && vocabulary > 0 && uniforms && top_k &&
                                top_p && min_p,
                            "no logits, ids or sampling numbers")) {
    return status;
  }
  return draw(DrawJob{logits, rows, vocabulary, uniforms, top_k, top_p, min_p}, ids);
}
