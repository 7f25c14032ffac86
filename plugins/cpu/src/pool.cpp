#include "pool.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <pthread.h>
#include <signal.h>
#endif

#include "pieces.h"
#include "topology.h"
#include "waiting.h"

namespace uc {
namespace {

// 0.85 ms on Zen 4: longer than Python takes between two calls of a step, so that no thread sleeps
// and has to be woken within one.
constexpr int kSpins = 32000;

struct alignas(128) State {
  alignas(128) Signal work;
  alignas(128) Signal ended;
  alignas(128) std::atomic<int> arrived{0};
  std::atomic<bool> stopping{false};
  Body body = nullptr;
  void* context = nullptr;
  int wanted = 1;
  int started = 1;
  int spins = kSpins;
  uint32_t job = 0;  // The first of the run.
  std::vector<std::vector<int>> nodes;  // Their processors.
  std::vector<int> members_of_nodes{1};
  std::thread threads[kMaxThreads];
  std::recursive_mutex mutex;
};

State& state() {
  static State* const shared = new State;  // Never destroyed: workers may outlive static objects.
  return *shared;
}

// The node whose memory the member with this id reads.
size_t node_of(int id) {
  size_t node = 0;
  for (int members : state().members_of_nodes) {
    if (id < members) break;
    id -= members;
    ++node;
  }
  return node;
}

void work(int id) {
  State& s = state();
  if (s.members_of_nodes.size() > 1) stay_on(s.nodes[node_of(id)]);
  int seen = 0;
  for (;;) {
    s.work.wait_beyond(seen, s.spins);
    ++seen;
    if (s.stopping.load(std::memory_order_acquire)) return;
    s.body(s.context, Team(id, s.started, s.job));
    if (s.arrived.fetch_add(1, std::memory_order_acq_rel) == s.started - 2) s.ended.advance();
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
  s.ended.reset();
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

void find_processors() {
  State& s = state();
  const std::vector<int> allowed = allowed_processors();
  const size_t processors = allowed.empty() ? std::thread::hardware_concurrency() : allowed.size();
  // Spinning threads that share a processor only keep one another from working.
  s.spins = size_t(s.wanted) <= std::max<size_t>(processors, 1) ? kSpins : 0;
  s.nodes = memory_nodes("", allowed);
  s.members_of_nodes = divide_threads(s.wanted, s.nodes);
}

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
  find_processors();
  reset_pieces(s.spins, s.members_of_nodes);
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

Status set_num_threads(int count) {
  if (count < 1 || count > kMaxThreads) {
    return fail(kBadArgument, "threads must be 1 to %d, is %d", kMaxThreads, count);
  }
  PoolLock lock;
  State& s = state();
  if (count == s.wanted) return kOk;
  stop();
  s.wanted = count;
  find_processors();
  return kOk;
}

int num_threads() { return state().wanted; }

int num_nodes() { return int(state().members_of_nodes.size()); }

Status run_team(Body body, void* context) {
  PoolLock lock;
  State& s = state();
  if (s.started < s.wanted) {
    if (Status status = start()) return status;
  }
  const int ended = s.ended.value();
  s.job = next_job();
  if (s.started > 1) {
    s.body = body;
    s.context = context;
    s.arrived.store(0, std::memory_order_relaxed);
    s.work.advance();
  }
  body(context, Team(0, s.started, s.job));
  if (s.started > 1) s.ended.wait_beyond(ended, s.spins);
  return kOk;
}

}  // namespace uc
