#include "attention.h"

#include <algorithm>
#include <cinttypes>

namespace uc {
namespace {

int queries_per_tile(int group) { return std::max(1, kernels().attention_rows / group); }

// How a row falls into pieces: its queries in tiles, or, where one tile has them all, its keys in
// parts.
struct RowPieces {
  int64_t queries, context;
  int64_t tiles, parts;
  int64_t first_part;  // That the first query sees.

  RowPieces(const Step& step, int row, int group)
      : queries(step.query_lens[row]), context(step.context_lens[row]) {
    const int64_t most = queries_per_tile(group);
    tiles = (queries + most - 1) / most;
    const int64_t before = step.window ? context - queries - step.window + 1 : 0;
    first_part = std::max<int64_t>(0, before) / kPartKeys;
    parts = tiles > 1 ? 1 : (context + kPartKeys - 1) / kPartKeys - first_part;
  }

  int64_t count() const { return tiles * parts; }
  bool divided() const { return parts > 1; }
  // Of all key-value heads; none where the parts are merged in place.
  size_t floats(int num_heads, int head_dim) const {
    return divided() ? parts * part_floats(int(queries) * num_heads, head_dim) : 0;
  }
};

// Key-value heads that one piece of a row takes together: as many as fit, for a token's heads lie
// side by side in memory, but so few that every thread has a like share of the step's pieces.
int heads_per_piece(const RowPieces& row, int64_t step_count, int num_kv_heads, int group,
                    int threads) {
  const int64_t queries = std::min<int64_t>(row.queries, queries_per_tile(group));
  const int64_t fitting = std::max<int64_t>(1, kernels().attention_rows / (queries * group));
  int heads = int(std::min<int64_t>({fitting, num_kv_heads, kMaxTileHeads}));
  const auto pieces = [&] { return (num_kv_heads + heads - 1) / heads * step_count; };
  while (heads > 1 && pieces() % threads && pieces() < 8 * threads) heads = (heads + 1) / 2;
  return heads;
}

Status check_row(const Step& step, const KvCache& cache, int row) {
  const int64_t queries = step.query_lens[row], context = step.context_lens[row];
  if (queries < 1 || context < queries) {
    return fail(kBadArgument, "row %d has %" PRId64 " queries in a context of %" PRId64, row, queries,
                context);
  }
  const int64_t first = step.window ? std::max<int64_t>(0, context - queries - step.window + 1) : 0;
  const int64_t needed = (context + cache.block_size - 1) / cache.block_size;
  const int64_t start = step.table_starts[row];
  if (step.table_starts[row + 1] - start < needed) {
    return fail(kBadArgument, "row %d has fewer than %" PRId64 " blocks", row, needed);
  }
  for (int64_t i = first / cache.block_size; i < needed; ++i) {
    const int32_t block = step.blocks[start + i];
    if (block < 0 || block >= cache.num_blocks) {
      return fail(kBadArgument, "row %d names block %d of %" PRId64, row, block, cache.num_blocks);
    }
  }
  return kOk;
}

Status check_slots(const Step& step, const KvCache& cache) {
  const int64_t slots = int64_t(cache.num_blocks) * cache.block_size;
  for (int64_t t = 0; t < step.num_tokens; ++t) {
    if (step.slots[t] < 0 || step.slots[t] >= slots) {
      return fail(kBadArgument, "slot %" PRId64 " of %" PRId64, step.slots[t], slots);
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
  int64_t tokens = 0;
  for (int row = 0; row < step.num_rows; ++row) {
    if (Status status = check_row(step, cache, row)) return status;
    tokens += step.query_lens[row];
  }
  if (tokens != step.num_tokens) {
    return fail(kBadArgument, "rows have %" PRId64 " tokens, the step %" PRId64, tokens,
                step.num_tokens);
  }
  return step.slots ? check_slots(step, cache) : kOk;
}

namespace {

size_t element(int dtype) { return dtype == kFloat32 ? 4 : 2; }

// One member's view of a step.
struct StepAttention {
  const Team& team;
  const Step& step;
  const KvCache& cache;
  const Heads& heads;
  const Tensor3& query;
  const Tensor3& out;
  AttentionRoom* room;

  int group() const { return heads.num_heads / cache.num_kv_heads; }
  // Key-value heads of a piece of a row, where all rows of the step have `total` pieces a head.
  int together(const RowPieces& row, int64_t total) const {
    return heads_per_piece(row, total, cache.num_kv_heads, group(), team.size);
  }
  int64_t pieces_of(const RowPieces& row, int64_t total) const {
    const int heads_together = together(row, total);
    return row.count() * ((cache.num_kv_heads + heads_together - 1) / heads_together);
  }

  // Calls function(row, its pieces, its first token, its first float among the parts).
  template <class Function>
  void for_rows(const Function& function) const {
    int64_t token = 0;
    float* parts = room->parts;
    for (int row = 0; row < step.num_rows; ++row) {
      const RowPieces pieces(step, row, group());
      function(row, pieces, token, parts);
      token += pieces.queries;
      parts += pieces.floats(heads.num_heads, cache.head_dim);
    }
  }

  // All keys for `queries` of a row from `first` on, and `count` heads from `head` on.
  AttentionTile tile(int row, int64_t token, int64_t first, int64_t queries, int head,
                     int count) const {
    AttentionTile tile{};
    const size_t offset = size_t(head) * group() * cache.head_dim;
    tile.query = static_cast<const char*>(query.data) +
                 ((token + first) * query.stride + offset) * element(query.dtype);
    tile.query_dtype = query.dtype;
    tile.query_stride = query.stride;
    tile.out = static_cast<char*>(out.data) +
               ((token + first) * out.stride + offset) * element(out.dtype);
    tile.out_dtype = out.dtype;
    tile.out_stride = out.stride;
    tile.num_queries = int(queries);
    tile.num_kv_heads = count;
    tile.group = group();
    tile.head_dim = cache.head_dim;
    tile.position = step.context_lens[row] - step.query_lens[row] + first;
    tile.end = tile.position + queries;
    tile.window = step.window ? step.window : tile.end + 1;
    tile.begin = std::max<int64_t>(0, tile.position - tile.window + 1);
    tile.scale = heads.scale;
    tile.softcap = heads.softcap;
    tile.sinks = heads.sinks ? heads.sinks + head * group() : nullptr;
    tile.keys = cache.data + head * cache.head_bytes();
    tile.to_values = cache.to_values;
    tile.kv_dtype = cache.dtype;
    tile.token_bytes = cache.token_bytes();
    tile.block_bytes = cache.block_bytes;
    tile.blocks = step.blocks + step.table_starts[row];
    tile.block_size = cache.block_size;
    tile.scratch = room->scratch + team.id * room->scratch_floats;
    return tile;
  }

  // Piece `index` of those that a row falls into with `together` heads each.
  void attend_piece(int row, const RowPieces& pieces, int64_t token, float* parts, int64_t index,
                    int together) const {
    const int64_t head_parts = (cache.num_kv_heads + together - 1) / together;
    const int64_t part = index / head_parts;
    const int head = int(index % head_parts) * together;
    const int count = std::min(together, cache.num_kv_heads - head);
    const int64_t most = queries_per_tile(group());
    // The last queries see most and come first.
    const int64_t first = pieces.divided() ? 0 : (pieces.tiles - 1 - part) * most;
    AttentionTile piece = tile(row, token, first, std::min(most, pieces.queries - first), head,
                               count);
    if (pieces.divided()) {
      const int64_t start = (pieces.first_part + part) * kPartKeys;
      piece.begin = std::max(piece.begin, start);
      piece.end = std::min(piece.end, start + kPartKeys);
      const size_t floats = part_floats(int(pieces.queries) * group(), cache.head_dim);
      piece.part_stride = pieces.parts * floats;
      piece.parts = parts + (head * pieces.parts + part) * floats;
    }
    kernels().attend(piece);
  }

  void attend_pieces(int reach) const {
    int64_t total = 0, count = 0;
    for_rows([&](int, const RowPieces& pieces, int64_t, float*) { total += pieces.count(); });
    for_rows([&](int, const RowPieces& pieces, int64_t, float*) {
      count += pieces_of(pieces, total);
    });
    int64_t at = 0, stop = 0;  // The piece to be done, and the end of those taken.
    Pieces taken(team, count, 1, reach);
    if (!taken.next(&at, &stop)) return;
    for (bool more = true; more;) {
      int64_t passed = 0;
      for_rows([&](int row, const RowPieces& pieces, int64_t token, float* parts) {
        const int64_t behind = passed + pieces_of(pieces, total);
        while (more && at >= passed && at < behind) {
          attend_piece(row, pieces, token, parts, at - passed, together(pieces, total));
          more = ++at < stop || taken.next(&at, &stop);
        }
        passed = behind;
      });
    }
  }

  void merge() const {
    const int64_t count = int64_t(step.num_rows) * cache.num_kv_heads;
    Pieces taken(team, count, (count + team.size - 1) / team.size);
    for (int64_t begin, end; taken.next(&begin, &end);) merge_heads(begin, end);
  }

  // Of all rows' heads, one row behind the other.
  void merge_heads(int64_t begin, int64_t end) const {
    int64_t passed = 0;
    for_rows([&](int row, const RowPieces& pieces, int64_t token, float* parts) {
      const size_t floats = part_floats(int(pieces.queries) * group(), cache.head_dim);
      for (int head = 0; head < cache.num_kv_heads; ++head, ++passed) {
        if (!pieces.divided() || passed < begin || passed >= end) continue;
        AttentionTile merged = tile(row, token, 0, pieces.queries, head, 1);
        merged.parts = parts + head * pieces.parts * floats;
        kernels().merge_parts(merged, int(pieces.parts));
      }
    });
  }
};

}  // namespace

void AttentionRoom::fit(const Step& step, const KvCache& cache, int num_heads) {
  const int group = num_heads / cache.num_kv_heads;
  const int rows = queries_per_tile(group) * group;
  scratch_floats = std::max(scratch_floats,
                            round_up(attention_scratch_floats(rows, cache.head_dim), 32));
  size_t floats = 0;
  for (int row = 0; row < step.num_rows; ++row) {
    floats += RowPieces(step, row, group).floats(num_heads, cache.head_dim);
  }
  part_floats_ = std::max(part_floats_, floats);
}

void AttentionRoom::want(Workspace* workspace) {
  workspace->want(&scratch, scratch_floats * num_threads());
  workspace->want(&parts, part_floats_);
}

void attend(const Team& team, const Step& step, const KvCache& cache, const Heads& heads,
            const Tensor3& query, const Tensor3& out, AttentionRoom* room, int reach) {
  const StepAttention attention{team, step, cache, heads, query, out, room};
  bool divided = false;
  attention.for_rows([&](int, const RowPieces& pieces, int64_t, float*) {
    divided = divided || pieces.divided();
  });
  attention.attend_pieces(divided ? 0 : reach);  // Parts add up in place.
  if (divided) attention.merge();
}

Status attention(const Step& step, const KvCache& cache, const Heads& heads, const Tensor3& query,
                 const Tensor3& out) {
  if (Status status = check_step(step, cache, heads.num_heads)) return status;
  PoolLock lock;
  AttentionRoom room;
  room.fit(step, cache, heads.num_heads);
  Workspace workspace;
  room.want(&workspace);
  if (Status status = workspace.place()) return status;
  return parallel([&](const Team& team) {
    attend(team, step, cache, heads, query, out, &room, 1);
  });
}

Status kv_write(const Step& step, const KvCache& cache, const Tensor3& key, const Tensor3& value) {
  if (Status status = check_cache(cache)) return status;
  if (Status status = check_slots(step, cache)) return status;
  const int64_t count = int64_t(cache.num_kv_heads) * cache.head_dim;
  const auto at = [](const Tensor3& tensor, int64_t token) {
    return static_cast<const char*>(tensor.data) +
           token * tensor.stride * element(tensor.dtype);
  };
  const auto write = [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      char* slot = cache.key(step.slots[t]);
      kernels().convert(at(key, t), key.dtype, slot, cache.dtype, count);
      kernels().convert(at(value, t), value.dtype, slot + cache.to_values, cache.dtype, count);
    }
  };
  if (step.num_tokens < 16) return write(0, step.num_tokens), kOk;
  return parallel([&](const Team& team) {
    int64_t begin, end;
    team.share(step.num_tokens, &begin, &end);
    write(begin, end);
  });
}

}  // namespace uc
