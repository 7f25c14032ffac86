// Products with packed weights, spread over a team.
#pragma once

#include "dispatch.h"
#include "pieces.h"
#include "workspace.h"

namespace uc {

// Rows up to which a step is so short that a thread without a processor would hold it up: every job
// has places of its own for a while, so that others can do its piece (pieces.h).
constexpr int64_t kFewRows = 16;

// Room for the activations of any of some products, one after the other.
class XBuffer {
 public:
  void fit(const Layout& layout, int64_t rows, int copies = 1);
  void want(Workspace* workspace);
  // Where `team` lays out x of `layout`: of several rows the `copy`-th such place. One row: every
  // member has its own.
  TiledX open(const Layout& layout, int64_t rows, const Team& team, int copy = 0) const;
  // `rows` of the rows that were fit, from `first` on: each such range is an x of its own.
  TiledX part(const Layout& layout, size_t first, int64_t rows) const;

 private:
  size_t rows_ = 0, row_words_ = 0, row_scales_ = 0, row_sums_ = 0;
  uint32_t* steps_ = nullptr;
  float* scales_ = nullptr;
  int32_t* sums_ = nullptr;
};

// Panels that a member takes at once: many enough that handing them out costs nothing, so few that no
// member waits long for another.
int64_t panels_in_piece(const Layout& layout, int64_t rows);

// Calls make_row(row, first) -> Source for each row, and lays it out. A single row is made by every member
// that multiplies, and `first` is true for at least one that does; else always.
template <class MakeRow>
void prepare_x(const Team& team, const Layout& layout, const TiledX& tiled, int reach,
               const MakeRow& make_row) {
  const auto tile = is_integer(layout.format) ? kernels().tile_ints : kernels().tile_floats;
  Pieces pieces(team, tiled.rows, 1 + tiled.rows / (16 * team.size), reach);
  for (int64_t row, end; pieces.next(&row, &end);) {
    for (; row < end; ++row) tile(make_row(row, true), row, layout, tiled);
  }
}

// y = x W^T + bias with the rows that make_row makes; `reach` as of Pieces.
template <class MakeRow>
void make_and_multiply(const Team& team, const MatmulJob& job, int reach, const MakeRow& make_row) {
  const Layout& layout = job.weight->layout;
  const auto tile = is_integer(layout.format) ? kernels().tile_ints : kernels().tile_floats;
  bool made = job.x.rows > 1;
  if (made) prepare_x(team, layout, job.x, reach, make_row);
  Pieces pieces(team, layout.panels, panels_in_piece(layout, job.x.rows), reach);
  for (int64_t begin, end; pieces.next(&begin, &end);) {
    if (!made || (begin == 0 && job.x.rows == 1)) {
      tile(make_row(0, begin == 0), 0, layout, job.x);
      made = true;
    }
    kernels().matmul(job, begin, end);
  }
}

// y [rows, N] = x [rows, K] W^T + bias.
Status linear(const Weight& weight, const Source& x, int64_t rows, const float* bias,
              const Target& y);

struct MlpWeights {
  const Weight* gate_up;
  const Weight* down;
  const float* gate_up_bias;
  const float* down_bias;
};
// y = down(silu(gate x) * up x).
Status mlp(const MlpWeights& weights, const Source& x, int64_t rows, const Target& y);

}  // namespace uc
