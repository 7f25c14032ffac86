#include "allocator.h"

#include <c10/util/Exception.h>

#include <memory>
#include <vector>

#include "arena.h"
#include "config.h"
#include "pool.h"
#include "streams.h"

namespace unisono_virtual {
namespace {

Pool& pool(c10::DeviceIndex device) {
  TORCH_CHECK(Arenas::is_open(),
              "The virtual device cannot be used here: it was not installed in this process, or "
              "this is a fork of the process that did (use the spawn method).");
  static auto* pools = [] {
    auto* made = new std::vector<std::unique_ptr<Pool>>();
    for (int index = 0; index < config().num_devices; ++index) {
      made->push_back(std::make_unique<Pool>(index));
    }
    return made;
  }();
  TORCH_CHECK(device >= 0 && static_cast<size_t>(device) < pools->size(), "There is no virtual "
              "device ", static_cast<int>(device), ": there are ", pools->size(), ".");
  return *(*pools)[static_cast<size_t>(device)];
}

void free_block(void* address) {
  if (address != nullptr && Arenas::is_open()) pool(Arenas::device_of(address)).give(address);
}

class VirtualAllocator final : public c10::DeviceAllocator {
 public:
  c10::DataPtr allocate(size_t bytes) override { return allocate_on(current_device(), bytes); }
  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(Arenas::to_host(to), Arenas::to_host(from), bytes);
  }
  bool initialized() override { return Arenas::is_open(); }
  void emptyCache(c10::MempoolId_t = {0, 0}) override {
    for (int device = 0; device < config().num_devices; ++device) pool(device).empty_cache();
  }
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  DeviceStats getDeviceStats(c10::DeviceIndex device) override { return pool(device).stats(); }
  void resetAccumulatedStats(c10::DeviceIndex device) override { pool(device).reset_accumulated(); }
  void resetPeakStats(c10::DeviceIndex device) override { pool(device).reset_peak(); }
  // Newer than the oldest torch this is built against, hence no `override`.
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) {
    TORCH_CHECK_NOT_IMPLEMENTED(config().has_memory_info,
                                "getMemoryInfo is not implemented for this allocator yet.");
    return pool(device).free_and_total();
  }
};

// What plugins had before c10::DeviceAllocator: torch.accelerator finds no statistics.
class PlainAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override { return allocate_on(current_device(), bytes); }
  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(Arenas::to_host(to), Arenas::to_host(from), bytes);
  }
};

void free_alias(void* device_address) { free_block(device_address); }

class AliasAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    auto made = allocate_on(current_device(), bytes);
    void* address = made.release_context();
    return {Arenas::to_host(address), address, &free_alias, c10::Device(c10::DeviceType::CPU)};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
};

}  // namespace

Config& config() {
  static Config instance;
  return instance;
}

c10::DeviceAllocator* device_allocator() {
  static auto* instance = new VirtualAllocator();
  return instance;
}

c10::Allocator* alias_allocator() {
  static auto* instance = new AliasAllocator();
  return instance;
}

c10::DataPtr adopt(c10::DataPtr alias) {
  void* address = alias.release_context();
  const auto index = static_cast<c10::DeviceIndex>(Arenas::device_of(address));
  return {address, address, &free_block, c10::Device(c10::DeviceType::PrivateUse1, index)};
}

std::pair<size_t, size_t> memory_of(c10::DeviceIndex device) {
  return pool(device).free_and_total();
}

c10::DataPtr allocate_on(c10::DeviceIndex device, size_t bytes) {
  void* address = bytes == 0 ? nullptr : pool(device).take(bytes);
  return {address, address, &free_block, c10::Device(c10::DeviceType::PrivateUse1, device)};
}

void register_allocator(bool with_statistics) {
  static auto* plain = new PlainAllocator();
  c10::Allocator* chosen = plain;
  if (with_statistics) chosen = device_allocator();
  c10::SetAllocator(c10::DeviceType::PrivateUse1, chosen);
}

}  // namespace unisono_virtual
