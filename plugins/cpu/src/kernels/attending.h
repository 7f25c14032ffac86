// Attention of a tile over the paged cache: what its heads hold, and where keys and values lie.

constexpr int kAttentionRows = 96;

// What a stretch of keys adds up to, before the division by the sum of weights.
struct Part {
  float* out;     // [rows][dim].
  float* maxima;  // [rows]; -inf where no key was seen.
  float* sums;    // [rows].
};

INLINE Part part_at(float* room, int rows, int dim) {
  float* maxima = room + size_t(rows) * dim;
  return {room, maxima, maxima + rows};
}

static void clear_part(const Part& part, int rows, int dim) {
  memset(part.out, 0, sizeof(float) * rows * dim);
  memset(part.sums, 0, sizeof(float) * rows);
  for (int r = 0; r < rows; ++r) part.maxima[r] = -__builtin_inff();
}

// Room that the heads of a tile use one after the other.
struct Stage {
  uint8_t* keys;    // Panels of 32 keys.
  uint8_t* values;  // Panels of 32 dimensions.
  uint32_t* zeros;  // A row.
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
  int head;           // Of the tile.
  int rows, dim;      // Queries times the heads of the group; head_dim in whole panels.
  uint32_t* queries;  // [rows][row_words].
  float* scores;      // [rows][kKeyBlock] of one block; then its weights, as words.
  Part part;          // Of the keys since the last multiple of kPartKeys.
  Part total;         // Of those before.

  Attending(const AttentionTile& job, const Stage& stage, int head, float** room)
      : job(job), stage(stage), head(head), rows(job.num_queries * job.group),
        dim(whole_panels(job.head_dim)) {
    queries = reinterpret_cast<uint32_t*>(take(room, size_t(rows) * dim));
    scores = take(room, size_t(rows) * kKeyBlock);
    const size_t floats = part_floats(rows, job.head_dim);
    part = part_at(job.parts ? job.parts + head * job.part_stride : take(room, floats), rows, dim);
    total = part_at(take(room, floats), rows, dim);
  }

  bool few() const { return rows <= kDirectRows; }
  size_t element() const { return job.kv_dtype == kFloat32 ? 4 : 2; }
  size_t head_bytes() const { return job.head_dim * element(); }
  const uint32_t* weights() const { return reinterpret_cast<const uint32_t*>(scores); }
  // Elements from the tile's first query head to this one's.
  size_t offset() const { return size_t(head) * job.group * job.head_dim; }
};

// Words of a row of keys: pairs of bfloat16, or floats.
template <FloatKind kind>
INLINE long row_words(const Attending& a) {
  return kind == kPairs ? a.dim / 2 : a.dim;
}

template <FloatKind kind>
INLINE F add_product(F sum, I words, uint32_t x) {
  if (kind == kPairs) return dot_pairs(sum, words, i_set(int(x)));
  float value;
  __builtin_memcpy(&value, &x, 4);
  return f_fma(f_from_bits(words), f_set(value), sum);
}

// 32 floats as words: rounded to 16 pairs of bfloat16, or as they are.
template <FloatKind kind>
INLINE void store_words(uint32_t* to, F low, F high) {
  if (kind == kPairs) {
    i_store(to, i_bf16_pairs(low, high));
  } else {
    i_store(to, i_from_bits(low));
    i_store(to + kLanes, i_from_bits(high));
  }
}

// Where the keys of a block lie; null for those that the tile does not attend to.
struct KeyRows {
  const char* at[kKeyBlock];

  KeyRows(const AttentionTile& job, long start) {
    const long size = job.block_size;
    long block = start / size, inside = start % size;
    for (int i = 0; i < kKeyBlock; ++i) {
      const bool seen = start + i >= job.begin && start + i < job.end;
      at[i] = seen ? job.keys + (size_t(job.blocks[block]) * size + inside) * job.token_bytes
                   : nullptr;
      if (++inside == size) {
        inside = 0;
        ++block;
      }
    }
  }
};

// The same for one head's keys (offset 0) or values; zeros for what is not seen.
struct HeadRows {
  const uint32_t* at[kKeyBlock];

  HeadRows(const Attending& a, const KeyRows& block, size_t offset) {
    offset += a.head * a.head_bytes();
    for (int i = 0; i < kKeyBlock; ++i) {
      const char* row = block.at[i] + offset;
      at[i] = block.at[i] ? reinterpret_cast<const uint32_t*>(row) : a.stage.zeros;
    }
  }
};

// 16 words of a row; `whole` where head_dim fills its panels, else there are zeros behind it.
template <bool whole>
INLINE I load_words(const Attending& a, const uint32_t* row, long at) {
  if (whole) return i_load(row + at);
  const long left = long(a.head_bytes() / 2) - 2 * at;
  return i_load_halves(row + at, left < 0 ? 0 : left < 2 * kLanes ? int(left) : 2 * kLanes);
}

// Words `at` to `at + 15` of 16 rows: words[j] has word at + j of each.
template <bool whole>
INLINE void load_columns(const Attending& a, const uint32_t* const* rows, long at, I* words) {
  UNROLL for (int i = 0; i < kLanes; ++i) words[i] = load_words<whole>(a, rows[i], at);
  transpose16(words);
}

// 32 dimensions of a step of values: of two keys, interleaved, or of one.
template <FloatKind kind, bool whole>
INLINE void load_value_pair(const Attending& a, const uint32_t* const* values, int d, I* low,
                            I* high) {
  if (kind == kPairs) {
    interleave32(load_words<whole>(a, values[0], d / 2), load_words<whole>(a, values[1], d / 2),
                 low, high);
  } else {
    *low = load_words<whole>(a, values[0], d);
    *high = load_words<whole>(a, values[0], d + kLanes);
  }
}

// Brings a block's keys and values to the second cache a few lines at a time, in the order of
// memory: rows of one head alone, at a power of two apart, would push one another out.
class Ahead {
 public:
  Ahead(const Attending& a, const KeyRows& rows)
      : rows_(rows), num_heads_(a.job.num_kv_heads), bytes_(a.head_bytes()),
        to_values_(a.job.to_values) {}

  // One head's key and value, `count` times. A head has kKeyBlock of them to ask for.
  INLINE_MEMBER void some(int count) {
    for (; count > 0 && row_ < kKeyBlock; --count) {
      if (const char* row = rows_.at[row_]) {
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
  }

 private:
  const KeyRows& rows_;
  const int num_heads_;
  const size_t bytes_, to_values_;
  int row_ = 0, head_ = 0;
};
