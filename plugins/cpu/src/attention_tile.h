// One piece of attention: some queries of a row, for some key-value heads and the query heads that
// share each.
#pragma once

#include <cstddef>
#include <cstdint>

namespace uc {

// Keys are taken in blocks of this many positions, at multiples of it, so that the order of
// additions depends on positions alone.
constexpr int kKeyBlock = 64;
constexpr int kLanesOfRows = 16;

struct AttentionTile {
  const void* query;       // First query, first head of the group.
  int query_dtype;
  size_t query_stride;     // Elements from token to token; heads are head_dim apart.
  void* out;
  int out_dtype;
  size_t out_stride;

  int num_queries, num_kv_heads, group, head_dim;
  long position;           // Of the first query.
  long window;             // Positions a query sees, itself included.
  float scale, softcap;    // softcap 0: none.
  const float* sinks;      // Of these query heads, or null.

  const char* keys;        // Of the first head, at slot 0.
  size_t to_values;        // Bytes from a key to its value.
  int kv_dtype;
  size_t token_bytes;      // From slot to slot.
  const int32_t* blocks;
  int block_size;

  float* scratch;          // attention_scratch_floats() of them.
};

constexpr int kMaxTileHeads = 32;

// rows: queries times query heads, all of the tile.
constexpr size_t attention_scratch_floats(int rows, int head_dim) {
  const size_t d = (size_t(head_dim) + 31) / 32 * 32;
  // Queries, output, scores, weights, maxima and sums; keys, values; rows being laid out.
  return size_t(rows) * (2 * d + 2 * kKeyBlock + 2) + 2 * kKeyBlock * d + (kLanesOfRows + 1) * d +
         64;
}

}  // namespace uc
