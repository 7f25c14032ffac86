// The tables of kernels that each instruction set fills. A kernel works on a piece; the drivers
// (matmul.cpp, attention.cpp, ...) spread the pieces over the threads.
#pragma once

#include "formats.h"

namespace uc {

// Rows of activations are laid out in tiles: within one, the rows side by side at each step.
constexpr int64_t num_tiles(int64_t rows, int max_rows) { return (rows + max_rows - 1) / max_rows; }
constexpr int64_t tile_start(int64_t rows, int max_rows, int64_t tile) {
  return rows * tile / num_tiles(rows, max_rows);
}

struct Source {
  const void* data;
  int dtype;
  size_t stride;  // Elements from row to row.
};

struct Target {
  void* data;
  int dtype;
  size_t stride;
};

// Activations [rows, cols], ready to be multiplied.
struct TiledX {
  int64_t rows;
  int max_tile_rows;
  uint32_t* steps;  // [tile][step][row]: a float32, two bfloat16, or four int8.
  float* scales;    // Integer formats: [tile][x_cols columns][row].
  // [tile][sum_cols columns][sums_a_group][row]: of int8, times minus center_level unless that is 0; then
  // of x itself in units of its scale, the bits of a float32.
  int32_t* sums;
};

struct MatmulJob {
  const Weight* weight;
  TiledX x;
  const float* bias;  // May be null.
  Target y;
};

// y = norm(residual_in + x); residual_out gets the sum.
struct NormJob {
  Source x;                  // data may be null.
  const float* residual_in;  // [rows, size] or null.
  float* residual_out;       // Not residual_in; may be null.
  const float* weight;
  float eps;
  int64_t size;
  Target y;
};

struct RopeHeads {
  const float* norm;   // [head_dim] or null.
  float eps;
  int head_dim, half;  // 2 * half dimensions turn.
  const float* cos;    // Of this token, [half].
  const float* sin;
};

// An adapter of one product: y += (x down) up.
struct LowRankPart {
  int64_t first_row, num_rows;  // Of y: multiples of 16, of which the last may lie beyond it.
  int32_t rank, offset;         // Which of the numbers x down.
  const void* up;               // [num_rows / 16, rank, 16].
};

struct LowRank {
  int64_t cols;
  int32_t rank, dtype;  // A multiple of 16; bfloat16 or float32.
  const void* down;     // [rank / 16, cols, 16]; null: there is no adapter.
  const LowRankPart* parts;
  int32_t num_parts, reserved;
};

struct AttentionTile;

struct ProductKernels {
  int (*tile_rows)(int format, int64_t rows);  // Of x, in a tile at most.
  void (*tile_floats)(const Source& x, int64_t row, const Layout& layout, const TiledX& tiled);
  void (*tile_ints)(const Source& x, int64_t row, const Layout& layout, const TiledX& tiled);
  void (*matmul)(const MatmulJob& job, int64_t panel_begin, int64_t panel_end);
  double (*products_alone)(int format, int64_t rounds);
};

struct AttentionKernels {
  int attention_rows;
  void (*attend)(const AttentionTile& tile);
  void (*merge_parts)(const AttentionTile& tile, int count);
};

struct RowKernels {
  bool (*pack_panel)(const Layout& layout, float* rows, int64_t num_rows, float* columns,
                     uint8_t* panel);
  void (*unpack_row)(const Weight& weight, int64_t row, float* out);

  void (*norm_row)(const NormJob& job, int64_t row);
  void (*silu_mul)(const Source& gate_up, int64_t row, int64_t size, const Target& y);
  void (*rope_head)(const RopeHeads& job, const void* x, int x_dtype, void* y, int y_dtype);
  void (*convert)(const void* x, int x_dtype, void* y, int y_dtype, int64_t count);

  void (*largest)(const float* x, int64_t count, float* value);
  void (*exponentials)(const float* x, int64_t count, float shift, float* out, double* sum);
  uint64_t (*read)(const void* data, size_t bytes);

  void (*low_rank_down)(const LowRank& low, const float* x, float* inner);
  void (*low_rank_up)(const LowRankPart& part, int dtype, const float* inner, int64_t begin,
                      int64_t end, float* y);
};

// Each part is compiled by itself (kernels/part_*.h).
struct Kernels : ProductKernels, AttentionKernels, RowKernels {
  const char* name;
};

}  // namespace uc
