#include "attention.h"

#include <algorithm>
#include <cmath>

#include "workspace.h"

namespace uc {
namespace {

int queries_per_tile(int group) { return std::max(1, kernels().attention_rows / group); }

long num_tiles_of(const Step& step, int row, int group) {
  const long queries = step.query_lens[row];
  return (queries + queries_per_tile(group) - 1) / queries_per_tile(group);
}

// Key-value heads that one piece takes together: many where a row has few queries and memory is
// what counts, but so few that every thread has a piece.
int heads_per_piece(const Step& step, int row, const KvCache& cache, int group, int threads) {
  const int queries = std::min(step.query_lens[row], queries_per_tile(group));
  const int fitting = std::max(1, kernels().attention_rows / (queries * group));
  const int wanted = (cache.num_kv_heads * step.num_rows + threads - 1) / threads;
  return std::max(1, std::min({fitting, wanted, cache.num_kv_heads, kMaxTileHeads}));
}

Status check_row(const Step& step, const KvCache& cache, int row) {
  const long queries = step.query_lens[row], context = step.context_lens[row];
  if (queries < 1 || context < queries) {
    return fail(kBadArgument, "row %d has %ld queries in a context of %ld", row, queries, context);
  }
  const long first = step.window ? std::max(0l, context - queries - step.window + 1) : 0;
  const long needed = (context + cache.block_size - 1) / cache.block_size;
  const int64_t start = step.table_starts[row];
  if (step.table_starts[row + 1] - start < needed) {
    return fail(kBadArgument, "row %d has fewer than %ld blocks", row, needed);
  }
  for (long i = first / cache.block_size; i < needed; ++i) {
    const int32_t block = step.blocks[start + i];
    if (block < 0 || block >= cache.num_blocks) {
      return fail(kBadArgument, "row %d names block %d of %ld", row, block, cache.num_blocks);
    }
  }
  return kOk;
}

Status check_slots(const Step& step, const KvCache& cache) {
  const int64_t slots = int64_t(cache.num_blocks) * cache.block_size;
  for (long t = 0; t < step.num_tokens; ++t) {
    if (step.slots[t] < 0 || step.slots[t] >= slots) {
      return fail(kBadArgument, "slot %lld of %lld", (long long)step.slots[t], (long long)slots);
    }
  }
  return kOk;
}

Status check_cache(const KvCache& cache) {
  if (!cache.data || cache.num_blocks < 1 || cache.block_size < 1 || cache.num_kv_heads < 1 ||
      cache.head_dim < 1 || cache.head_dim > 1024 ||
      (cache.dtype != kBfloat16 && cache.dtype != kFloat32)) {
    return fail(kBadArgument,
                "a cache is bfloat16 or float32 [2, blocks, block_size, heads, up to 1024]");
  }
  return kOk;
}

}  // namespace

Status check_step(const Step& step, const KvCache& cache, int num_heads) {
  if (Status status = check_cache(cache)) return status;
  if (num_heads < 1 || num_heads % cache.num_kv_heads) {
    return fail(kBadArgument, "%d heads do not share %d", num_heads, cache.num_kv_heads);
  }
  long tokens = 0;
  for (int row = 0; row < step.num_rows; ++row) {
    if (Status status = check_row(step, cache, row)) return status;
    tokens += step.query_lens[row];
  }
  if (tokens != step.num_tokens) {
    return fail(kBadArgument, "rows have %ld tokens, the step %ld", tokens, step.num_tokens);
  }
  return step.slots ? check_slots(step, cache) : kOk;
}

size_t attention_floats(const KvCache& cache, int num_heads) {
  const int group = num_heads / cache.num_kv_heads;
  return round_up(attention_scratch_floats(queries_per_tile(group) * group, cache.head_dim), 32);
}

void attend(const Team& team, const Step& step, const KvCache& cache, const Heads& heads,
            const Tensor3& query, const Tensor3& out, float* scratch, std::atomic<long>* next) {
  const int group = heads.num_heads / cache.num_kv_heads, most = queries_per_tile(group);
  AttentionTile tile{};
  tile.query_dtype = query.dtype;
  tile.query_stride = query.stride;
  tile.out_dtype = out.dtype;
  tile.out_stride = out.stride;
  tile.group = group;
  tile.head_dim = cache.head_dim;
  tile.scale = heads.scale;
  tile.softcap = heads.softcap;
  tile.kv_dtype = cache.dtype;
  tile.token_bytes = cache.token_bytes();
  tile.block_size = cache.block_size;
  tile.scratch = scratch + team.id * attention_floats(cache, heads.num_heads);

  const size_t query_element = query.dtype == kFloat32 ? 4 : 2;
  const size_t out_element = out.dtype == kFloat32 ? 4 : 2;
  long token = 0, passed = 0;
  long piece = next->fetch_add(1, std::memory_order_relaxed);
  for (int row = 0; row < step.num_rows; ++row) {
    const int together = heads_per_piece(step, row, cache, group, team.size);
    const long parts = (cache.num_kv_heads + together - 1) / together;
    const long tiles = num_tiles_of(step, row, group), pieces = tiles * parts;
    while (piece < passed + pieces) {
      // The last queries see most and come first.
      const long first = (tiles - 1 - (piece - passed) / parts) * most;
      const long head = (piece - passed) % parts * together;
      tile.num_kv_heads = int(std::min<long>(together, cache.num_kv_heads - head));
      const size_t offset = size_t(head) * group * cache.head_dim;
      tile.num_queries = int(std::min<long>(most, step.query_lens[row] - first));
      tile.position = step.context_lens[row] - step.query_lens[row] + first;
      tile.window = step.window ? step.window : tile.position + tile.num_queries + 1;
      tile.query = static_cast<const char*>(query.data) +
                   ((token + first) * query.stride + offset) * query_element;
      tile.out = static_cast<char*>(out.data) +
                 ((token + first) * out.stride + offset) * out_element;
      tile.sinks = heads.sinks ? heads.sinks + head * group : nullptr;
      tile.keys = cache.data + head * cache.head_bytes();
      tile.to_values = cache.half_bytes();
      tile.blocks = step.blocks + step.table_starts[row];
      kernels().attend(tile);
      piece = next->fetch_add(1, std::memory_order_relaxed);
    }
    passed += pieces;
    token += step.query_lens[row];
  }
}

Status attention(const Step& step, const KvCache& cache, const Heads& heads, const Tensor3& query,
                 const Tensor3& out) {
  if (Status status = check_step(step, cache, heads.num_heads)) return status;
  PoolLock lock;
  float* scratch = nullptr;
  Workspace workspace;
  workspace.want(&scratch, attention_floats(cache, heads.num_heads) * num_threads());
  if (Status status = workspace.place()) return status;
  std::atomic<long> next{0};
  return parallel([&](const Team& team) {
    attend(team, step, cache, heads, query, out, scratch, &next);
  });
}

Status kv_write(const Step& step, const KvCache& cache, const Tensor3& key, const Tensor3& value) {
  if (Status status = check_cache(cache)) return status;
  if (Status status = check_slots(step, cache)) return status;
  const long count = long(cache.num_kv_heads) * cache.head_dim;
  const auto at = [](const Tensor3& tensor, long token) {
    return static_cast<const char*>(tensor.data) +
           token * tensor.stride * (tensor.dtype == kFloat32 ? 4 : 2);
  };
  const auto write = [&](long begin, long end) {
    for (long t = begin; t < end; ++t) {
      char* slot = cache.data + step.slots[t] * cache.token_bytes();
      kernels().convert(at(key, t), key.dtype, slot, cache.dtype, count);
      kernels().convert(at(value, t), value.dtype, slot + cache.half_bytes(), cache.dtype, count);
    }
  };
  if (step.num_tokens < 16) return write(0, step.num_tokens), kOk;
  return parallel([&](const Team& team) {
    long begin, end;
    team.share(step.num_tokens, &begin, &end);
    write(begin, end);
  });
}

}  // namespace uc
