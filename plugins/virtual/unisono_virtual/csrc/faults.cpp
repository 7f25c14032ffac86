#include "faults.h"

#include <stdexcept>

namespace unisono_virtual {

std::atomic<bool> fault_flags[static_cast<int>(Fault::count)];

namespace {

constexpr const char* kNames[] = {
    "memory_leak",           "memory_misreported", "oom_not_recovered",
    "oom_wrong_error",       "late_nonblocking_copy", "event_elapsed_zero",
    "event_sync_noop",       "wait_event_ignored", "generator_ignores_seed",
    "rng_state_not_restored", "pinned_lies",       "tied_weights_untied",
    "save_load_corrupts",
};
static_assert(std::size(kNames) == static_cast<size_t>(Fault::count));

}  // namespace

void plant(const std::string& name) {
  for (size_t index = 0; index < std::size(kNames); ++index) {
    if (name == kNames[index]) {
      fault_flags[index] = true;
      return;
    }
  }
  throw std::invalid_argument("no fault of that name: " + name);
}

}  // namespace unisono_virtual
