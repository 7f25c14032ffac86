// One pool of threads for the process. The caller is member 0 of every team.
#pragma once

#include <cstdint>

#include "status.h"

namespace uc {

constexpr int kMaxThreads = 1024;

class Team {
 public:
  Team(int id, int size, uint32_t job = 0) : id(id), size(size), job(job) {}
  // This member's share of `count` items: [begin, end).
  void share(int64_t count, int64_t* begin, int64_t* end) const {
    *begin = count * id / size;
    *end = count * (id + 1) / size;
  }
  const int id;
  const int size;
  mutable uint32_t job;  // The number of the next job (pieces.h).
};

Status set_num_threads(int count);
int num_threads();
// Memory nodes that the threads are divided among: each member of a team stays on one, but for the caller.
int num_nodes();

using Body = void (*)(void* context, const Team& team);
// Runs `body` once on every thread; returns when all are done. One caller at a time, others wait.
Status run_team(Body body, void* context);

template <class Function>
Status parallel(const Function& function) {
  return run_team(
      [](void* context, const Team& team) { (*static_cast<const Function*>(context))(team); },
      const_cast<void*>(static_cast<const void*>(&function)));
}

// Held around a use of the pool and its workspace.
void lock_pool();
void unlock_pool();
struct PoolLock {
  PoolLock() { lock_pool(); }
  ~PoolLock() { unlock_pool(); }
};

}  // namespace uc
