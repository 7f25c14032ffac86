// Attention of a tile over the paged cache: keys block by block, softmax as it goes (Milakov and
// Gimelshein, 2018; Dao et al., 2022). Rows of the tile: queries times the heads of the group.
// Sums begin anew at multiples of kPartKeys and are merged in order, so that parts may be someone
// else's work.

template <FloatKind kind>
static void lay_out_queries(const Attending& a) {
  const AttentionTile& job = a.job;
  const auto load = [&](size_t at, int d) {
    const int left = job.head_dim - d;
    return load_some(job.query, job.query_dtype, at + d, left > 0 ? left : 0);
  };
  uint32_t* to = a.queries;
  for (int r = 0; r < a.rows; ++r) {
    const int64_t query = r / job.group, head = r % job.group;
    const size_t at = query * job.query_stride + a.offset() + head * job.head_dim;
    for (int d = 0; d < a.dim; d += 2 * kLanes) {
      store_words<kind>(to, load(at, d), load(at, d + kLanes));
      to += kind == kPairs ? kLanes : 2 * kLanes;
    }
  }
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

// Scores of keys that a row does not see become -inf: it sees those in [from, until) of a block.
INLINE void hide(F* scores, int64_t from, int64_t until) {
  static const float kCount[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const F nothing = f_set(-__builtin_inff());
  F index = f_load(kCount);
  UNROLL for (int v = 0; v < kKeyBlock / kLanes; ++v) {
    scores[v] = f_where_at_least(index, f_set(float(from)), scores[v], nothing);
    scores[v] = f_where_at_least(index, f_set(float(until)), nothing, scores[v]);
    index = f_add(index, f_set(float(kLanes)));
  }
}

// Scores of one row to weights; what came before is scaled to the new maximum.
template <FloatKind kind>
static void soften_row(const Attending& a, int row, int64_t start) {
  const AttentionTile& job = a.job;
  float* scores = a.scores + size_t(row) * kKeyBlock;
  uint32_t* weights = reinterpret_cast<uint32_t*>(scores);
  constexpr int words = kind == kPairs ? kLanes : 2 * kLanes;
  const int64_t until = job.position + row / job.group + 1 - start, from = until - job.window;
  if (until <= 0) {
    store_words<kind>(weights, f_zero(), f_zero());
    return store_words<kind>(weights + words, f_zero(), f_zero());
  }
  F s[kKeyBlock / kLanes];
  UNROLL for (int v = 0; v < kKeyBlock / kLanes; ++v) {
    s[v] = cap_scores(f_mul(f_load(scores + v * kLanes), f_set(job.scale)), job.softcap);
  }
  if (from > 0 || until < kKeyBlock) {
    hide(s, from > 0 ? from : 0, until < kKeyBlock ? until : kKeyBlock);
  }
  F most = f_set(-__builtin_inff());
  UNROLL for (int v = 0; v < kKeyBlock / kLanes; ++v) most = f_max(s[v], most);
  const float before = a.part.maxima[row], here = f_largest(most);
  const float maximum = here > before ? here : before;
  const F shift = f_set(maximum == -__builtin_inff() ? 0.0f : maximum);
  F sum = f_zero();
  UNROLL for (int v = 0; v < kKeyBlock / kLanes; ++v) {
    s[v] = f_exp(f_sub(s[v], shift));
    sum = f_add(sum, s[v]);
  }
  store_words<kind>(weights, s[0], s[1]);
  store_words<kind>(weights + words, s[2], s[3]);
  if (maximum != before) {
    const float factor = exp_one(before - maximum);
    a.part.sums[row] *= factor;
    scale_row(a.part.out + size_t(row) * a.dim, a.dim, factor);
  }
  a.part.maxima[row] = maximum;
  a.part.sums[row] += f_sum(sum);
}

template <FloatKind kind, bool whole>
static void attend_block(const Attending& a, const KeyRows& block, Ahead* ahead, int64_t start) {
  const HeadRows keys(a, block, 0), values(a, block, a.job.to_values);
  const int64_t left = (a.job.end - start + kLanes - 1) / kLanes * kLanes;
  const int num_keys = left < kKeyBlock ? int(left) : kKeyBlock;
  a.few() ? score_few<kind, whole>(a, keys, num_keys, ahead)
          : score_panels<kind, whole>(a, keys, num_keys, start, ahead);
  for (int r = 0; r < a.rows; ++r) soften_row<kind>(a, r, start);
  a.few() ? add_values_few<kind, whole>(a, values, num_keys, ahead)
          : add_value_panels<kind, whole>(a, values, num_keys, start, ahead);
}

// total becomes what both give together.
static void merge_row(const Part& total, const Part& part, int row, int dim) {
  const float before = total.maxima[row], here = part.maxima[row];
  const float maximum = here > before ? here : before;
  const float shift = maximum == -__builtin_inff() ? 0.0f : maximum;
  const float old_factor = exp_one(before - shift), factor = exp_one(here - shift);
  float* out = total.out + size_t(row) * dim;
  const float* more = part.out + size_t(row) * dim;
  for (int d = 0; d < dim; d += kLanes) {
    const F old = f_mul(f_load(out + d), f_set(old_factor));
    f_store(out + d, f_fma(f_load(more + d), f_set(factor), old));
  }
  total.sums[row] = total.sums[row] * old_factor + part.sums[row] * factor;
  total.maxima[row] = maximum;
}

// The output, of what all keys add up to.
static void finish_row(const Attending& a, const Part& whole, int row) {
  const AttentionTile& job = a.job;
  float* out = whole.out + size_t(row) * a.dim;
  float sum = whole.sums[row];
  if (job.sinks) {
    const float sink = job.sinks[a.head * job.group + row % job.group];
    const float maximum = sink > whole.maxima[row] ? sink : whole.maxima[row];
    const float factor = exp_one(whole.maxima[row] - maximum);
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

// What the part has goes to the total.
static void close_part(const Attending& a) {
  for (int r = 0; r < a.rows; ++r) merge_row(a.total, a.part, r, a.dim);
  clear_part(a.part, a.rows, a.dim);
}

static void finish_head(const Attending& a, bool divided) {
  if (divided) close_part(a);
  for (int r = 0; r < a.rows; ++r) finish_row(a, divided ? a.total : a.part, r);
}

template <class Function>
INLINE void for_heads(const AttentionTile& job, const Attending* heads, const Function& function) {
  for (int h = 0; h < job.num_kv_heads; ++h) function(heads[h]);
}

// All heads take a block before the next one: a token's heads lie side by side in memory.
template <FloatKind kind, bool whole>
static void attend_heads(const AttentionTile& job, const Attending* heads) {
  int64_t start = job.begin / kKeyBlock * kKeyBlock;
  const bool divided = start / kPartKeys != (job.end - 1) / kPartKeys;
  KeyRows block(job, start);
  Ahead(job, heads[0].head_bytes(), block).all();
  for_heads(job, heads, [&](const Attending& head) {
    lay_out_queries<kind>(head);
    if (divided) clear_part(head.total, head.rows, head.dim);
    clear_part(head.part, head.rows, head.dim);
  });
  for (bool first = true; start < job.end; start += kKeyBlock, first = false) {
    if (start % kPartKeys == 0 && !first) for_heads(job, heads, close_part);
    const KeyRows next(job, start + kKeyBlock);
    Ahead ahead(job, heads[0].head_bytes(), next);
    for_heads(job, heads, [&](const Attending& head) {
      attend_block<kind, whole>(head, block, &ahead, start);
    });
    block = next;
  }
  if (job.parts) return;
  for_heads(job, heads, [&](const Attending& head) { finish_head(head, divided); });
}

// The heads of a tile, made in memory that is there already.
struct TileHeads {
  Stage stage;
  alignas(Attending) char memory[kMaxTileHeads * sizeof(Attending)];

  explicit TileHeads(const AttentionTile& job) {
    const int dim = whole_panels(job.head_dim);
    float* room = job.scratch;
    stage.keys = reinterpret_cast<uint8_t*>(take(&room, size_t(kKeyBlock) * dim));
    stage.values = reinterpret_cast<uint8_t*>(take(&room, size_t(kKeyBlock) * dim));
    stage.zeros = reinterpret_cast<uint32_t*>(take(&room, size_t(dim)));
    memset(stage.zeros, 0, size_t(dim) * 4);
    for (int h = 0; h < job.num_kv_heads; ++h) {
      new (memory + h * sizeof(Attending)) Attending(job, stage, h, &room);
    }
  }

  const Attending* heads() const { return reinterpret_cast<const Attending*>(memory); }
};

static void attend(const AttentionTile& job) {
  const TileHeads tile(job);
  const bool whole = whole_panels(job.head_dim) == job.head_dim;
  if (job.kv_dtype == kFloat32) {
    whole ? attend_heads<kPlain, true>(job, tile.heads())
          : attend_heads<kPlain, false>(job, tile.heads());
  } else {
    whole ? attend_heads<kPairs, true>(job, tile.heads())
          : attend_heads<kPairs, false>(job, tile.heads());
  }
}

// `count` parts of each head, one behind the other.
static void merge_parts(const AttentionTile& job, int count) {
  const TileHeads tile(job);
  for_heads(job, tile.heads(), [&](const Attending& head) {
    clear_part(head.total, head.rows, head.dim);
    for (int r = 0; r < head.rows; ++r) {
      for (int i = 0; i < count; ++i) {
        float* at = head.part.out + i * part_floats(head.rows, job.head_dim);
        merge_row(head.total, part_at(at, head.rows, head.dim), r, head.dim);
      }
      finish_row(head, head.total, r);
    }
  });
}
