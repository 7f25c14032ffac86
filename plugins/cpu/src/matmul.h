// Products with packed weights, spread over a team.
#pragma once

#include "dispatch.h"
#include "pool.h"
#include "workspace.h"

namespace uc {

// Room for the activations of any of some products, one after the other.
class XBuffer {
 public:
  void fit(const Layout& layout, int64_t rows);
  void want(Workspace* workspace);
  // Where `team` lays out x of `layout`. One row: every member has its own copy and no barrier.
  TiledX open(const Layout& layout, int64_t rows, const Team& team) const;
  // `rows` of the rows that were fit, from `first` on: each such range is an x of its own.
  TiledX part(const Layout& layout, size_t first, int64_t rows) const;

 private:
  size_t rows_ = 0, row_words_ = 0, row_scales_ = 0, row_sums_ = 0;
  uint32_t* steps_ = nullptr;
  float* scales_ = nullptr;
  int32_t* sums_ = nullptr;
};

// Calls make_row(row) -> Source for the rows that this member takes, and lays out each. A single row is
// made by every member. Ends with a barrier where members share the result.
template <class MakeRow>
void prepare_x(const Team& team, const Layout& layout, const TiledX& tiled,
               const MakeRow& make_row) {
  const auto tile = is_integer(layout.format) ? kernels().tile_ints : kernels().tile_floats;
  if (tiled.rows == 1) return tile(make_row(0), 0, layout, tiled);
  Pieces pieces(team, tiled.rows, 1 + tiled.rows / (16 * team.size));
  for (int64_t row, end; pieces.next(&row, &end);) {
    for (; row < end; ++row) tile(make_row(row), row, layout, tiled);
  }
  team.barrier();
}

// Panels that a member takes at once: many enough that handing them out costs nothing, so few that no
// member waits long for another.
int64_t panels_in_piece(const Layout& layout, int64_t rows);

// Panels as the members take them; no barrier.
void multiply(const Team& team, const Weight& weight, const TiledX& x, const float* bias,
              const Target& y);

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
