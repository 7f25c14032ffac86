#include "experts.h"

#include <algorithm>
#include <cstring>

#include "matmul.h"

namespace uc {
namespace {

constexpr int64_t kPairsAtOnce = 256;  // A pair is a token with one of its experts.
constexpr int64_t kColumnsAtOnce = 512;
constexpr int kReach = 3;  // Of Pieces: what the products of a span read and write the next one uses again.

// Pairs in the order of their experts, then of their tokens.
struct SortedPairs {
  int64_t* starts;   // [num_experts + 1], into `pairs`.
  int64_t* pairs;    // [tokens * chosen]: token * chosen + which of its experts.
  int64_t* experts;  // [tokens * chosen].
  int64_t* places;   // [tokens, chosen]: where a token's pairs are, ascending.

  void want(const ExpertsJob& job, Workspace* workspace) {
    const size_t count = size_t(job.tokens) * job.chosen;
    workspace->want(&starts, size_t(job.num_experts) + 1);
    workspace->want(&pairs, count);
    workspace->want(&experts, count);
    workspace->want(&places, count);
    workspace->want(&found_, size_t(std::max(job.tokens, job.num_experts)));
  }

  void sort(const ExpertsJob& job) {
    const int64_t count = job.tokens * job.chosen;
    std::memset(starts, 0, sizeof(int64_t) * (job.num_experts + 1));
    for (int64_t pair = 0; pair < count; ++pair) ++starts[job.ids[pair] + 1];
    for (int64_t e = 0; e < job.num_experts; ++e) starts[e + 1] += starts[e];
    std::memset(found_, 0, sizeof(int64_t) * job.num_experts);
    for (int64_t pair = 0; pair < count; ++pair) {
      const int64_t expert = job.ids[pair], place = starts[expert] + found_[expert]++;
      pairs[place] = pair;
      experts[place] = expert;
    }
    std::memset(found_, 0, sizeof(int64_t) * job.tokens);
    for (int64_t place = 0; place < count; ++place) {
      const int64_t token = pairs[place] / job.chosen;
      places[token * job.chosen + found_[token]++] = place;
    }
  }

 private:
  int64_t* found_;
};

// Pairs [begin, end) of whole experts, which are computed together.
struct Span {
  int64_t begin, end;
  int64_t length() const { return end - begin; }
};

class Run {
 public:
  explicit Run(const ExpertsJob& job) : job_(job) {}

  Status run() {
    const Layout &wide = any().gate_up.layout, &narrow = any().down.layout;
    PoolLock lock;
    Workspace workspace;
    sorted_.want(job_, &workspace);
    const int64_t pairs = job_.tokens * job_.chosen;
    const int64_t most = std::min(pairs, std::max(job_.tokens, kPairsAtOnce));
    for (int64_t e = 0; e < job_.num_experts; ++e) {
      if (!job_.experts[e].gate_up.panels) continue;
      x_[0].fit(job_.experts[e].gate_up.layout, most);
      x_[1].fit(job_.experts[e].down.layout, most);
    }
    for (XBuffer& x : x_) x.want(&workspace);
    workspace.want(&gate_up_, size_t(most) * wide.rows);
    workspace.want(&inner_, size_t(most) * narrow.cols);
    workspace.want(&outputs_, size_t(most) * narrow.rows);
    workspace.want(&totals_, size_t(job_.tokens) * narrow.rows);
    if (Status status = workspace.place()) return status;
    sorted_.sort(job_);
    return parallel([&](const Team& team) { member(team); });
  }

 private:
  const ExpertWeights& any() const { return job_.experts[job_.ids[0]]; }

  void member(const Team& team) const {
    const int64_t pairs = job_.tokens * job_.chosen;
    for (Span span{0, 0}; span.end < pairs;) {
      span = next(span);
      compute(team, span);
      add_up(team, span, span.end == pairs);
    }
  }

  // As many experts behind `before` as have few enough pairs, at least one.
  Span next(const Span& before) const {
    Span span{before.end, before.end};
    const int64_t pairs = job_.tokens * job_.chosen;
    while (span.end < pairs) {
      const int64_t end = sorted_.starts[sorted_.experts[span.end] + 1];
      if (span.end > span.begin && end - span.begin > kPairsAtOnce) break;
      span.end = end;
    }
    return span;
  }

  void compute(const Team& team, const Span& span) const {
    const size_t element = job_.x.dtype == kFloat32 ? 4 : 2;
    prepare(team, span, 0, [&](int64_t place) {
      const size_t token = size_t(sorted_.pairs[place] / job_.chosen);
      const char* row = static_cast<const char*>(job_.x.data) + token * job_.x.stride * element;
      return Source{row, job_.x.dtype, 0};
    });
    multiply(team, span, 0, gate_up_);
    const int64_t inner_size = any().down.layout.cols;
    prepare(team, span, 1, [&](int64_t place) {
      const int64_t row = place - span.begin;
      float* inner = inner_ + row * inner_size;
      const Source both{gate_up_ + row * 2 * inner_size, kFloat32, 0};
      kernels().silu_mul(both, 0, inner_size, Target{inner, kFloat32, 0});
      return Source{inner, kFloat32, 0};
    });
    multiply(team, span, 1, outputs_);
  }

  // Of an expert the first weight or the second.
  const Weight& weight(int which, int64_t expert) const {
    return which ? job_.experts[expert].down : job_.experts[expert].gate_up;
  }

  // Rows of an expert within a span, laid out.
  TiledX tiled(const Span& span, int which, int64_t expert) const {
    const int64_t start = sorted_.starts[expert];
    return x_[which].part(weight(which, expert).layout, size_t(start - span.begin),
                          sorted_.starts[expert + 1] - start);
  }

  template <class MakeRow>
  void prepare(const Team& team, const Span& span, int which,
               const MakeRow& make_row) const {
    Pieces pieces(team, span.length(), 1 + span.length() / (16 * team.size), kReach);
    for (int64_t begin, end; pieces.next(&begin, &end);) {
      for (int64_t place = span.begin + begin; place < span.begin + end; ++place) {
        const int64_t expert = sorted_.experts[place];
        const Layout& layout = weight(which, expert).layout;
        const auto tile =
            is_integer(layout.format) ? kernels().tile_ints : kernels().tile_floats;
        tile(make_row(place), place - sorted_.starts[expert], layout,
             tiled(span, which, expert));
      }
    }
  }

  // All panels of all experts of a span.
  void multiply(const Team& team, const Span& span, int which,
                float* out) const {
    const Layout& layout = weight(which, sorted_.experts[span.begin]).layout;
    int64_t num_experts = 0;
    for (int64_t at = span.begin; at < span.end; ++num_experts) at = behind(at);
    const int64_t rows = (span.length() + num_experts - 1) / num_experts;
    Pieces pieces(team, num_experts * layout.panels, panels_in_piece(layout, rows), kReach);
    int64_t at = span.begin, first_panel = 0;  // Of one of the experts.
    for (int64_t begin, end; pieces.next(&begin, &end);) {
      if (begin < first_panel) at = span.begin, first_panel = 0;
      while (begin < end) {
        for (; begin >= first_panel + layout.panels; first_panel += layout.panels) at = behind(at);
        const int64_t expert = sorted_.experts[at];
        const int64_t stop = std::min(end, first_panel + layout.panels);
        float* rows_out = out + size_t(at - span.begin) * layout.rows;
        const MatmulJob job{&weight(which, expert), tiled(span, which, expert), nullptr,
                            Target{rows_out, kFloat32, size_t(layout.rows)}};
        kernels().matmul(job, begin - first_panel, stop - first_panel);
        begin = stop;
      }
    }
  }

  // The first pair of the expert behind that of the pair at `place`.
  int64_t behind(int64_t place) const { return sorted_.starts[sorted_.experts[place] + 1]; }

  // Each token's sum goes on with its pairs of a span, in their order.
  void add_up(const Team& team, const Span& span, bool last) const {
    const int64_t size = any().down.layout.rows;
    const int64_t blocks = (size + kColumnsAtOnce - 1) / kColumnsAtOnce;
    Pieces pieces(team, job_.tokens * blocks, 1 + job_.tokens * blocks / (16 * team.size));
    for (int64_t begin, end; pieces.next(&begin, &end);) {
      for (; begin < end; ++begin) {
        const int64_t token = begin / blocks, column = begin % blocks * kColumnsAtOnce;
        add_up_block(span, token, column, std::min(kColumnsAtOnce, size - column), last);
      }
    }
  }

  void add_up_block(const Span& span, int64_t token, int64_t column, int64_t count,
                    bool last) const {
    const size_t size = size_t(any().down.layout.rows);
    float* total = totals_ + size_t(token) * size + column;
    if (span.begin == 0) std::fill(total, total + count, 0.0f);
    for (int64_t i = 0; i < job_.chosen; ++i) {
      const int64_t place = sorted_.places[token * job_.chosen + i];
      if (place < span.begin || place >= span.end) continue;
      const float weight = job_.weights[sorted_.pairs[place]];
      const float* output = outputs_ + size_t(place - span.begin) * size + column;
      for (int64_t n = 0; n < count; ++n) total[n] += weight * output[n];
    }
    if (!last) return;
    const size_t at = size_t(token) * job_.y.stride + column;
    char* to = static_cast<char*>(job_.y.data) + at * (job_.y.dtype == kFloat32 ? 4 : 2);
    kernels().convert(total, kFloat32, to, job_.y.dtype, count);
  }

  const ExpertsJob& job_;
  SortedPairs sorted_{};
  XBuffer x_[2];  // Of the first products and of the second.
  float *gate_up_ = nullptr, *inner_ = nullptr, *outputs_ = nullptr, *totals_ = nullptr;
};

}  // namespace

Status run_experts(const ExpertsJob& job) { return Run(job).run(); }

}  // namespace uc
