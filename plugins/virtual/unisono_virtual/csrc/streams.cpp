#include "streams.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <list>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "config.h"
#include "faults.h"

namespace unisono_virtual {
namespace {

constexpr uint64_t kAll = std::numeric_limits<uint64_t>::max();

struct Pending {
  c10::Stream stream;
  uint64_t sequence;
  std::function<void()> copy;
};

struct Timelines {
  std::mutex mutex;
  std::mutex copying;  // held while late copies are made
  std::unordered_map<c10::Stream, double> streams;
  double host = 0;
  std::list<Pending> pending;
  uint64_t sequence = 0;
  c10::StreamId last_id = 0;
};

Timelines& timelines() {
  static auto* instance = new Timelines();
  return *instance;
}

std::atomic<int> num_pending{0};
thread_local c10::DeviceIndex device_of_thread = 0;
thread_local std::unordered_map<c10::DeviceIndex, c10::StreamId> stream_of_thread;

c10::Device device(c10::DeviceIndex index) { return {kDeviceType, index}; }

template <typename Chosen>
void run_pending(Chosen chosen) {
  if (num_pending.load(std::memory_order_relaxed) == 0) return;
  const std::lock_guard<std::mutex> in_order(timelines().copying);
  std::list<Pending> due;
  {
    const std::lock_guard<std::mutex> lock(timelines().mutex);
    auto& all = timelines().pending;
    for (auto next = all.begin(); next != all.end();) {
      const auto item = next++;
      if (chosen(*item)) due.splice(due.end(), all, item);
    }
  }
  for (auto& item : due) item.copy();
  num_pending -= static_cast<int>(due.size());
}

void run_stream(c10::Stream stream, uint64_t until) {
  run_pending([&](const Pending& item) {
    return item.stream == stream && item.sequence <= until;
  });
}

}  // namespace

c10::DeviceIndex current_device() { return device_of_thread; }

c10::DeviceIndex exchange_device(c10::DeviceIndex index) {
  return std::exchange(device_of_thread, index);
}

c10::Stream current_stream(c10::DeviceIndex index) {
  if (index < 0) index = current_device();
  const auto found = stream_of_thread.find(index);
  const c10::StreamId id = found == stream_of_thread.end() ? 0 : found->second;
  return c10::Stream(c10::Stream::UNSAFE, device(index), id);
}

c10::Stream exchange_stream(c10::Stream stream) {
  const auto before = current_stream(stream.device_index());
  stream_of_thread[stream.device_index()] = stream.id();
  return before;
}

c10::Stream new_stream(c10::DeviceIndex index) {
  if (index < 0) index = current_device();
  const std::lock_guard<std::mutex> lock(timelines().mutex);
  return c10::Stream(c10::Stream::UNSAFE, device(index), ++timelines().last_id);
}

void advance(c10::Stream stream, double seconds) {
  const std::lock_guard<std::mutex> lock(timelines().mutex);
  auto& at = timelines().streams[stream];
  at = std::max(at, timelines().host) + seconds;
}

Mark mark(c10::Stream stream) {
  const std::lock_guard<std::mutex> lock(timelines().mutex);
  auto& all = timelines();
  return {all.sequence, std::max(all.streams[stream], all.host)};
}

void wait_for(c10::Stream waiting, c10::Stream other, Mark mark) {
  if (planted(Fault::wait_event_ignored)) return;
  run_stream(other, mark.sequence);
  const std::lock_guard<std::mutex> lock(timelines().mutex);
  auto& at = timelines().streams[waiting];
  at = std::max(at, mark.seconds);
}

void host_waits(c10::Stream stream, Mark mark) {
  const bool late = planted(Fault::late_nonblocking_copy) || planted(Fault::event_sync_noop);
  if (!late) run_stream(stream, mark.sequence);
  const std::lock_guard<std::mutex> lock(timelines().mutex);
  timelines().host = std::max(timelines().host, mark.seconds);
}

void host_waits(c10::Stream stream) {
  if (!planted(Fault::late_nonblocking_copy)) run_stream(stream, kAll);
  const std::lock_guard<std::mutex> lock(timelines().mutex);
  auto& all = timelines();
  all.host = std::max(all.host, all.streams[stream]);
}

void host_waits_for_device(c10::DeviceIndex index) {
  if (!planted(Fault::late_nonblocking_copy)) {
    run_pending([&](const Pending& item) { return item.stream.device_index() == index; });
  }
  const double seconds = simulated_seconds(index);
  const std::lock_guard<std::mutex> lock(timelines().mutex);
  timelines().host = std::max(timelines().host, seconds);
}

double simulated_seconds(c10::DeviceIndex index) {
  const std::lock_guard<std::mutex> lock(timelines().mutex);
  double latest = 0;
  for (const auto& [stream, seconds] : timelines().streams) {
    if (stream.device_index() == index) latest = std::max(latest, seconds);
  }
  return latest;
}

void reset_time() {
  const std::lock_guard<std::mutex> lock(timelines().mutex);
  timelines().streams.clear();
  timelines().host = 0;
}

void defer_copy(c10::Stream stream, std::function<void()> copy) {
  const std::lock_guard<std::mutex> lock(timelines().mutex);
  auto& all = timelines();
  all.pending.push_back({stream, ++all.sequence, std::move(copy)});
  ++num_pending;
}

void settle(c10::Stream stream) { run_stream(stream, kAll); }

}  // namespace unisono_virtual
