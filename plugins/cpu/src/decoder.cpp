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

constexpr int kProducts = 4;  // Of a layer.
// What a member adds adapters to at once.
constexpr int64_t kAdaptedTokens = 16, kAdaptedRows = 256;

// What a layer reads and writes.
struct Place {
  float *residual[2], *branch[2], *qkv, *attended, *gate_up;
  uint16_t* query;
  // With adapters: products without them, and inputs in few dimensions.
  float *raw[kProducts], *low[kProducts];
};

// Shared by all members, but `normed` and `inner`, of which each has a row.
struct Buffers {
  XBuffer x;
  float *cos, *sin, *normed, *inner, *base;
  size_t low_size;  // Of a token's input in few dimensions.
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
  // The adapters of a product, by number; null where none has it.
  const LowRank* low_ranks(int layer, int which) const {
    if (!run.adapters) return nullptr;
    const int count = run.adapters->num_adapters;
    const LowRank* found = run.adapters->low_ranks + (size_t(layer) * kProducts + which) * count;
    for (int i = 0; i < count; ++i) {
      if (found[i].down) return found;
    }
    return nullptr;
  }
  int64_t product_rows(int which) const {
    if (which == 0) return int64_t(qkv_heads()) * shape().head_dim;
    return which == 2 ? 2 * int64_t(shape().inner) : shape().hidden;
  }
};

// One of the four products of a layer.
MatmulJob product(const Running& r, const Team& team, int layer, int which, const Linear& linear,
                  float* y) {
  const Layout& layout = linear.weight.layout;
  const int copy = r.places() > 1 ? 4 * (layer % r.places()) + which : 0;
  return {&linear.weight, r.buffers->x.open(layout, r.tokens(), team, copy), linear.bias,
          Target{y, kFloat32, size_t(layout.rows)}};
}

// y = raw, and what adapters add. Only that is ever written to y: a piece may be done twice.
void go_up(const Running& r, const Team& team, const LowRank* low_ranks, const float* inner,
           const float* raw, int64_t size, float* y) {
  const int64_t parts = (size + kAdaptedRows - 1) / kAdaptedRows;
  const int64_t blocks = (r.tokens() + kAdaptedTokens - 1) / kAdaptedTokens;
  Pieces pieces(team, parts * blocks, 1, r.reach());
  for (int64_t item, end; pieces.next(&item, &end);) {
    for (; item < end; ++item) {
      const int64_t begin = item % parts * kAdaptedRows;
      const int64_t stop = std::min(begin + kAdaptedRows, size);
      const int64_t first = item / parts * kAdaptedTokens;
      for (int64_t row = first; row < std::min(first + kAdaptedTokens, r.tokens()); ++row) {
        float sum[kAdaptedRows];
        std::copy(raw + row * size + begin, raw + row * size + stop, sum);
        const int adapter = r.run.adapters->of_tokens[row];
        const LowRank* low = adapter < 0 ? nullptr : low_ranks + adapter;
        for (int i = 0; low && low->down && i < low->num_parts; ++i) {
          kernels().low_rank_up(low->parts[i], low->dtype, inner + row * r.buffers->low_size,
                                begin, stop, sum);
        }
        std::copy(sum, sum + (stop - begin), y + row * size + begin);
      }
    }
  }
}

// A product of the rows that make_row makes, and what adapters add to it.
template <class MakeRow>
void multiply(const Running& r, const Team& team, int layer, int which, const Linear& linear,
              float* y, const MakeRow& make_row) {
  const LowRank* low_ranks = r.low_ranks(layer, which);
  if (!low_ranks) {
    make_and_multiply(team, product(r, team, layer, which, linear, y), r.reach(), make_row);
    return;
  }
  float *raw = r.place(layer).raw[which], *low = r.place(layer).low[which];
  const MatmulJob job = product(r, team, layer, which, linear, raw);
  make_and_multiply(team, job, r.reach(), [&](int64_t row, bool first) {
    const Source x = make_row(row, first);
    const int adapter = r.run.adapters->of_tokens[row];
    if (adapter >= 0 && low_ranks[adapter].down) {
      kernels().low_rank_down(low_ranks[adapter], static_cast<const float*>(x.data) + row * x.stride,
                              low + row * r.buffers->low_size);
    }
    return x;
  });
  go_up(r, team, low_ranks, low, raw, r.product_rows(which), y);
}

// norm(residual + x), the sum to another residual, times the weight.
void norm_and_multiply(const Running& r, const Team& team, const NormJob& norm, int layer,
                       int which, const Linear& linear, float* y) {
  float* own = r.buffers->normed + size_t(team.id) * norm.size;
  multiply(r, team, layer, which, linear, y, [&](int64_t row, bool first) {
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
      index, 0, layer.qkv, place.qkv);
  rotate(r, team, layer, at, place);
  attend_layer(r, team, at, place);
  const Source attended{place.attended, kFloat32, r.query_size()};
  multiply(r, team, index, 1, layer.output, place.branch[1],
           [&](int64_t, bool) { return attended; });
  norm_and_multiply(
      r, team, norm_of(r, branch(1), place.residual[1], next.residual[0], layer.post_norm),
      index, 2, layer.gate_up, place.gate_up);
  const Source gate_up{place.gate_up, kFloat32, 2 * size_t(shape.inner)};
  float* inner = r.buffers->inner + size_t(team.id) * shape.inner;
  multiply(r, team, index, 3, layer.down, next.branch[0], [&](int64_t row, bool) {
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
            take(2 * tokens * r.shape().inner), reinterpret_cast<uint16_t*>(take(query)), {}, {}};
  for (int i = 0; r.run.adapters && i < kProducts; ++i) {
    place->raw[i] = take(tokens * size_t(r.product_rows(i)));
    place->low[i] = take(tokens * r.buffers->low_size);
  }
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

Status check_adapters(const Decoder& decoder, const DecoderRun& run, size_t* low_size) {
  *low_size = 0;
  if (!run.adapters) return kOk;
  const Adapters& adapters = *run.adapters;
  for (int64_t i = 0; i < run.num_tokens; ++i) {
    if (adapters.of_tokens[i] < -1 || adapters.of_tokens[i] >= adapters.num_adapters) {
      return fail(kBadArgument, "token %" PRId64 " has an adapter that is not there", i);
    }
  }
  for (int i = 0; i < decoder.num_layers * kProducts; ++i) {
    const Layer& layer = decoder.layers[i / kProducts];
    const Linear* linears[kProducts] = {&layer.qkv, &layer.output, &layer.gate_up, &layer.down};
    const Layout& layout = linears[i % kProducts]->weight.layout;
    for (int j = 0; j < adapters.num_adapters; ++j) {
      const LowRank& low = adapters.low_ranks[size_t(i) * adapters.num_adapters + j];
      if (!low.down) continue;
      bool good = low.cols == layout.cols && low.rank > 0 && low.rank % 16 == 0 &&
                  (low.dtype == kBfloat16 || low.dtype == kFloat32);
      for (int k = 0; good && k < low.num_parts; ++k) {
        const LowRankPart& part = low.parts[k];
        good = part.first_row >= 0 && part.num_rows > 0 && part.up && part.rank > 0 &&
               part.first_row % 16 == 0 && part.num_rows % 16 == 0 &&
               part.first_row + part.num_rows < layout.rows + 16 && part.offset >= 0 &&
               part.offset + part.rank <= low.rank;
      }
      if (!good) return fail(kBadArgument, "layer %d: an adapter does not fit", i / kProducts);
      *low_size = std::max(*low_size, size_t(low.rank));
    }
  }
  return kOk;
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
  if (Status status = check_adapters(decoder, run, &buffers.low_size)) return status;
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
