#include "matmul.h"

#include <algorithm>

namespace uc {

// With few rows of x the time is the weights', else the products'.
int64_t panels_in_piece(const Layout& layout, int64_t rows) {
  constexpr size_t kBytes = 128 << 10;
  const int64_t fitting = int64_t(kBytes / (layout.panel_bytes * size_t(rows)));
  return std::max<int64_t>(rows <= 8 ? 2 : 1, fitting);
}

void XBuffer::fit(const Layout& layout, int64_t rows, int copies) {
  rows_ = std::max(rows_, rows == 1 ? size_t(num_threads()) : size_t(rows) * copies);
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

TiledX XBuffer::open(const Layout& layout, int64_t rows, const Team& team, int copy) const {
  return part(layout, rows == 1 ? size_t(team.id) : size_t(rows) * copy, rows);
}

TiledX XBuffer::part(const Layout& layout, size_t first, int64_t rows) const {
  return {rows, kernels().tile_rows(layout.format, rows),
          steps_ + first * row_words_, scales_ + first * row_scales_, sums_ + first * row_sums_};
}

namespace {

// More jobs than a call has, where no place is used twice.
constexpr int kWholeCall = 8;

}  // namespace

Status linear(const Weight& weight, const Source& x, int64_t rows, const float* bias,
              const Target& y) {
  PoolLock lock;
  XBuffer buffer;
  buffer.fit(weight.layout, rows);
  Workspace workspace;
  buffer.want(&workspace);
  if (Status status = workspace.place()) return status;
  return parallel([&](const Team& team) {
    const MatmulJob job{&weight, buffer.open(weight.layout, rows, team), bias, y};
    make_and_multiply(team, job, kWholeCall, [&](int64_t, bool) { return x; });
  });
}

Status mlp(const MlpWeights& weights, const Source& x, int64_t rows, const Target& y) {
  const Layout& wide = weights.gate_up->layout;
  const Layout& narrow = weights.down->layout;
  PoolLock lock;
  XBuffer buffer;
  const int copies = rows <= kFewRows ? 2 : 1, reach = copies > 1 ? kWholeCall : 0;
  buffer.fit(wide, rows, copies);
  buffer.fit(narrow, rows, copies);
  float *gate_up = nullptr, *inner = nullptr;
  Workspace workspace;
  buffer.want(&workspace);
  workspace.want(&gate_up, size_t(rows) * wide.rows);
  workspace.want(&inner, size_t(num_threads()) * narrow.cols);
  if (Status status = workspace.place()) return status;
  return parallel([&](const Team& team) {
    const Target between{gate_up, kFloat32, size_t(wide.rows)};
    const MatmulJob first{weights.gate_up, buffer.open(wide, rows, team), weights.gate_up_bias,
                          between};
    make_and_multiply(team, first, reach, [&](int64_t, bool) { return x; });
    float* own = inner + size_t(team.id) * narrow.cols;
    const MatmulJob second{weights.down, buffer.open(narrow, rows, team, copies - 1), weights.down_bias, y};
    make_and_multiply(team, second, reach, [&](int64_t row, bool) {
      kernels().silu_mul(Source{gate_up, kFloat32, between.stride}, row, narrow.cols,
                         Target{own, kFloat32, 0});
      return Source{own, kFloat32, 0};
    });
  });
}

}  // namespace uc
