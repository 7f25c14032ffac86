// Page-locked host memory, as far as torch can tell: every block is known by its address.
#include <ATen/core/CachingHostAllocator.h>
#include <c10/util/Exception.h>

#include <cstdlib>
#include <map>
#include <mutex>

#include "allocator.h"
#include "faults.h"

namespace unisono_virtual {
namespace {

constexpr size_t kPinnedAlignment = 4096;

struct Registry {
  std::mutex mutex;
  std::map<const char*, size_t> blocks;
};

Registry& registry() {
  static auto* instance = new Registry();
  return *instance;
}

void free_pinned(void* address) {
  if (address == nullptr) return;
  {
    const std::lock_guard<std::mutex> lock(registry().mutex);
    registry().blocks.erase(static_cast<const char*>(address));
  }
  std::free(address);
}

class PinnedAllocator final : public at::HostAllocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* address = nullptr;
    if (bytes > 0) {
      TORCH_CHECK_WITH(OutOfMemoryError, posix_memalign(&address, kPinnedAlignment, bytes) == 0,
                       "No ", bytes, " bytes of pinned host memory.");
      if (!planted(Fault::pinned_lies)) {
        const std::lock_guard<std::mutex> lock(registry().mutex);
        registry().blocks[static_cast<const char*>(address)] = bytes;
      }
    }
    return {address, address, &free_pinned, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_pinned; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
  // Nothing is kept for later and no copy outlives its stream, so there is little to tell.
  bool record_event(void*, void*, c10::Stream) override { return true; }
  void empty_cache() override {}
  at::HostStats get_stats() override { return {}; }
  void reset_accumulated_stats() override {}
  void reset_peak_stats() override {}
};

}  // namespace

c10::Allocator* pinned_allocator() {
  static auto* instance = [] {
    auto* made = new PinnedAllocator();
    at::setHostAllocator(c10::DeviceType::PrivateUse1, made);
    return made;
  }();
  return instance;
}

bool is_pinned(const void* address) {
  const auto* at = static_cast<const char*>(address);
  const std::lock_guard<std::mutex> lock(registry().mutex);
  auto after = registry().blocks.upper_bound(at);
  if (after == registry().blocks.begin()) return false;
  const auto& [begin, bytes] = *--after;
  return at < begin + bytes;
}

}  // namespace unisono_virtual
