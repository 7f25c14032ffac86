#include "workspace.h"

#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace uc {
namespace {

constexpr size_t kHugePage = size_t(2) << 20;
constexpr std::align_val_t kAtHugePage{kHugePage};
void* shared = nullptr;
size_t shared_bytes = 0;
int allowed_growths = -1;

bool may_grow() {
  if (allowed_growths < 0) return true;
  if (allowed_growths == 0) return false;
  --allowed_growths;
  return true;
}

}  // namespace

void Workspace::add(void** piece, size_t bytes) {
  if (count_ >= kMaxPieces) std::abort();
  pieces_[count_] = piece;
  offsets_[count_++] = bytes_;
  bytes_ += round_up(bytes, 2 * kAlignment);
}

Status Workspace::place() {
  if (bytes_ > shared_bytes) {
    const size_t bytes = round_up(bytes_, kHugePage);
    void* grown = may_grow() ? operator new(bytes, kAtHugePage, std::nothrow) : nullptr;
    if (!grown) return fail(kNoMemory, "no memory for %zu bytes of workspace", bytes);
#if defined(__linux__)
    madvise(grown, bytes, MADV_HUGEPAGE);
#endif
    operator delete(shared, kAtHugePage);
    shared = grown;
    shared_bytes = bytes;
  }
  for (int i = 0; i < count_; ++i) *pieces_[i] = static_cast<char*>(shared) + offsets_[i];
  return kOk;
}

void fail_allocation_after(int count) { allowed_growths = count; }

void release_workspace() {
  operator delete(shared, kAtHugePage);
  shared = nullptr;
  shared_bytes = 0;
}

size_t workspace_bytes() { return shared_bytes; }

}  // namespace uc
