#include "pieces.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "waiting.h"

namespace uc {
namespace {

// 50 us on Zen 4, which is more than most pieces take: whose piece is not done by then has lost its
// processor.
constexpr int kPatience = 2000;
#if defined(__SANITIZE_THREAD__)
constexpr bool kTakesOver = false;  // Two threads that write the same bits are a race to it.
#else
constexpr bool kTakesOver = true;
#endif

constexpr uint64_t kNone = ~uint64_t(0);
constexpr uint64_t tagged(uint32_t job, int64_t number) {
  return uint64_t(job) << 32 | uint32_t(number);
}
constexpr uint32_t job_of(uint64_t word) { return uint32_t(word >> 32); }
// Numbers of jobs wrap around.
constexpr int later(uint32_t job, uint32_t than) { return int(job - than); }

// What a member has handed out of its share, what of that is done, and the piece that it is at; each with
// the number of the job, so that nobody has to clear them and a late member cannot touch what is not its.
struct alignas(128) Desk {
  std::atomic<uint64_t> taken, done, held;
  alignas(128) std::atomic<uint64_t> limit;  // The job that may not begin while the member is at it.
  int first, num_members;  // Of its memory node.
};

struct alignas(128) Jobs {
  alignas(128) Signal current;
  alignas(128) std::atomic<int> shares_done{0};  // Of the current job.
  int spins = 0;
  Desk desks[kMaxThreads];
};

Jobs& jobs() {
  static Jobs* const shared = new Jobs;
  return *shared;
}

// Until nobody is at a piece for which job `next` must not begin.
void wait_for_late(uint32_t next, int members) {
  for (int id = 0; id < members; ++id) {
    const std::atomic<uint64_t>& limit = jobs().desks[id].limit;
    for (int spins = 0;; ++spins) {
      const uint64_t seen = limit.load(std::memory_order_seq_cst);
      if (seen == kNone || later(next, uint32_t(seen)) < 0) break;
      spins < jobs().spins ? relax() : std::this_thread::yield();
    }
  }
}

}  // namespace

void reset_pieces(int spins, const std::vector<int>& members_of_nodes, uint32_t first_job) {
  Jobs& all = jobs();
  all.spins = spins;
  all.shares_done = 0;
  all.current.reset(int(first_job));
  for (Desk& desk : all.desks) {
    desk.taken = desk.done = tagged(first_job - 1, 0);
    desk.held = desk.limit = kNone;
  }
  int first = 0;
  for (int members : members_of_nodes) {
    for (int id = first; id < first + members; ++id) {
      all.desks[id].first = first;
      all.desks[id].num_members = members;
    }
    first += members;
  }
}

uint32_t next_job() { return uint32_t(jobs().current.value()); }

Pieces::Pieces(const Team& team, int64_t count, int64_t grain, int reach)
    : team_(team), count_(count), grain_(grain), reach_(reach),
      job_(team.size > 1 && count > 0 ? team.job++ : 0) {}

// Half of what is left of a share, but no crumbs.
int64_t Pieces::size_at(int64_t position, int64_t length) const {
  const int64_t left = length - position, least = std::max<int64_t>(1, grain_ / 4);
  return std::min(left, std::max(least, std::min(grain_, left / 2)));
}

int Pieces::owner_of(int64_t item) const { return int(((item + 1) * team_.size - 1) / count_); }

Pieces::Range Pieces::share_of(int id) const {
  Range share;
  Team(id, team_.size).share(count_, &share.begin, &share.end);
  return share;
}

// The whole piece that begins there.
Pieces::Range Pieces::piece_at(int64_t begin) const {
  const Range share = share_of(owner_of(begin));
  return {begin, begin + size_at(begin - share.begin, share.end - share.begin)};
}

bool Pieces::next(int64_t* begin, int64_t* end) {
  Range piece{begin_, std::min(begin_ + grain_, count_)};
  if (team_.size == 1) {
    begin_ = piece.end;
  } else if (count_ > 0) {
    finish();
    if (!take(&piece) && !wait(&piece)) return false;
  }
  *begin = piece.begin;
  *end = piece.end;
  return piece.begin < piece.end;
}

// Where this member is late, all shares of the job are used up, or are of a later one.
bool Pieces::take_from(int id, Range* piece) {
  const Range share = share_of(id);
  const int64_t length = share.end - share.begin;
  std::atomic<uint64_t>& taken = jobs().desks[id].taken;
  uint64_t seen = taken.load(std::memory_order_relaxed);
  for (;;) {
    const int ahead = later(job_of(seen), job_);
    const int64_t position = ahead < 0 ? 0 : int64_t(uint32_t(seen));
    if (ahead > 0 || position >= length) return false;
    const int64_t size = size_at(position, length);
    if (taken.compare_exchange_weak(seen, tagged(job_, position + size))) {
      *piece = {share.begin + position, share.begin + position + size};
      return true;
    }
  }
}

// The member whose share is next.
int Pieces::to_help() const {
  const Desk& own = jobs().desks[team_.id];
  if (helped_ >= own.num_members) return (own.first + helped_) % team_.size;
  return own.first + (team_.id - own.first + helped_) % own.num_members;
}

// The member is at the job: others begin none for which what it reads and writes may change.
bool Pieces::enter() const {
  std::atomic<uint64_t>& own = jobs().desks[team_.id].limit;
  const uint64_t limit = reach_ > 0 ? tagged(0, job_ + 1 + reach_) : kNone;
  if (own.load(std::memory_order_relaxed) != limit) own.store(limit, std::memory_order_seq_cst);
  return next_job() == job_;
}

void Pieces::leave() const {
  jobs().desks[team_.id].limit.store(kNone, std::memory_order_release);
}

bool Pieces::take(Range* piece) {
  for (bool in = enter(); in && helped_ < team_.size; ++helped_) {
    if (!take_from(to_help(), piece)) continue;
    holder_ = team_.id;
    begin_ = piece->begin;
    jobs().desks[holder_].held.store(tagged(job_, begin_), std::memory_order_release);
    return true;
  }
  leave();
  return false;
}

// The piece of a member that is not done with it.
bool Pieces::take_over(Range* piece) {
  bool in = enter();
  for (int i = 1; in && i < team_.size; ++i) {
    const int id = (team_.id + i) % team_.size;
    const uint64_t held = jobs().desks[id].held.load(std::memory_order_acquire);
    if (held == kNone || job_of(held) != job_) continue;
    holder_ = id;
    begin_ = int64_t(uint32_t(held));
    *piece = piece_at(begin_);
    return true;
  }
  leave();
  return false;
}

bool Pieces::wait(Range* piece) {
  Jobs& all = jobs();
  if (all.current.changes(int(job_), std::min(kPatience, all.spins))) return false;
  if (reach_ > 0 && all.spins > 0 && kTakesOver && take_over(piece)) return true;
  all.current.wait_beyond(int(job_), all.spins);
  return false;
}

// Whoever of two is first at the end of a piece counts it.
void Pieces::finish() {
  if (holder_ < 0) return;
  uint64_t held = tagged(job_, begin_);
  const bool first = jobs().desks[holder_].held.compare_exchange_strong(held, kNone);
  holder_ = -1;
  if (first) count(piece_at(begin_));
}

void Pieces::count(const Range& piece) const {
  const int owner = owner_of(piece.begin);
  const Range share = share_of(owner);
  std::atomic<uint64_t>& done = jobs().desks[owner].done;
  uint64_t seen = done.load(std::memory_order_relaxed);
  int64_t sum;
  do {
    sum = piece.end - piece.begin + (job_of(seen) == job_ ? int64_t(uint32_t(seen)) : 0);
  } while (!done.compare_exchange_weak(seen, tagged(job_, sum)));
  if (sum < share.end - share.begin) return;
  const int shares = int(std::min<int64_t>(count_, team_.size));
  if (jobs().shares_done.fetch_add(1) + 1 == shares) advance();
}

void Pieces::advance() const {
  leave();
  jobs().shares_done.store(0, std::memory_order_relaxed);
  wait_for_late(job_ + 1, team_.size);
  jobs().current.advance();
}

}  // namespace uc
