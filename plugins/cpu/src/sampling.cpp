#include "sampling.h"

#include <cmath>
#include <cstring>

#include "workspace.h"

namespace uc {
namespace {

constexpr int64_t kSpan = 512;
constexpr int kBuckets = 2048;

// Unsigned numbers in the order of the floats.
uint32_t order_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

float value_of(uint32_t order) {
  const uint32_t bits = order & 0x80000000u ? order & 0x7fffffffu : ~order;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

struct Candidate {
  uint32_t order;
  float weight;
};

// The largest value at which the weights of all values from it up sum to `target`; the smallest
// value where they never do. Found digit by digit of the order, 11 + 11 + 10 bits.
class Threshold {
 public:
  explicit Threshold(Candidate* room) : left_(room) {}

  // weights null: each counts 1. Values below `floor` do not take part.
  float find(const float* x, const float* weights, int64_t count, float floor, double target) {
    clear();
    for (int64_t i = 0; i < count; ++i) {
      if (x[i] >= floor) add(order_of(x[i]) >> 21, weights ? weights[i] : 1.0f);
    }
    uint32_t prefix = descend(&target);
    int64_t kept = 0;
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t order = order_of(x[i]);
      if (order >> 21 == prefix && x[i] >= floor) {
        left_[kept++] = {order, weights ? weights[i] : 1.0f};
      }
    }
    prefix = refine(prefix, kept, 21, 10, &target);
    return value_of(refine(prefix, kept, 10, 0, &target));
  }

 private:
  void clear() {
    std::memset(mass_, 0, sizeof mass_);
    std::memset(any_, 0, sizeof any_);
  }

  void add(uint32_t bucket, float weight) {
    mass_[bucket] += weight;
    any_[bucket] = true;
  }

  // From the top down, the bucket in which the target is met; takes off what lies above.
  uint32_t descend(double* target) {
    int last = -1;
    for (int bucket = kBuckets - 1; bucket >= 0; --bucket) {
      if (!any_[bucket]) continue;
      if (last >= 0) *target -= mass_[last];
      last = bucket;
      if (mass_[bucket] >= *target) break;
    }
    return uint32_t(last < 0 ? 0 : last);
  }

  uint32_t refine(uint32_t prefix, int64_t kept, int known, int shift, double* target) {
    clear();
    const uint32_t mask = (1u << (known - shift)) - 1;
    for (int64_t i = 0; i < kept; ++i) {
      if (left_[i].order >> known == prefix) {
        add((left_[i].order >> shift) & mask, left_[i].weight);
      }
    }
    return prefix << (known - shift) | descend(target);
  }

  Candidate* left_;
  double mass_[kBuckets];
  bool any_[kBuckets];
};

double kept_sum(const float* x, const float* weights, int64_t begin, int64_t end, float threshold) {
  float sum = 0.0f;
  for (int64_t i = begin; i < end; ++i) sum += x[i] >= threshold ? weights[i] : 0.0f;
  return sum;
}

double total_of(const float* x, const float* weights, int64_t count, float threshold,
                double* spans) {
  double total = 0.0;
  for (int64_t start = 0; start < count; start += kSpan) {
    const int64_t end = start + kSpan < count ? start + kSpan : count;
    total += spans[start / kSpan] = kept_sum(x, weights, start, end, threshold);
  }
  return total;
}

int64_t pick_inside(const float* x, const float* weights, int64_t begin, int64_t end,
                    float threshold, double target) {
  double cumulative = 0.0;
  int64_t last = begin;
  for (int64_t i = begin; i < end; ++i) {
    if (!(x[i] >= threshold) || weights[i] == 0.0f) continue;
    last = i;
    cumulative += weights[i];
    if (cumulative > target) break;
  }
  return last;
}

int64_t pick(const float* x, const float* weights, int64_t count, float threshold, double uniform,
             double* spans) {
  const double target = uniform * total_of(x, weights, count, threshold, spans);
  double before = 0.0;
  int64_t chosen = 0;
  for (int64_t span = 0; span * kSpan < count; ++span) {
    if (spans[span] == 0.0) continue;
    chosen = span;
    if (before + spans[span] > target) break;
    before += spans[span];
  }
  const int64_t begin = chosen * kSpan, end = begin + kSpan < count ? begin + kSpan : count;
  // Beyond the last: rounding left none, and the last with any weight is it.
  double inside = target - before;
  if (inside > spans[chosen]) inside = spans[chosen];
  return pick_inside(x, weights, begin, end, threshold, inside);
}

struct Room {
  float* weights;
  double* spans;
  Candidate* candidates;
};

int64_t draw_row(const DrawJob& job, int64_t row, const Room& room) {
  const int64_t count = job.vocabulary;
  const float* x = job.logits + row * count;
  float most;
  double total;
  kernels().largest(x, count, &most);
  kernels().exponentials(x, count, most, room.weights, &total);
  float threshold = -INFINITY;
  Threshold search(room.candidates);
  const int32_t k = job.top_k[row];
  if (k > 0 && k < count) {
    threshold = search.find(x, nullptr, count, -INFINITY, double(k));
    total = 0.0;
    for (int64_t i = 0; i < count; ++i) total += x[i] >= threshold ? room.weights[i] : 0.0f;
  }
  if (job.top_p[row] < 1.0f) {
    threshold = search.find(x, room.weights, count, threshold, double(job.top_p[row]) * total);
  }
  if (job.min_p[row] > 0.0f) {
    const float floor = most + float(std::log(double(job.min_p[row])));
    if (floor > threshold) threshold = floor;
  }
  return pick(x, room.weights, count, threshold, job.uniforms[row], room.spans);
}

int64_t first_of(const float* x, int64_t count, float value) {
  for (int64_t i = 0; i < count; ++i) {
    if (x[i] == value) return i;
  }
  return 0;
}

}  // namespace

Status argmax(const float* logits, int64_t rows, int64_t vocabulary, int64_t* ids) {
  return parallel([&](const Team& team) {
    int64_t begin, end;
    team.share(rows, &begin, &end);
    for (int64_t row = begin; row < end; ++row) {
      float most;
      kernels().largest(logits + row * vocabulary, vocabulary, &most);
      ids[row] = first_of(logits + row * vocabulary, vocabulary, most);
    }
  });
}

Status draw(const DrawJob& job, int64_t* ids) {
  PoolLock lock;
  Room room{};
  const size_t padded = round_up(job.vocabulary, 64), members = num_threads();
  const size_t num_spans = round_up(padded / kSpan + 1, 16);
  Workspace workspace;
  workspace.want(&room.weights, padded * members);
  workspace.want(&room.spans, num_spans * members);
  workspace.want(&room.candidates, padded * members);
  if (Status status = workspace.place()) return status;
  return parallel([&](const Team& team) {
    const Room own{room.weights + padded * team.id, room.spans + num_spans * team.id,
                   room.candidates + padded * team.id};
    int64_t begin, end;
    team.share(job.rows, &begin, &end);
    for (int64_t row = begin; row < end; ++row) ids[row] = draw_row(job, row, own);
  });
}

}  // namespace uc
