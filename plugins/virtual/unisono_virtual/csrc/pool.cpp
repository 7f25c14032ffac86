#include "pool.h"

#include <c10/util/Exception.h>

#include <algorithm>

#include "arena.h"
#include "config.h"
#include "faults.h"

namespace unisono_virtual {
namespace {

using c10::CachingAllocator::Stat;
using c10::CachingAllocator::StatArray;
using c10::CachingAllocator::StatType;

constexpr size_t kAlignment = 512;
constexpr size_t kChunk = size_t{2} << 20;

Stat& total(StatArray& stats) { return stats[static_cast<size_t>(StatType::AGGREGATE)]; }

}  // namespace

Pool::Pool(int device)
    : device_(device),
      capacity_(config().memory_bytes),
      blocks_(Arenas::extent()),
      touched_(Arenas::extent() / kChunk) {}

void* Pool::take(size_t requested) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const size_t bytes = (requested + kAlignment - 1) / kAlignment * kAlignment;
  if (broken_ || bytes > capacity_ || used() + bytes > capacity_) out_of_memory(requested);
  const auto offset = blocks_.take(bytes);
  if (!offset) out_of_memory(requested);
  touch(*offset, bytes);
  if (reserved() > capacity_) release();
  count_taken(bytes);
  return Arenas::device_view(device_) + *offset;
}

void Pool::give(void* address) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (planted(Fault::memory_leak) && ++frees_ % 50 == 0) return;
  const auto offset = static_cast<char*>(address) - Arenas::device_view(device_);
  count_given(blocks_.give(static_cast<size_t>(offset)));
}

void Pool::empty_cache() {
  const std::lock_guard<std::mutex> lock(mutex_);
  release();
}

DeviceStats Pool::stats() {
  const std::lock_guard<std::mutex> lock(mutex_);
  auto copy = stats_;
  if (planted(Fault::memory_misreported)) {
    for (auto* array : {&copy.allocated_bytes, &copy.active_bytes, &copy.requested_bytes}) {
      total(*array).current = total(*array).peak;
    }
  }
  return copy;
}

void Pool::reset_accumulated() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (auto* array : arrays()) total(*array).reset_accumulated();
}

void Pool::reset_peak() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (auto* array : arrays()) total(*array).reset_peak();
}

std::pair<size_t, size_t> Pool::free_and_total() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (planted(Fault::memory_misreported)) return {capacity_, 0};
  return {capacity_ - std::min(reserved(), capacity_), capacity_};
}

size_t Pool::used() { return static_cast<size_t>(total(stats_.allocated_bytes).current); }

size_t Pool::reserved() { return static_cast<size_t>(total(stats_.reserved_bytes).current); }

std::vector<StatArray*> Pool::arrays() {
  return {&stats_.allocation,      &stats_.segment,        &stats_.active,
          &stats_.allocated_bytes, &stats_.reserved_bytes, &stats_.active_bytes,
          &stats_.requested_bytes};
}

void Pool::count_taken(size_t bytes) {
  for (auto* array : {&stats_.allocation, &stats_.active}) total(*array).increase(1);
  for (auto* array : {&stats_.allocated_bytes, &stats_.active_bytes, &stats_.requested_bytes}) {
    total(*array).increase(bytes);
  }
}

void Pool::count_given(size_t bytes) {
  for (auto* array : {&stats_.allocation, &stats_.active}) total(*array).decrease(1);
  for (auto* array : {&stats_.allocated_bytes, &stats_.active_bytes, &stats_.requested_bytes}) {
    total(*array).decrease(bytes);
  }
}

void Pool::touch(size_t offset, size_t bytes) {
  for (size_t chunk = offset / kChunk; chunk * kChunk < offset + bytes; ++chunk) {
    if (touched_[chunk]) continue;
    touched_[chunk] = true;
    total(stats_.reserved_bytes).increase(kChunk);
    total(stats_.segment).increase(1);
  }
}

void Pool::release() {
  for (const auto& [offset, bytes] : blocks_.free_ranges()) release_range(offset, offset + bytes);
}

void Pool::release_range(size_t begin, size_t end) {
  const size_t first = (begin + kChunk - 1) / kChunk;
  for (size_t chunk = first; (chunk + 1) * kChunk <= end; ++chunk) {
    if (!touched_[chunk]) continue;
    touched_[chunk] = false;
    Arenas::drop_pages(Arenas::device_view(device_) + chunk * kChunk, kChunk);
    total(stats_.reserved_bytes).decrease(kChunk);
    total(stats_.segment).decrease(1);
  }
}

void Pool::out_of_memory(size_t requested) {
  ++stats_.num_ooms;
  broken_ = planted(Fault::oom_not_recovered);
  TORCH_CHECK(!planted(Fault::oom_wrong_error), "driver call failed with status 2");
  TORCH_CHECK_WITH(OutOfMemoryError, false, "Virtual device ", device_, " is out of memory: ",
                   requested, " bytes wanted, ", used(), " of ", capacity_, " in use.");
}

}  // namespace unisono_virtual
