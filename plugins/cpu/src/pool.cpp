#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#include <signal.h>
#endif
#if defined(__linux__)
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#endif

namespace uc {
namespace {

constexpr int kMaxThreads = 1024;
// 0.85 ms on Zen 4: longer than Python takes between two calls of a step, so that no thread sleeps
// and has to be woken within one.
constexpr int kSpins = 32000;

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Where threads sleep while a number has the value they saw.
class Bed {
 public:
#if defined(__linux__)
  void wake(std::atomic<int>& value) {
    syscall(SYS_futex, &value, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  }
  void sleep(std::atomic<int>& value, int seen) {
    while (value.load(std::memory_order_seq_cst) == seen) {
      syscall(SYS_futex, &value, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
    }
  }
#else
  void wake(std::atomic<int>&) {
    { const std::lock_guard<std::mutex> guard(mutex_); }
    changed_.notify_all();
  }
  void sleep(std::atomic<int>& value, int seen) {
    std::unique_lock<std::mutex> guard(mutex_);
    while (value.load(std::memory_order_seq_cst) == seen) changed_.wait(guard);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
#endif
};

// A number that threads wait to see change: they spin a while, then sleep.
class Signal {
 public:
  int value() const { return value_.load(std::memory_order_acquire); }

  void advance() {
    value_.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) bed_.wake(value_);
  }

  void wait_beyond(int seen, int spins) {
    for (int i = 0; i < spins; ++i) {
      if (value() != seen) return;
      relax();
    }
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    bed_.sleep(value_, seen);
    sleepers_.fetch_sub(1, std::memory_order_seq_cst);
  }

  // Nobody waits. In a child of fork() the bed is as threads that are gone left it.
  void reset() {
    value_ = 0;
    sleepers_ = 0;
    new (&bed_) Bed;
  }

 private:
  std::atomic<int> value_{0};
  std::atomic<int> sleepers_{0};
  Bed bed_;
};

// What a member has handed out of its share. Two jobs in turn: while one runs, the owner clears the
// other's count, which nobody reads between the barriers around the job.
struct alignas(128) Share {
  std::atomic<int64_t> taken[2]{};
  int turn = 0;
};

struct alignas(128) State {
  alignas(128) Signal work;
  alignas(128) Signal phase;
  alignas(128) std::atomic<int> arrived{0};
  std::atomic<bool> stopping{false};
  Body body = nullptr;
  void* context = nullptr;
  int wanted = 1;
  int started = 1;
  int spins = kSpins;
  std::thread threads[kMaxThreads];
  Share shares[kMaxThreads];
  std::recursive_mutex mutex;
};

State& state() {
  static State* const shared = new State;  // Never destroyed: workers may outlive static objects.
  return *shared;
}

int num_processors() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned count = std::thread::hardware_concurrency();
  return count > 0 ? int(count) : 1;
}

void work(int id) {
  State& s = state();
  int seen = 0;
  for (;;) {
    s.work.wait_beyond(seen, s.spins);
    ++seen;
    if (s.stopping.load(std::memory_order_acquire)) return;
    const Team team(id, s.started);
    s.body(s.context, team);
    team.barrier();
  }
}

void stop() {
  State& s = state();
  if (s.started > 1) {
    s.stopping = true;
    s.work.advance();
    for (int id = 1; id < s.started; ++id) s.threads[id].join();
  }
  s.stopping = false;
  s.started = 1;
  s.work.reset();
}

#if defined(_WIN32)
void register_at_fork() {}

struct SignalsBlocked {};
#else
// A child of fork() has the caller's thread alone, and its mutex has an owner that is gone.
void forget_threads() {
  State& s = state();
  new (&s.mutex) std::recursive_mutex;
  for (int id = 1; id < s.started; ++id) new (&s.threads[id]) std::thread;
  s.started = 1;
  s.arrived = 0;
  s.work.reset();
  s.phase.reset();
}

void register_at_fork() {
  static const int registered = pthread_atfork(lock_pool, unlock_pool, forget_threads);
  (void)registered;
}

// Threads that are started meanwhile take no signals: those are for the threads of the host.
struct SignalsBlocked {
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }
  sigset_t before;
};
#endif

bool start_thread(int id) {
  try {
    state().threads[id] = std::thread(work, id);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

Status start() {
  State& s = state();
  register_at_fork();
  // Spinning threads that share a processor only keep one another from working.
  s.spins = s.wanted <= num_processors() ? kSpins : 0;
  for (Share& share : s.shares) {
    share.turn = 0;
    share.taken[0] = share.taken[1] = 0;
  }
  {
    [[maybe_unused]] const SignalsBlocked blocked;
    while (s.started < s.wanted && start_thread(s.started)) ++s.started;
  }
  if (s.started == s.wanted) return kOk;
  const int got = s.started;
  stop();
  return fail(kNoMemory, "only %d of %d threads could be started", got, s.wanted);
}

}  // namespace

void lock_pool() { state().mutex.lock(); }
void unlock_pool() { state().mutex.unlock(); }

void Team::barrier() const {
  if (size == 1) return;
  State& s = state();
  const int phase = s.phase.value();
  if (s.arrived.fetch_add(1, std::memory_order_acq_rel) == size - 1) {
    s.arrived.store(0, std::memory_order_relaxed);
    s.phase.advance();
  } else {
    s.phase.wait_beyond(phase, s.spins);
  }
}

Pieces::Pieces(const Team& team, int64_t count, int64_t grain)
    : team_(team), count_(count), grain_(grain) {
  Share& own = state().shares[team.id];
  turn_ = own.turn;
  own.turn = 1 - turn_;
  own.taken[own.turn].store(0, std::memory_order_relaxed);
}

bool Pieces::next(int64_t* begin, int64_t* end) {
  for (; helped_ < team_.size; ++helped_) {
    const Team owner((team_.id + helped_) % team_.size, team_.size);
    owner.share(count_, begin, end);
    std::atomic<int64_t>& taken = state().shares[owner.id].taken[turn_];
    *begin += taken.fetch_add(grain_, std::memory_order_relaxed);
    if (*begin < *end) {
      *end = *begin + grain_ < *end ? *begin + grain_ : *end;
      return true;
    }
  }
  return false;
}

Status set_num_threads(int count) {
  if (count < 1 || count > kMaxThreads) {
    return fail(kBadArgument, "threads must be 1 to %d, is %d", kMaxThreads, count);
  }
  PoolLock lock;
  State& s = state();
  if (count != s.wanted) stop();
  s.wanted = count;
  return kOk;
}

int num_threads() { return state().wanted; }

Status run_team(Body body, void* context) {
  PoolLock lock;
  State& s = state();
  if (s.started < s.wanted) {
    if (Status status = start()) return status;
  }
  const Team team(0, s.started);
  if (team.size > 1) {
    s.body = body;
    s.context = context;
    s.work.advance();
  }
  body(context, team);
  team.barrier();
  return kOk;
}

}  // namespace uc
