#include "arena.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>
#include <vector>

namespace unisono_virtual {
namespace {

constexpr size_t kGap = size_t{1} << 30;  // between two devices, mapped to nothing

struct Layout {
  char* base = nullptr;
  size_t extent = 0;
  size_t span = 0;
  size_t delta = 0;  // host view minus device view
  int num_devices = 0;
  std::vector<int> files;
};

Layout& layout() {
  static auto* instance = new Layout();
  return *instance;
}

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

void map_twice(int file, char* device_view, char* host_view, size_t bytes) {
  const int flags = MAP_SHARED | MAP_FIXED | MAP_NORESERVE;
  if (mmap(device_view, bytes, PROT_NONE, flags, file, 0) == MAP_FAILED) fail("map device view");
  if (mmap(host_view, bytes, PROT_READ | PROT_WRITE, flags, file, 0) == MAP_FAILED) {
    fail("map host view");
  }
}

int sparse_file(size_t bytes) {
  const int file = memfd_create("unisono-virtual", MFD_CLOEXEC);
  if (file < 0) fail("memfd_create");
  if (ftruncate(file, static_cast<off_t>(bytes)) != 0) fail("size of device memory");
  return file;
}

void forget_in_child() { layout().num_devices = 0; }

}  // namespace

size_t page_bytes() {
  static const size_t bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

void Arenas::open(int num_devices, size_t capacity_bytes) {
  Layout made;
  // Twice the memory as address space: fragments then cost addresses, not memory.
  made.extent = round_up(2 * capacity_bytes, kGap);
  made.span = made.extent + kGap;
  made.delta = made.span * static_cast<size_t>(num_devices);
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* base = mmap(nullptr, 2 * made.delta, PROT_NONE, flags, -1, 0);
  if (base == MAP_FAILED) fail("reserve address space");
  made.base = static_cast<char*>(base);
  for (int device = 0; device < num_devices; ++device) {
    made.files.push_back(sparse_file(made.extent));
    char* view = made.base + made.span * static_cast<size_t>(device);
    map_twice(made.files.back(), view, view + made.delta, made.extent);
  }
  madvise(base, 2 * made.delta, MADV_DONTFORK);
  pthread_atfork(nullptr, nullptr, forget_in_child);
  made.num_devices = num_devices;
  layout() = made;
}

bool Arenas::is_open() { return layout().num_devices > 0; }

size_t Arenas::extent() { return layout().extent; }

char* Arenas::device_view(int device) {
  return layout().base + layout().span * static_cast<size_t>(device);
}

void* Arenas::to_host(const void* device_address) {
  if (device_address == nullptr) return nullptr;
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(device_address) + layout().delta);
}

void* Arenas::to_device(const void* host_address) {
  if (host_address == nullptr) return nullptr;
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(host_address) - layout().delta);
}

bool Arenas::in_device_view(const void* address) {
  const auto* at = static_cast<const char*>(address);
  return at >= layout().base && at < layout().base + layout().delta;
}

bool Arenas::in_host_view(const void* address) {
  const auto at = reinterpret_cast<uintptr_t>(address);  // a null pointer takes no offset
  return in_device_view(reinterpret_cast<const void*>(at - layout().delta));
}

int Arenas::device_of(const void* device_address) {
  const auto offset = static_cast<const char*>(device_address) - layout().base;
  return static_cast<int>(static_cast<size_t>(offset) / layout().span);
}

void Arenas::drop_pages(const void* device_address, size_t bytes) {
  const int device = device_of(device_address);
  const auto offset = static_cast<const char*>(device_address) - device_view(device);
  const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (fallocate(layout().files[static_cast<size_t>(device)], mode, offset,
                static_cast<off_t>(bytes)) != 0) {
    fail("give pages back");
  }
}

}  // namespace unisono_virtual
