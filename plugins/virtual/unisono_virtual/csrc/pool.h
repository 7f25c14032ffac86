// Memory of one device: what is in use, what is kept, what is counted.
#pragma once

#include <c10/core/CachingDeviceAllocator.h>

#include <mutex>
#include <utility>
#include <vector>

#include "blocks.h"

namespace unisono_virtual {

using c10::CachingDeviceAllocator::DeviceStats;

class Pool {
 public:
  explicit Pool(int device);

  void* take(size_t bytes);  // raises c10::OutOfMemoryError
  void give(void* address);
  void empty_cache();

  DeviceStats stats();
  void reset_accumulated();
  void reset_peak();
  std::pair<size_t, size_t> free_and_total();

 private:
  size_t used();
  size_t reserved();
  std::vector<c10::CachingAllocator::StatArray*> arrays();
  void count_taken(size_t bytes);
  void count_given(size_t bytes);
  void touch(size_t offset, size_t bytes);
  void release();
  void release_range(size_t begin, size_t end);
  [[noreturn]] void out_of_memory(size_t requested);

  const int device_;
  const size_t capacity_;
  std::mutex mutex_;
  Blocks blocks_;
  std::vector<bool> touched_;  // chunks whose pages are taken from the system
  DeviceStats stats_;
  size_t frees_ = 0;
  bool broken_ = false;
};

}  // namespace unisono_virtual
