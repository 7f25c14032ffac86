// Device memory for torch: c10::DeviceAllocator over the arenas, and pinned host memory.
#pragma once

#include <c10/core/CachingDeviceAllocator.h>

namespace unisono_virtual {

c10::DeviceAllocator* device_allocator();
c10::Allocator* pinned_allocator();
bool is_pinned(const void* address);

std::pair<size_t, size_t> memory_of(c10::DeviceIndex device);  // free and total bytes

// Raises c10::OutOfMemoryError.
c10::DataPtr allocate_on(c10::DeviceIndex device, size_t bytes);

// Allocates on the current device and shows it as host memory, so that a CPU kernel may resize an
// alias of a device tensor; `adopt` then turns the block into device memory.
c10::Allocator* alias_allocator();
c10::DataPtr adopt(c10::DataPtr alias);

// Lets torch see the allocator; one without statistics imitates older plugins.
void register_allocator(bool with_statistics);

}  // namespace unisono_virtual
