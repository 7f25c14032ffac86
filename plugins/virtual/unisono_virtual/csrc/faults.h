// Planted faults that cannot be planted from Python. Off unless asked for by name.
#pragma once

#include <atomic>
#include <string>

namespace unisono_virtual {

enum class Fault : int {
  memory_leak,
  memory_misreported,
  oom_not_recovered,
  oom_wrong_error,
  late_nonblocking_copy,
  event_elapsed_zero,
  event_sync_noop,
  wait_event_ignored,
  generator_ignores_seed,
  rng_state_not_restored,
  pinned_lies,
  tied_weights_untied,
  save_load_corrupts,
  count,
};

extern std::atomic<bool> fault_flags[static_cast<int>(Fault::count)];

inline bool planted(Fault fault) {
  return fault_flags[static_cast<int>(fault)].load(std::memory_order_relaxed);
}

// Throws std::invalid_argument where there is no such fault here.
void plant(const std::string& name);

}  // namespace unisono_virtual
