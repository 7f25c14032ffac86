// A job in pieces, which the members of a team take until all of them are done.
#pragma once

#include <cstdint>
#include <vector>

#include "pool.h"

namespace uc {

// Pieces of [0, count). A member takes its own share from the front, and then what others have left of
// theirs, those of its own memory node first; towards the end of a share pieces get smaller. next() is
// false when every piece is done, by whomever. Every member makes the same Pieces in the same order, and
// calls next() until it is false; which member takes a piece must not matter.
//
// With a `reach` a piece may be done twice: by the member that took it, and by one that waits for it,
// because a thread that lost its processor would hold up all others. Such a piece writes the same
// bits to the same places each time, and what it reads and writes stays as it is for `reach` jobs
// more: so far the others go on while a member is still at it.
class Pieces {
 public:
  // `grain` items in a piece, or fewer.
  Pieces(const Team& team, int64_t count, int64_t grain, int reach = 0);
  bool next(int64_t* begin, int64_t* end);

 private:
  struct Range {
    int64_t begin, end;
  };
  int64_t size_at(int64_t position, int64_t length) const;
  int to_help() const;
  int owner_of(int64_t item) const;
  Range share_of(int id) const;
  Range piece_at(int64_t begin) const;
  bool enter() const;
  void leave() const;
  bool take(Range* piece);
  bool take_from(int owner, Range* piece);
  bool take_over(Range* piece);
  bool wait(Range* piece);
  void finish();
  void count(const Range& piece) const;
  void advance() const;

  const Team& team_;
  const int64_t count_, grain_;
  const int reach_;
  const uint32_t job_;
  int helped_ = 0;     // Members whose shares are used up.
  int holder_ = -1;    // Whose piece this member is at; -1: none.
  int64_t begin_ = 0;  // Of that piece; with one member, of the next.
};

// How long threads spin before they sleep, and how many members each memory node has; no thread is in a
// job meanwhile. Members help those of their own node first. Jobs are counted from `first_job` on.
void reset_pieces(int spins, const std::vector<int>& members_of_nodes, uint32_t first_job = 0);
// The number of the next job.
uint32_t next_job();

}  // namespace uc
