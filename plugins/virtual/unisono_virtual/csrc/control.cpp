// What the Python side calls: torch.ops.unisono_virtual.*
#include <malloc.h>
#include <torch/library.h>

#include "alias.h"
#include "allocator.h"
#include "arena.h"
#include "clock.h"
#include "config.h"
#include "faults.h"
#include "generator.h"
#include "streams.h"

namespace unisono_virtual {
namespace {

// Results of CPU kernels are made on the host before they move: let malloc keep their pages.
void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
#endif
}

void open_devices(int64_t num_devices, int64_t memory_bytes, bool memory_info, bool memory_stats) {
  TORCH_CHECK(config().num_devices == 0, "The virtual devices are open already.");
  Arenas::open(static_cast<int>(num_devices), static_cast<size_t>(memory_bytes));
  config() = {static_cast<int>(num_devices), static_cast<size_t>(memory_bytes), memory_info,
              memory_stats};
  register_allocator(memory_stats);
  pinned_allocator();
  keep_freed_memory();
}

void set_rates(double bandwidth, const c10::Dict<std::string, double>& peaks) {
  std::map<std::string, double> table;
  for (const auto& entry : peaks) table[entry.key()] = entry.value();
  RooflineClock::set_rates(bandwidth, table);
}

RooflineClock& clock_of(int64_t device) {
  return RooflineClock::of(static_cast<c10::DeviceIndex>(device));
}

std::string report(int64_t device) { return clock_of(device).report(); }
std::string why_not(int64_t device) { return clock_of(device).why_not(); }
double seconds(int64_t device) {
  return simulated_seconds(static_cast<c10::DeviceIndex>(device));
}

void reset_clock() {
  for (int device = 0; device < config().num_devices; ++device) clock_of(device).reset();
  reset_time();
}

void seed(int64_t device, int64_t number) {
  auto generator = default_generator(static_cast<c10::DeviceIndex>(device));
  generator.set_current_seed(static_cast<uint64_t>(number));
}

int64_t initial_seed(int64_t device) {
  const auto& generator = default_generator(static_cast<c10::DeviceIndex>(device));
  return static_cast<int64_t>(generator.current_seed());
}

at::Tensor rng_state(int64_t device) {
  return default_generator(static_cast<c10::DeviceIndex>(device)).get_state();
}

void set_rng_state(int64_t device, const at::Tensor& state) {
  auto generator = default_generator(static_cast<c10::DeviceIndex>(device));
  generator.set_state(state);
}

void set_device(int64_t device) {
  TORCH_CHECK(device >= 0 && device < config().num_devices, "There is no virtual device ", device,
              ": there are ", config().num_devices, ".");
  exchange_device(static_cast<c10::DeviceIndex>(device));
}

int64_t get_device() { return current_device(); }
void synchronize(int64_t device) { host_waits_for_device(static_cast<c10::DeviceIndex>(device)); }

// Allocated, reserved, both at their peaks, free, total.
std::vector<int64_t> memory(int64_t device) {
  const auto index = static_cast<c10::DeviceIndex>(device);
  auto stats = device_allocator()->getDeviceStats(index);
  const auto& allocated = stats.allocated_bytes[0];
  const auto& reserved = stats.reserved_bytes[0];
  const auto [free, all] = memory_of(index);
  return {allocated.current,       reserved.current,
          allocated.peak,          reserved.peak,
          static_cast<int64_t>(free), static_cast<int64_t>(all)};
}

void reset_peak(int64_t device) {
  device_allocator()->resetPeakStats(static_cast<c10::DeviceIndex>(device));
}

void empty_cache() { device_allocator()->emptyCache(); }

}  // namespace

TORCH_LIBRARY(unisono_virtual, m) {
  m.def("open_devices(int num_devices, int memory, bool info, bool stats) -> ()", open_devices);
  m.def("set_rates(float bandwidth, Dict(str, float) peaks) -> ()", set_rates);
  m.def("plant(str fault) -> ()", plant);
  m.def("report(int device) -> str", report);
  m.def("why_no_prediction(int device) -> str", why_not);
  m.def("simulated_seconds(int device) -> float", seconds);
  m.def("reset_clock() -> ()", reset_clock);
  m.def("seed(int device, int number) -> ()", seed);
  m.def("initial_seed(int device) -> int", initial_seed);
  m.def("rng_state(int device) -> Tensor", rng_state);
  m.def("set_rng_state(int device, Tensor state) -> ()", set_rng_state);
  m.def("set_device(int device) -> ()", set_device);
  m.def("get_device() -> int", get_device);
  m.def("synchronize(int device) -> ()", synchronize);
  m.def("memory(int device) -> int[]", memory);
  m.def("reset_peak(int device) -> ()", reset_peak);
  m.def("empty_cache() -> ()", empty_cache);
  m.def("host_alias(Tensor tensor) -> Tensor");
  m.impl("host_alias", c10::DispatchKey::PrivateUse1, host_alias);
}

}  // namespace unisono_virtual
