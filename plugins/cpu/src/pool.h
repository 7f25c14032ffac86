// One pool of threads for the process. The caller is member 0 of every team.
#pragma once

#include <cstdint>

#include "status.h"

namespace uc {

class Team {
 public:
  Team(int id, int size) : id(id), size(size) {}
  // All members wait for one another.
  void barrier() const;
  // This member's share of `count` items: [begin, end).
  void share(int64_t count, int64_t* begin, int64_t* end) const {
    *begin = count * id / size;
    *end = count * (id + 1) / size;
  }
  const int id;
  const int size;
};

// Pieces of [0, count) for the members of a team, each once: a member takes its own share from the
// front, and then what others have left of theirs. Which member takes a piece must not matter.
// Every member makes one for the same job, and a barrier lies between two jobs.
class Pieces {
 public:
  // `grain` items in a piece; the last of a share may have fewer.
  Pieces(const Team& team, int64_t count, int64_t grain);
  bool next(int64_t* begin, int64_t* end);

 private:
  const Team& team_;
  const int64_t count_, grain_;
  int turn_;
  int helped_ = 0;  // Members whose shares are used up.
};

Status set_num_threads(int count);
int num_threads();

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
