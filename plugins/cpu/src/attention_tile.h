// One piece of attention: some queries of a row, for some key-value heads and the query heads that
// share each, over all keys that they see or over a part of them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace uc {

// Keys are taken in blocks of this many positions, at multiples of it, so that the order of
// additions depends on positions alone.
constexpr int kKeyBlock = 64;
// Sums begin anew at multiples of it: what several threads may take of one context.
constexpr int64_t kPartKeys = 1024;

struct AttentionTile {
  const void* query;       // First query, first head of the group.
  int query_dtype;
  size_t query_stride;     // Elements from token to token; heads are head_dim apart.
  void* out;
  int out_dtype;
  size_t out_stride;

  int num_queries, num_kv_heads, group, head_dim;
  int64_t position;           // Of the first query.
  int64_t begin, end;         // Positions of keys to attend to.
  int64_t window;             // Positions a query sees, itself included.
  float scale, softcap;    // softcap 0: none.
  const float* sinks;      // Of these query heads, or null.

  const char* keys;        // Of the first head, at slot 0.
  size_t to_values;        // Bytes from a key to its value.
  int kv_dtype;
  size_t token_bytes;      // From slot to slot of a block.
  size_t block_bytes;      // From block to block.
  const int32_t* blocks;
  int block_size;

  float* scratch;          // attention_scratch_floats() of them.
  float* parts;            // Where the first head's part goes, to be merged later; or null.
  size_t part_stride;      // Floats from head to head.
};

constexpr int kMaxTileHeads = 32;

constexpr int whole_panels(int head_dim) { return (head_dim + 31) / 32 * 32; }

// Output, maxima and sums of queries times query heads, in whole cache lines.
constexpr size_t part_floats(int rows, int head_dim) {
  return size_t(rows) * (whole_panels(head_dim) + 16);
}

// rows: queries times query heads, all of the tile.
constexpr size_t attention_scratch_floats(int rows, int head_dim) {
  const size_t d = whole_panels(head_dim);
  // Queries, scores, two parts; keys, values and zeros.
  return size_t(rows) * (d + kKeyBlock) + 2 * part_floats(rows, head_dim) +
         (2 * kKeyBlock + 1) * d;
}

}  // namespace uc
