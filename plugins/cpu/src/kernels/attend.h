// Attention of a tile over the paged cache: keys block by block, softmax as it goes (Milakov and
// Gimelshein, 2018; Dao et al., 2022). Rows of the tile: queries times the heads of the group.

constexpr int kAttentionRows = 96;

// Room that the heads of a tile use one after the other.
struct Stage {
  uint8_t* keys;      // Panels of 32 keys.
  uint8_t* values;    // Panels of 32 dimensions.
  uint32_t* rows;     // 16 rows of keys or values being laid out.
  uint32_t* zeros;
};

INLINE float* take(float** room, size_t floats) {
  float* piece = *room;
  *room += floats;
  return piece;
}

// One key-value head.
struct Attending {
  const AttentionTile& job;
  const Stage& stage;
  int head;             // Of the tile.
  int rows, dim;        // dim: head_dim rounded up to whole panels.
  uint32_t* queries;    // Tiled as activations.
  uint32_t* weights;    // Of one block, tiled.
  float* scores;        // [rows][kKeyBlock].
  float* out;           // [rows][dim].
  float* maxima;
  float* sums;

  Attending(const AttentionTile& job, const Stage& stage, int head, int dim, float** room)
      : job(job), stage(stage), head(head), rows(job.num_queries * job.group), dim(dim) {
    queries = reinterpret_cast<uint32_t*>(take(room, size_t(rows) * dim));
    weights = reinterpret_cast<uint32_t*>(take(room, size_t(rows) * kKeyBlock));
    scores = take(room, size_t(rows) * kKeyBlock);
    out = take(room, size_t(rows) * dim);
    maxima = take(room, rows);
    sums = take(room, rows);
  }

  size_t element() const { return job.kv_dtype == kFloat32 ? 4 : 2; }
  size_t head_bytes() const { return job.head_dim * element(); }
  // Elements from the tile's first query head to this one's.
  size_t offset() const { return size_t(head) * job.group * job.head_dim; }
};

// Rows of floats [rows][steps * 2 or steps] to tiles, as the product likes them.
template <FloatKind kind>
INLINE void tile_row(const float* row, long first, long rows, long inside, long steps,
                     uint32_t* tiled) {
  uint32_t* out = tiled + first * steps + inside;
  for (long s = 0; s < steps; s += kLanes) {
    uint32_t chunk[kLanes];
    if (kind == kPairs) {
      f_store_bf16(reinterpret_cast<uint16_t*>(chunk), f_load(row + 2 * s));
      f_store_bf16(reinterpret_cast<uint16_t*>(chunk) + kLanes, f_load(row + 2 * s + kLanes));
    } else {
      f_store(reinterpret_cast<float*>(chunk), f_load(row + s));
    }
    for (int i = 0; i < kLanes; ++i) out[(s + i) * rows] = chunk[i];
  }
}

template <class Function>
INLINE void for_tiles(int rows, const Function& function) {
  const long tiles = num_tiles(rows, kFloatRows);
  for (long tile = 0; tile < tiles; ++tile) {
    const long first = tile_start(rows, kFloatRows, tile);
    function(first, tile_start(rows, kFloatRows, tile + 1) - first);
  }
}

template <FloatKind kind>
static void lay_out_queries(const Attending& a) {
  const AttentionTile& job = a.job;
  const long steps = kind == kPairs ? a.dim / 2 : a.dim;
  for_tiles(a.rows, [&](long first, long rows) {
    for (long r = 0; r < rows; ++r) {
      const long query = (first + r) / job.group, head = (first + r) % job.group;
      const size_t at = query * job.query_stride + a.offset() + head * job.head_dim;
      for (int d = 0; d < a.dim; d += kLanes) {
        const int left = job.head_dim - d;
        f_store(a.out + d, load_some(job.query, job.query_dtype, at + d, left > 0 ? left : 0));
      }
      tile_row<kind>(a.out, first, rows, r, steps, a.queries);
    }
  });
}

// Where the keys of a block lie; null for those that no query of the tile sees.
struct KeyRows {
  const char* at[kKeyBlock];

  KeyRows(const AttentionTile& job, long start, long begin, long end) {
    const long size = job.block_size;
    long block = start / size, inside = start % size;
    for (int i = 0; i < kKeyBlock; ++i) {
      const bool seen = start + i >= begin && start + i < end;
      at[i] = seen ? job.keys + (size_t(job.blocks[block]) * size + inside) * job.token_bytes
                   : nullptr;
      if (++inside == size) {
        inside = 0;
        ++block;
      }
    }
  }
};

// Brings a block's keys and values to the second cache a few lines at a time, in the order of
// memory: rows of one head alone, at a power of two apart, would push one another out.
class Ahead {
 public:
  Ahead(const Attending& a, const KeyRows& rows)
      : rows_(rows), num_heads_(a.job.num_kv_heads), bytes_(a.head_bytes()),
        to_values_(a.job.to_values) {}

  // To be called kKeyBlock times a head: a head's worth of one row each.
  INLINE_MEMBER void some() {
    const char* row = rows_.at[row_];
    if (row) {
      row += head_ * bytes_;
      for (size_t i = 0; i < bytes_; i += 64) {
        __builtin_prefetch(row + i, 0, 2);
        __builtin_prefetch(row + to_values_ + i, 0, 2);
      }
    }
    if (++head_ == num_heads_) {
      head_ = 0;
      ++row_;
    }
  }

 private:
  const KeyRows& rows_;
  const int num_heads_;
  const size_t bytes_, to_values_;
  int row_ = 0, head_ = 0;
};

// A row of keys (offset 0) or values as words, whole panels of them.
INLINE const uint32_t* words_of(const Attending& a, const KeyRows& rows, int row, size_t offset,
                                int staged) {
  if (!rows.at[row]) return a.stage.zeros;
  const char* from = rows.at[row] + a.head * a.head_bytes() + offset;
  if (a.dim == a.job.head_dim) return reinterpret_cast<const uint32_t*>(from);
  const size_t bytes = a.head_bytes();
  uint32_t* copy = a.stage.rows + size_t(staged) * a.dim;
  memcpy(copy, from, bytes);
  memset(reinterpret_cast<char*>(copy) + bytes, 0, a.dim * a.element() - bytes);
  return copy;
}

template <FloatKind kind>
static void lay_out_keys(const Attending& a, const KeyRows& block, Ahead* ahead) {
  const long steps = kind == kPairs ? a.dim / 2 : a.dim;
  for (int first = 0; first < kKeyBlock; first += kLanes) {
    const uint32_t* rows[kLanes];
    for (int i = 0; i < kLanes; ++i) rows[i] = words_of(a, block, first + i, 0, i);
    uint8_t* panel = a.stage.keys + (first / kPanelRows) * steps * kBytesPerStep;
    uint32_t* lane = reinterpret_cast<uint32_t*>(panel + (first % kPanelRows) * 4);
    for (long s = 0; s < steps; s += kLanes) {
      transpose16(rows, s, lane + s * kPanelRows, kPanelRows);
    }
    for (int i = 0; i < kLanes / 2; ++i) ahead->some();
  }
}

template <FloatKind kind>
static void lay_out_values(const Attending& a, const KeyRows& block, Ahead* ahead) {
  constexpr int per_step = kind == kPairs ? 2 : 1;
  constexpr long steps = kKeyBlock / per_step;
  for (int s = 0; s < steps; ++s) {
    const uint32_t* words[2];
    for (int i = 0; i < per_step; ++i) {
      words[i] = words_of(a, block, s * per_step + i, a.job.to_values, i);
    }
    if (s % 2 == 0 || kind == kPairs) ahead->some();
    for (int d = 0; d < a.dim; d += kPanelRows) {
      uint8_t* to = a.stage.values + ((d / kPanelRows) * steps + s) * kBytesPerStep;
      if (kind == kPairs) {
        interleave32(words[0] + d / 2, words[1] + d / 2, to);
      } else {
        i_store(to, i_load(words[0] + d));
        i_store(to + 64, i_load(words[0] + d + kLanes));
      }
    }
  }
}

template <FloatKind kind>
static void score(const Attending& a) {
  const long steps = kind == kPairs ? a.dim / 2 : a.dim;
  const size_t pitch = steps * kBytesPerStep;
  constexpr int all = kKeyBlock / kLanes;
  for_tiles(a.rows, [&](long first, long rows) {
    const uint32_t* q = a.queries + first * steps;
    float* to = a.scores + first * kKeyBlock;
    if (a.rows <= kFewRows) {
      for (int v = 0; v < all; v += kFewVectors) {
        float_tile_of<kind, kFewRows, kFewVectors>(
            rows, q, a.stage.keys + (v / 2) * pitch + (v % 2) * 64, pitch, steps,
            Sums{to + v * kLanes, kKeyBlock, false});
      }
    } else {
      for (int v = 0; v < all; v += kFloatVectors) {
        float_tile_of<kind, kFloatRows, kFloatVectors>(
            rows, q, a.stage.keys + (v / 2) * pitch + (v % 2) * 64, pitch, steps,
            Sums{to + v * kLanes, kKeyBlock, false});
      }
    }
  });
}

INLINE F cap_scores(F scores, float softcap) {
  if (softcap == 0.0f) return scores;
  // c tanh(s / c), by tanh z = 1 - 2 / (e^2z + 1).
  const F e = f_exp(f_mul(scores, f_set(2.0f / softcap)));
  const F tanh = f_sub(f_set(1.0f), f_div(f_set(2.0f), f_add(e, f_set(1.0f))));
  return f_mul(tanh, f_set(softcap));
}

INLINE float exp_one(float x) {
  float lanes[kLanes];
  f_store(lanes, f_exp(f_set(x)));
  return lanes[0];
}

static void scale_row(float* row, int count, float factor) {
  for (int d = 0; d < count; d += kLanes) f_store(row + d, f_mul(f_load(row + d), f_set(factor)));
}

// Scores of one row to weights; what came before is scaled to the new maximum.
static void soften_row(const Attending& a, int row, long start) {
  const AttentionTile& job = a.job;
  const long position = job.position + row / job.group;
  const F from = f_set(float(position - job.window + 1 > start ? position - job.window + 1 - start
                                                               : 0));
  const F until = f_set(float(position + 1 - start < kKeyBlock ? position + 1 - start : kKeyBlock));
  const F nothing = f_set(-__builtin_inff());
  static const float kCount[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  F index = f_load(kCount);
  float* scores = a.scores + size_t(row) * kKeyBlock;
  F s[kKeyBlock / kLanes], most = nothing;
  UNROLL for (int v = 0; v < kKeyBlock / kLanes; ++v) {
    s[v] = cap_scores(f_mul(f_load(scores + v * kLanes), f_set(job.scale)), job.softcap);
    s[v] = f_where_at_least(index, from, s[v], nothing);
    s[v] = f_where_at_least(index, until, nothing, s[v]);
    most = f_max(s[v], most);
    index = f_add(index, f_set(float(kLanes)));
  }
  const float before = a.maxima[row], here = f_largest(most);
  const float maximum = here > before ? here : before;
  const F shift = f_set(maximum == -__builtin_inff() ? 0.0f : maximum);
  F sum = f_zero();
  UNROLL for (int v = 0; v < kKeyBlock / kLanes; ++v) {
    s[v] = f_exp(f_sub(s[v], shift));
    f_store(scores + v * kLanes, s[v]);
    sum = f_add(sum, s[v]);
  }
  if (maximum != before) {
    const float factor = exp_one(before - maximum);
    a.sums[row] *= factor;
    scale_row(a.out + size_t(row) * a.dim, a.dim, factor);
  }
  a.maxima[row] = maximum;
  a.sums[row] += f_sum(sum);
}

template <FloatKind kind>
static void add_values(const Attending& a) {
  constexpr long steps = kKeyBlock / (kind == kPairs ? 2 : 1);
  constexpr size_t pitch = steps * kBytesPerStep;
  for_tiles(a.rows, [&](long first, long rows) {
    for (long r = 0; r < rows; ++r) {
      tile_row<kind>(a.scores + (first + r) * kKeyBlock, first, rows, r, steps, a.weights);
    }
    const uint32_t* p = a.weights + first * steps;
    float* to = a.out + first * a.dim;
    int d = 0;
    if (a.rows <= kFewRows) {
      for (; d + kFewVectors * kLanes <= a.dim; d += kFewVectors * kLanes) {
        float_tile_of<kind, kFewRows, kFewVectors>(
            rows, p, a.stage.values + (d / kPanelRows) * pitch + (d % kPanelRows) * 4, pitch, steps,
            Sums{to + d, size_t(a.dim), true});
      }
    }
    for (; d < a.dim; d += kFloatVectors * kLanes) {
      float_tile_of<kind, kFloatRows, kFloatVectors>(
          rows, p, a.stage.values + (d / kPanelRows) * pitch + (d % kPanelRows) * 4, pitch, steps,
          Sums{to + d, size_t(a.dim), true});
    }
  });
}

static void finish_row(const Attending& a, int row) {
  const AttentionTile& job = a.job;
  float* out = a.out + size_t(row) * a.dim;
  float sum = a.sums[row];
  if (job.sinks) {
    const float sink = job.sinks[a.head * job.group + row % job.group];
    const float maximum = sink > a.maxima[row] ? sink : a.maxima[row];
    const float factor = exp_one(a.maxima[row] - maximum);
    scale_row(out, a.dim, factor);
    sum = sum * factor + exp_one(sink - maximum);
  }
  const F inverse = f_set(sum > 0.0f || sum != sum ? 1.0f / sum : 0.0f);
  const size_t to =
      (row / job.group) * job.out_stride + a.offset() + (row % job.group) * job.head_dim;
  for (int d = 0; d < job.head_dim; d += kLanes) {
    store_some(job.out, job.out_dtype, to + d, job.head_dim - d,
               f_mul(f_load(out + d), inverse));
  }
}

template <FloatKind kind>
static void begin_head(const Attending& a) {
  lay_out_queries<kind>(a);
  memset(a.out, 0, sizeof(float) * a.rows * a.dim);
  for (int r = 0; r < a.rows; ++r) {
    a.maxima[r] = -__builtin_inff();
    a.sums[r] = 0.0f;
  }
}

template <FloatKind kind>
static void attend_block(const Attending& a, const KeyRows& block, Ahead* ahead, long start) {
  lay_out_keys<kind>(a, block, ahead);
  score<kind>(a);
  for (int r = 0; r < a.rows; ++r) soften_row(a, r, start);
  lay_out_values<kind>(a, block, ahead);
  add_values<kind>(a);
}

// All heads take a block before the next one: a token's heads lie side by side in memory.
template <FloatKind kind>
static void attend_heads(const AttentionTile& job, const Attending* heads) {
  for (int h = 0; h < job.num_kv_heads; ++h) begin_head<kind>(heads[h]);
  const long seen = job.position - job.window + 1;
  const long begin = seen > 0 ? seen : 0, end = job.position + job.num_queries;
  long start = begin / kKeyBlock * kKeyBlock;
  KeyRows block(job, start, begin, end);
  for (; start < end; start += kKeyBlock) {
    const KeyRows next(job, start + kKeyBlock, begin, end);
    Ahead ahead(heads[0], next);
    for (int h = 0; h < job.num_kv_heads; ++h) attend_block<kind>(heads[h], block, &ahead, start);
    block = next;
  }
  for (int h = 0; h < job.num_kv_heads; ++h) {
    for (int r = 0; r < heads[h].rows; ++r) finish_row(heads[h], r);
  }
}

static void attend(const AttentionTile& job) {
  const int dim = (job.head_dim + 31) / 32 * 32;
  float* room = job.scratch;
  Stage stage;
  stage.keys = reinterpret_cast<uint8_t*>(take(&room, size_t(kKeyBlock) * dim));
  stage.values = reinterpret_cast<uint8_t*>(take(&room, size_t(kKeyBlock) * dim));
  stage.rows = reinterpret_cast<uint32_t*>(take(&room, size_t(kLanesOfRows) * dim));
  stage.zeros = reinterpret_cast<uint32_t*>(take(&room, size_t(dim)));
  memset(stage.zeros, 0, size_t(dim) * 4);
  alignas(Attending) char memory[kMaxTileHeads * sizeof(Attending)];
  Attending* heads = reinterpret_cast<Attending*>(memory);
  for (int h = 0; h < job.num_kv_heads; ++h) {
    new (heads + h) Attending(job, stage, h, dim, &room);
  }
  if (job.kv_dtype == kFloat32) {
    attend_heads<kPlain>(job, heads);
  } else {
    attend_heads<kPairs>(job, heads);
  }
}
