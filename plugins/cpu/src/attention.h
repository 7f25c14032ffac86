// Paged attention over a step's rows, spread over a team.
#pragma once

#include "attention_tile.h"
#include "dispatch.h"
#include "pieces.h"
#include "workspace.h"

namespace uc {

struct KvCache {
  char* data;  // [2, blocks, block_size, num_kv_heads, head_dim]; blocks may lie apart.
  int dtype;
  int64_t num_blocks;
  int block_size, num_kv_heads, head_dim;
  size_t block_bytes;  // From block to block.
  size_t to_values;    // Bytes from a key to its value.

  size_t head_bytes() const { return size_t(head_dim) * (dtype == kFloat32 ? 4 : 2); }
  size_t token_bytes() const { return num_kv_heads * head_bytes(); }
  char* key(int64_t slot) const {
    return data + slot / block_size * block_bytes + slot % block_size * token_bytes();
  }
};

struct Step {
  int num_rows;
  int64_t num_tokens;
  const int32_t* query_lens;
  const int32_t* context_lens;
  const int32_t* blocks;         // All rows' tables, one behind the other.
  const int64_t* table_starts;   // [num_rows + 1], into blocks.
  const int64_t* slots;          // [num_tokens].
  int64_t window;                   // Positions a query sees; 0: all before it.
};

struct Heads {
  int num_heads;
  float scale, softcap;
  const float* sinks;
};

struct Tensor3 {
  void* data;  // [tokens, heads, head_dim], tokens `stride` elements apart.
  int dtype;
  size_t stride;
};

Status check_step(const Step& step, const KvCache& cache, int num_heads);

// Memory that the members of a team work in: fitted to every step that it will see, then placed.
class AttentionRoom {
 public:
  void fit(const Step& step, const KvCache& cache, int num_heads);
  void want(Workspace* workspace);

  float* scratch;  // scratch_floats for each member.
  size_t scratch_floats = 0;
  float* parts;    // Of contexts that are divided.

 private:
  size_t part_floats_ = 0;
};

// `reach` as of Pieces, of query and out.
void attend(const Team& team, const Step& step, const KvCache& cache, const Heads& heads,
            const Tensor3& query, const Tensor3& out, AttentionRoom* room, int reach);

Status attention(const Step& step, const KvCache& cache, const Heads& heads, const Tensor3& query,
                 const Tensor3& out);
Status kv_write(const Step& step, const KvCache& cache, const Tensor3& key, const Tensor3& value);

}  // namespace uc
