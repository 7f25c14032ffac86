#include "matmul.h"

#include <algorithm>

namespace uc {

// With few rows of x the time is the weights', else the products'.
int64_t panels_in_piece(const Layout& layout, int64_t rows) {
  constexpr size_t kBytes = 128 << 10;
  const int64_t fitting = int64_t(kBytes / (layout.panel_bytes * size_t(rows)));
  return std::max<int64_t>(rows <= 8 ? 2 : 1, fitting);
}

void XBuffer::fit(const Layout& layout, int64_t rows) {
  rows_ = std::max(rows_, rows == 1 ? size_t(num_threads()) : size_t(rows));
  row_words_ = std::max(row_words_, size_t(layout.padded_cols));
  if (is_integer(layout.format)) {
    row_scales_ = std::max(row_scales_, round_up(layout.x_groups(), 16));
    row_sums_ = std::max(row_sums_, round_up(layout.sums() * sums_a_group(layout.format), 16));
  }
}

void XBuffer::want(Workspace* workspace) {
  workspace->want(&steps_, rows_ * row_words_);
  workspace->want(&scales_, rows_ * row_scales_);
  workspace->want(&sums_, rows_ * row_sums_);
}

TiledX XBuffer::open(const Layout& layout, int64_t rows, const Team& team) const {
  return part(layout, rows == 1 ? size_t(team.id) : 0, rows);
}

TiledX XBuffer::part(const Layout& layout, size_t first, int64_t rows) const {
  return {rows, is_integer(layout.format) ? kernels().int_tile_rows : kernels().float_tile_rows,
          steps_ + first * row_words_, scales_ + first * row_scales_, sums_ + first * row_sums_};
}

void multiply(const Team& team, const Weight& weight, const TiledX& x, const float* bias,
              const Target& y) {
  const MatmulJob job{&weight, x, bias, y};
  Pieces pieces(team, weight.layout.panels, panels_in_piece(weight.layout, x.rows));
  for (int64_t begin, end; pieces.next(&begin, &end);) kernels().matmul(job, begin, end);
}

Status linear(const Weight& weight, const Source& x, int64_t rows, const float* bias,
              const Target& y) {
  PoolLock lock;
  XBuffer buffer;
  buffer.fit(weight.layout, rows);
  Workspace workspace;
  buffer.want(&workspace);
  if (Status status = workspace.place()) return status;
  return parallel([&](const Team& team) {
    const TiledX tiled = buffer.open(weight.layout, rows, team);
    prepare_x(team, weight.layout, tiled, [&](int64_t) { return x; });
    multiply(team, weight, tiled, bias, y);
  });
}

Status mlp(const MlpWeights& weights, const Source& x, int64_t rows, const Target& y) {
  const Layout& wide = weights.gate_up->layout;
  const Layout& narrow = weights.down->layout;
  PoolLock lock;
  XBuffer buffer;
  buffer.fit(wide, rows);
  buffer.fit(narrow, rows);
  float *gate_up = nullptr, *inner = nullptr;
  const size_t inner_rows = std::max<size_t>(rows, num_threads());
  Workspace workspace;
  buffer.want(&workspace);
  workspace.want(&gate_up, size_t(rows) * wide.rows);
  workspace.want(&inner, inner_rows * narrow.cols);
  if (Status status = workspace.place()) return status;
  return parallel([&](const Team& team) {
    TiledX tiled = buffer.open(wide, rows, team);
    prepare_x(team, wide, tiled, [&](int64_t) { return x; });
    multiply(team, *weights.gate_up, tiled, weights.gate_up_bias,
             Target{gate_up, kFloat32, size_t(wide.rows)});
    team.barrier();
    const Source source{gate_up, kFloat32, size_t(wide.rows)};
    float* own = inner + (rows == 1 ? size_t(team.id) * narrow.cols : 0);
    tiled = buffer.open(narrow, rows, team);
    prepare_x(team, narrow, tiled, [&](int64_t row) {
      kernels().silu_mul(source, row, narrow.cols, Target{own, kFloat32, size_t(narrow.cols)});
      return Source{own, kFloat32, size_t(narrow.cols)};
    });
    multiply(team, *weights.down, tiled, weights.down_bias, y);
  });
}

}  // namespace uc
