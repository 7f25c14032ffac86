#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <ctime>
#include <mutex>
#include <new>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
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

// A number that threads wait to see change: they spin a while, then sleep.
class Signal {
 public:
  int value() const { return value_.load(std::memory_order_acquire); }

  void advance() {
    value_.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) wake();
  }

  void wait_beyond(int seen, int spins) {
    for (int i = 0; i < spins; ++i) {
      if (value() != seen) return;
      relax();
    }
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    while (value_.load(std::memory_order_seq_cst) == seen) sleep(seen);
    sleepers_.fetch_sub(1, std::memory_order_seq_cst);
  }

  void reset() {
    value_ = 0;
    sleepers_ = 0;
  }

 private:
#if defined(__linux__)
  void wake() { syscall(SYS_futex, &value_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0); }
  void sleep(int seen) {
    syscall(SYS_futex, &value_, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
  }
#else
  void wake() {}
  void sleep(int) {
    timespec pause{0, 50000};
    nanosleep(&pause, nullptr);
  }
#endif
  std::atomic<int> value_{0};
  std::atomic<int> sleepers_{0};
};

// What a member has handed out of its share. Two jobs in turn: while one runs, the owner clears the
// other's count, which nobody reads between the barriers around the job.
struct alignas(128) Share {
  std::atomic<long> taken[2]{};
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
  pthread_t threads[kMaxThreads];
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
  const long count = sysconf(_SC_NPROCESSORS_ONLN);
  return count > 0 ? int(count) : 1;
}

void* work(void* argument) {
  State& s = state();
  const int id = int(reinterpret_cast<long>(argument));
  int seen = 0;
  for (;;) {
    s.work.wait_beyond(seen, s.spins);
    ++seen;
    if (s.stopping.load(std::memory_order_acquire)) return nullptr;
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
    for (int id = 1; id < s.started; ++id) pthread_join(s.threads[id], nullptr);
  }
  s.stopping = false;
  s.started = 1;
  s.work.reset();
}

// A child of fork() has the caller's thread alone, and its mutex has an owner that is gone.
void forget_threads() {
  State& s = state();
  new (&s.mutex) std::recursive_mutex;
  s.started = 1;
  s.arrived = 0;
  s.work.reset();
  s.phase.reset();
}

Status start() {
  State& s = state();
  static const int registered = pthread_atfork(lock_pool, unlock_pool, forget_threads);
  (void)registered;
  // Spinning threads that share a processor only keep one another from working.
  s.spins = s.wanted <= num_processors() ? kSpins : 0;
  for (Share& share : s.shares) {
    share.turn = 0;
    share.taken[0] = share.taken[1] = 0;
  }
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  while (s.started < s.wanted &&
         pthread_create(&s.threads[s.started], nullptr, work,
                        reinterpret_cast<void*>(long(s.started))) == 0) {
    ++s.started;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
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

Pieces::Pieces(const Team& team, long count, long grain)
    : team_(team), count_(count), grain_(grain) {
  Share& own = state().shares[team.id];
  turn_ = own.turn;
  own.turn = 1 - turn_;
  own.taken[own.turn].store(0, std::memory_order_relaxed);
}

bool Pieces::next(long* begin, long* end) {
  for (; helped_ < team_.size; ++helped_) {
    const Team owner((team_.id + helped_) % team_.size, team_.size);
    owner.share(count_, begin, end);
    std::atomic<long>& taken = state().shares[owner.id].taken[turn_];
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
