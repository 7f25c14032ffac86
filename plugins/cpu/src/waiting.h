// A number that threads wait to see change.
#pragma once

#include <atomic>
#include <climits>
#include <new>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <condition_variable>
#include <mutex>
#endif

namespace uc {

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Where threads sleep while a number has the value they saw.
class Bed {
 public:
#if defined(__linux__)
  void wake(std::atomic<int>& value) {
    syscall(SYS_futex, &value, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  }
  void sleep(std::atomic<int>& value, int seen) {
    while (value.load(std::memory_order_seq_cst) == seen) {
      syscall(SYS_futex, &value, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
    }
  }
#else
  void wake(std::atomic<int>&) {
    { const std::lock_guard<std::mutex> guard(mutex_); }
    changed_.notify_all();
  }
  void sleep(std::atomic<int>& value, int seen) {
    std::unique_lock<std::mutex> guard(mutex_);
    while (value.load(std::memory_order_seq_cst) == seen) changed_.wait(guard);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
#endif
};

class Signal {
 public:
  int value() const { return value_.load(std::memory_order_seq_cst); }

  void advance() {
    value_.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) bed_.wake(value_);
  }

  // Spins until the value is another; false where it stays as it is so long.
  bool changes(int seen, int spins) const {
    for (int i = 0; i < spins; ++i) {
      if (value() != seen) return true;
      relax();
    }
    return false;
  }

  void sleep(int seen) {
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    bed_.sleep(value_, seen);
    sleepers_.fetch_sub(1, std::memory_order_seq_cst);
  }

  void wait_beyond(int seen, int spins) {
    if (!changes(seen, spins)) sleep(seen);
  }

  // Nobody waits. In a child of fork() the bed is as threads that are gone left it.
  void reset(int value = 0) {
    value_ = value;
    sleepers_ = 0;
    new (&bed_) Bed;
  }

 private:
  std::atomic<int> value_{0};
  std::atomic<int> sleepers_{0};
  Bed bed_;
};

}  // namespace uc
