// Attention of a tile over the paged cache: what its heads hold, and where keys and values lie.

constexpr int kAttentionRows = 192;

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
INLINE int64_t row_words(const Attending& a) {
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

// Addresses of a block's keys; 0 for those that the tile does not attend to.
struct KeyRows {
  uintptr_t at[kKeyBlock];

  KeyRows(const AttentionTile& job, int64_t start) {
    const int64_t size = job.block_size;
    const uintptr_t keys = reinterpret_cast<uintptr_t>(job.keys);
    int64_t block = start / size, inside = start % size;
    for (int i = 0; i < kKeyBlock; ++i) {
      const bool seen = start + i >= job.begin && start + i < job.end;
      at[i] = seen ? keys + job.blocks[block] * job.block_bytes + inside * job.token_bytes : 0;
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
    const uintptr_t zeros = reinterpret_cast<uintptr_t>(a.stage.zeros);
    for (int i = 0; i < kKeyBlock; ++i) {
      const uintptr_t row = block.at[i];
      at[i] = reinterpret_cast<const uint32_t*>(row ? row + offset : zeros);
    }
  }
};

// 16 words of a row; `whole` where head_dim fills its panels, else there are zeros behind it.
template <bool whole>
INLINE I load_words(const Attending& a, const uint32_t* row, int64_t at) {
  if (whole) return i_load(row + at);
  const int64_t left = int64_t(a.head_bytes() / 2) - 2 * at;
  return i_load_halves(row + at, left < 0 ? 0 : left < 2 * kLanes ? int(left) : 2 * kLanes);
}

// Words `at` to `at + 15` of 16 rows: words[j] has word at + j of each.
template <bool whole>
INLINE void load_columns(const Attending& a, const uint32_t* const* rows, int64_t at, I* words) {
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

// Brings a block's keys and values to the second cache, line by line in the order of memory: rows
// of one head alone, at a power of two apart, would push one another out. To be called evenly
// between sums: the processor drops what comes faster than memory.
class Ahead {
 public:
  Ahead(const AttentionTile& job, size_t head_bytes, const KeyRows& rows)
      : rows_(rows), bytes_(job.num_kv_heads * head_bytes), to_values_(job.to_values) {}

  // A line of keys and one of values.
  INLINE_MEMBER void line() { bring<kSecondCache>(); }

  // All at once: what goes to the first cache waits for room and is not dropped.
  void all() {
    while (bring<kFirstCache>()) {}
  }

 private:
  enum { kSecondCache = 2, kFirstCache = 3 };

  template <int cache>
  INLINE_MEMBER bool bring() {
    if (at_ >= end_ && !next_row()) return false;
    __builtin_prefetch(reinterpret_cast<const char*>(at_), 0, cache);
    __builtin_prefetch(reinterpret_cast<const char*>(at_ + to_values_), 0, cache);
    at_ += 64;
    return true;
  }

  INLINE_MEMBER bool next_row() {
    while (row_ < kKeyBlock) {
      at_ = rows_.at[row_++];
      end_ = at_ + bytes_;
      if (at_) return true;
    }
    end_ = 0;
    return false;
  }

  const KeyRows& rows_;
  const size_t bytes_, to_values_;
  uintptr_t at_ = 0, end_ = 0;
  int row_ = 0;
};
