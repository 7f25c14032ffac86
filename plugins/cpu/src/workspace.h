// Memory that calls share, kept from one to the next. Valid while the pool is locked.
#pragma once

#include <cstddef>
#include <cstdint>

#include "status.h"

namespace uc {

constexpr size_t kAlignment = 64;
constexpr size_t round_up(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Takes pieces of the shared buffer: first sized, then placed.
class Workspace {
 public:
  template <class T>
  void want(T** piece, size_t count) {
    add(reinterpret_cast<void**>(piece), count * sizeof(T));
  }
  Status place();

 private:
  static constexpr int kMaxPieces = 32;
  void add(void** piece, size_t bytes);
  void** pieces_[kMaxPieces];
  size_t offsets_[kMaxPieces];
  int count_ = 0;
  size_t bytes_ = 0;
};

// For tests: the n-th growth of the workspace from now on fails, and those after it; -1 for none.
void fail_allocation_after(int count);
void release_workspace();
size_t workspace_bytes();

}  // namespace uc
