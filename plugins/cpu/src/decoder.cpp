#include "decoder.h"

#include <algorithm>
#include <cinttypes>
#include <cmath>

#include "elementwise.h"

namespace uc {
namespace {

Status check_linear(const Linear& linear, int64_t rows, int64_t cols, int layer, const char* name) {
  const Layout& layout = linear.weight.layout;
  if (layout.rows == rows && layout.cols == cols) return kOk;
  return fail(kBadArgument,
              "layer %d: %s is %" PRId64 " x %" PRId64 ", not %" PRId64 " x %" PRId64, layer, name,
              layout.rows, layout.cols, rows, cols);
}

// With few rows the buffers of layers follow one another in so many places, and members need not be at
// the same layer (pieces.h). Layers of few rows have at least so many jobs each.
constexpr int kPlaces = 8, kJobsOfLayer = 6;

// What a layer reads and writes.
struct Place {
  float *residual[2], *branch[2], *qkv, *attended, *gate_up;
  uint16_t* query;
};

// Shared by all members, but `normed` and `inner`, of which each has a row.
struct Buffers {
  XBuffer x;
  float *cos, *sin, *normed, *inner, *base;
  Place places[kPlaces];
  AttentionRoom attention;
};

struct Running {
  const Decoder& decoder;
  const DecoderRun& run;
  Buffers* buffers;

  int64_t tokens() const { return run.num_tokens; }
  const Shape& shape() const { return decoder.shape; }
  int qkv_heads() const { return shape().num_heads + 2 * shape().num_kv_heads; }
  size_t query_size() const { return size_t(shape().num_heads) * shape().head_dim; }
  int places() const { return tokens() <= kFewRows ? kPlaces : 1; }
  // Of Pieces: what a job writes is written again by the layer that gets its place.
  int reach() const { return (places() - 1) * kJobsOfLayer; }
  const Place& place(int layer) const { return buffers->places[layer % places()]; }
};

// One of the four products of a layer.
MatmulJob product(const Running& r, const Team& team, int layer, int which, const Linear& linear,
                  float* y) {
  const Layout& layout = linear.weight.layout;
  const int copy = r.places() > 1 ? 4 * (layer % r.places()) + which : 0;
  return {&linear.weight, r.buffers->x.open(layout, r.tokens(), team, copy), linear.bias,
          Target{y, kFloat32, size_t(layout.rows)}};
}

// norm(residual + x), the sum to another residual, times the weight.
void norm_and_multiply(const Running& r, const Team& team, const NormJob& norm,
                       const MatmulJob& job) {
  float* own = r.buffers->normed + size_t(team.id) * norm.size;
  make_and_multiply(team, job, r.reach(), [&](int64_t row, bool first) {
    NormJob one = norm;
    one.y = Target{own, kFloat32, 0};
    if (!first) one.residual_out = nullptr;
    kernels().norm_row(one, row);
    return Source{own, kFloat32, 0};
  });
}

// Rotates queries into their buffer and keys into the cache; values go to the cache.
void rotate(const Running& r, const Team& team, const Layer& layer, const LayerStep& at,
            const Place& place) {
  const Shape& shape = r.shape();
  const int group = shape.num_heads / shape.num_kv_heads;
  const RotaryJob job{Source{place.qkv, kFloat32, size_t(r.qkv_heads()) * shape.head_dim},
                      shape.num_heads, shape.num_kv_heads, shape.head_dim, shape.half,
                      layer.q_norm, layer.k_norm, shape.eps, r.buffers->cos, r.buffers->sin};
  const size_t element = at.cache.dtype == kFloat32 ? 4 : 2;
  const auto rotate_one = [&](int64_t token, int head) {
    char* query = reinterpret_cast<char*>(place.query) +
                  (token * r.query_size() + size_t(head) * group * shape.head_dim) * element;
    rotate_heads(job, token, head * group, group, job.q_norm, query, at.cache.dtype);
    char* key = at.cache.key(at.step->slots[token]) + head * at.cache.head_bytes();
    rotate_heads(job, token, shape.num_heads + head, 1, job.k_norm, key, at.cache.dtype);
    const float* value = place.qkv + token * job.qkv.stride +
                         size_t(shape.num_heads + shape.num_kv_heads + head) * shape.head_dim;
    kernels().convert(value, kFloat32, key + at.cache.to_values, at.cache.dtype, shape.head_dim);
  };
  const int64_t heads = r.tokens() * shape.num_kv_heads;
  Pieces pieces(team, heads, (heads + team.size - 1) / team.size, r.reach());
  for (int64_t begin, end; pieces.next(&begin, &end);) {
    for (; begin < end; ++begin) {
      rotate_one(begin / shape.num_kv_heads, int(begin % shape.num_kv_heads));
    }
  }
}

void attend_layer(const Running& r, const Team& team, const LayerStep& at, const Place& place) {
  const Shape& shape = r.shape();
  const Tensor3 query{place.query, at.cache.dtype, r.query_size()};
  const Tensor3 out{place.attended, kFloat32, r.query_size()};
  attend(team, *at.step, at.cache, Heads{shape.num_heads, shape.scale, shape.softcap, nullptr},
         query, out, &r.buffers->attention, r.reach());
}

NormJob norm_of(const Running& r, const Source& x, const float* in, float* out,
                const float* weight) {
  return NormJob{x, in, out, weight, r.shape().eps, r.shape().hidden, Target{}};
}

void run_layer(const Running& r, const Team& team, int index) {
  const Layer& layer = r.decoder.layers[index];
  const LayerStep& at = r.run.layers[index];
  const Place &place = r.place(index), &next = r.place(index + 1);
  const Shape& shape = r.shape();
  const auto branch = [&](int i) { return Source{place.branch[i], kFloat32, size_t(shape.hidden)}; };
  norm_and_multiply(
      r, team, norm_of(r, branch(0), place.residual[0], place.residual[1], layer.input_norm),
      product(r, team, index, 0, layer.qkv, place.qkv));
  rotate(r, team, layer, at, place);
  attend_layer(r, team, at, place);
  const Source attended{place.attended, kFloat32, r.query_size()};
  make_and_multiply(team, product(r, team, index, 1, layer.output, place.branch[1]), r.reach(),
                    [&](int64_t, bool) { return attended; });
  norm_and_multiply(
      r, team, norm_of(r, branch(1), place.residual[1], next.residual[0], layer.post_norm),
      product(r, team, index, 2, layer.gate_up, place.gate_up));
  const Source gate_up{place.gate_up, kFloat32, 2 * size_t(shape.inner)};
  float* inner = r.buffers->inner + size_t(team.id) * shape.inner;
  make_and_multiply(team, product(r, team, index, 3, layer.down, next.branch[0]), r.reach(),
                    [&](int64_t row, bool) {
                      kernels().silu_mul(gate_up, row, shape.inner, Target{inner, kFloat32, 0});
                      return Source{inner, kFloat32, 0};
                    });
}

size_t element(int dtype) { return dtype == kFloat32 ? 4 : 2; }

void make_turns(const Running& r, int64_t row) {
  const Turns& turns = r.run.turns;
  const int64_t half = r.shape().half;
  for (int64_t i = 0; i < half; ++i) {
    const float angle = float(turns.positions[row]) * turns.frequencies[i];
    r.buffers->cos[row * half + i] = std::cos(angle) * turns.scale;
    r.buffers->sin[row * half + i] = std::sin(angle) * turns.scale;
  }
}

template <class Function>
void for_tokens(const Running& r, const Team& team, const Function& function) {
  Pieces pieces(team, r.tokens(), (r.tokens() + team.size - 1) / team.size);
  for (int64_t row, end; pieces.next(&row, &end);) {
    for (; row < end; ++row) function(row);
  }
}

// The stream enters as residual and branch in float32, whatever it was.
void enter(const Running& r, const Team& team) {
  const size_t hidden = r.shape().hidden, bytes = hidden * element(r.run.x.dtype);
  const Place& place = r.place(0);
  for_tokens(r, team, [&](int64_t row) {
    if (!r.run.turns.cos) make_turns(r, row);
    const size_t from = r.run.x.ids ? size_t(r.run.x.ids[row]) : size_t(row);
    kernels().convert(static_cast<const char*>(r.run.x.data) + from * bytes, r.run.x.dtype,
                      place.branch[0] + row * hidden, kFloat32, int64_t(hidden));
    float* residual = place.residual[0] + row * hidden;
    if (r.run.residual) {
      kernels().convert(static_cast<const char*>(r.run.residual) + row * bytes, r.run.x.dtype,
                        residual, kFloat32, int64_t(hidden));
    } else {
      std::fill(residual, residual + hidden, 0.0f);
    }
  });
}

void leave(const Running& r, const Team& team) {
  const size_t hidden = r.shape().hidden, bytes = hidden * element(r.run.x.dtype);
  const Place& place = r.place(r.decoder.num_layers);
  const Source branch{place.branch[0], kFloat32, hidden};
  NormJob norm = norm_of(r, branch, place.residual[0], nullptr, r.decoder.final_norm);
  norm.y = Target{r.run.out, r.run.x.dtype, hidden};
  for_tokens(r, team, [&](int64_t row) {
    if (r.decoder.final_norm) return kernels().norm_row(norm, row);
    kernels().convert(place.branch[0] + row * hidden, kFloat32,
                      static_cast<char*>(r.run.out) + row * bytes, r.run.x.dtype, int64_t(hidden));
    kernels().convert(place.residual[0] + row * hidden, kFloat32,
                      static_cast<char*>(r.run.residual_out) + row * bytes, r.run.x.dtype,
                      int64_t(hidden));
  });
}

// The buffers of a place from `base` on; how many floats they are.
size_t lay_out(const Running& r, float* base, Place* place) {
  const size_t tokens = size_t(r.tokens()), hidden = tokens * r.shape().hidden;
  const size_t query = tokens * r.query_size();
  size_t used = 0;
  const auto take = [&](size_t count) {
    float* at = base ? base + used : nullptr;
    used += round_up(count, 32);
    return at;
  };
  *place = {{take(hidden), take(hidden)}, {take(hidden), take(hidden)},
            take(tokens * r.qkv_heads() * r.shape().head_dim), take(query),
            take(2 * tokens * r.shape().inner), reinterpret_cast<uint16_t*>(take(query))};
  return used;
}

void want_buffers(const Running& r, Workspace* workspace) {
  Buffers& b = *r.buffers;
  const size_t tokens = size_t(r.tokens()), members = size_t(num_threads());
  const int copies = r.places() > 1 ? 4 * r.places() : 1;
  for (int i = 0; i < r.decoder.num_layers; ++i) {
    const Layer& layer = r.decoder.layers[i];
    for (const Linear* linear : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down}) {
      b.x.fit(linear->weight.layout, r.tokens(), copies);
    }
    const LayerStep& at = r.run.layers[i];
    if (i == 0 || at.step != r.run.layers[i - 1].step) {
      b.attention.fit(*at.step, at.cache, r.shape().num_heads);
    }
  }
  b.x.want(workspace);
  workspace->want(&b.base, r.places() * lay_out(r, nullptr, &b.places[0]));
  workspace->want(&b.normed, members * r.shape().hidden);
  workspace->want(&b.inner, members * r.shape().inner);
  b.attention.want(workspace);
  if (r.run.turns.cos) return;
  workspace->want(&b.cos, tokens * r.shape().half);
  workspace->want(&b.sin, tokens * r.shape().half);
}

Status check_run(const Decoder& decoder, const DecoderRun& run) {
  const Shape& shape = decoder.shape;
  if (!decoder.final_norm && !run.residual_out) {
    return fail(kBadArgument, "without a final norm the residual must have a place to go");
  }
  for (int64_t i = 0; run.x.ids && i < run.num_tokens; ++i) {
    if (run.x.ids[i] < 0 || run.x.ids[i] >= run.x.vocabulary) {
      return fail(kBadArgument, "token %" PRId64 " of a table of %" PRId64, run.x.ids[i],
                  run.x.vocabulary);
    }
  }
  const Step* checked = nullptr;
  for (int i = 0; i < decoder.num_layers; ++i) {
    const LayerStep& at = run.layers[i];
    if (at.step->num_tokens != run.num_tokens || !at.step->slots) {
      return fail(kBadArgument, "layer %d: its step has other tokens, or no slots", i);
    }
    if (at.cache.num_kv_heads != shape.num_kv_heads || at.cache.head_dim != shape.head_dim) {
      return fail(kBadArgument, "layer %d: the cache has another shape", i);
    }
    const bool same = i > 0 && at.step == checked && at.cache.data &&
                      at.cache.num_blocks == run.layers[i - 1].cache.num_blocks &&
                      at.cache.block_size == run.layers[i - 1].cache.block_size &&
                      at.cache.dtype == run.layers[i - 1].cache.dtype;
    if (same) continue;
    if (Status status = check_step(*at.step, at.cache, shape.num_heads)) return status;
    checked = at.step;
  }
  return kOk;
}

}  // namespace

Status check_decoder(const Decoder& decoder) {
  const Shape& s = decoder.shape;
  if (s.hidden < 1 || s.inner < 1 || s.num_kv_heads < 1 || s.num_heads % s.num_kv_heads ||
      s.num_heads < 1 || s.head_dim < 1 || s.half < 0 || 2 * s.half > s.head_dim ||
      decoder.num_layers < 1) {
    return fail(kBadArgument, "sizes of a decoder that do not go together");
  }
  const int64_t query = int64_t(s.num_heads) * s.head_dim;
  const int64_t qkv = query + int64_t(2) * s.num_kv_heads * s.head_dim;
  for (int i = 0; i < decoder.num_layers; ++i) {
    const Layer& layer = decoder.layers[i];
    Status status = check_linear(layer.qkv, qkv, s.hidden, i, "qkv");
    if (!status) status = check_linear(layer.output, s.hidden, query, i, "output");
    if (!status) status = check_linear(layer.gate_up, int64_t(2) * s.inner, s.hidden, i, "gate_up");
    if (!status) status = check_linear(layer.down, s.hidden, s.inner, i, "down");
    if (status) return status;
    if (!layer.input_norm || !layer.post_norm || !layer.q_norm != !layer.k_norm) {
      return fail(kBadArgument, "layer %d: a norm is missing", i);
    }
  }
  return kOk;
}

Status run_decoder(const Decoder& decoder, const DecoderRun& run) {
  if (run.num_tokens < 1) return fail(kBadArgument, "a step has at least one token");
  if (Status status = check_run(decoder, run)) return status;
  PoolLock lock;
  Buffers buffers{};
  buffers.cos = const_cast<float*>(run.turns.cos);
  buffers.sin = const_cast<float*>(run.turns.sin);
  const Running running{decoder, run, &buffers};
  Workspace workspace;
  want_buffers(running, &workspace);
  if (Status status = workspace.place()) return status;
  for (int i = 0; i < running.places(); ++i) {
    buffers.base += lay_out(running, buffers.base, &buffers.places[i]);
  }
  return parallel([&](const Team& team) {
    enter(running, team);
    for (int i = 0; i < decoder.num_layers; ++i) run_layer(running, team, i);
    leave(running, team);
  });
}

}  // namespace uc
