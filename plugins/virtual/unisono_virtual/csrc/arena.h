// Memory of the devices: every page is mapped twice.
//
// Tensors hold addresses of the device view, which no one may touch (PROT_NONE). The back end adds
// a constant and works on the same pages through the host view. A stray host access faults.
#pragma once

#include <cstddef>

namespace unisono_virtual {

class Arenas {
 public:
  // Throws std::system_error where the address space cannot be had.
  static void open(int num_devices, size_t capacity_bytes);
  static bool is_open();
  static size_t extent();  // bytes of address space of one device, more than its memory

  static char* device_view(int device);
  static void* to_host(const void* device_address);
  static void* to_device(const void* host_address);
  static bool in_device_view(const void* address);
  static bool in_host_view(const void* address);
  static int device_of(const void* device_address);

  // Gives the pages of a range back to the system; they read as zero afterwards.
  static void drop_pages(const void* device_address, size_t bytes);
};

size_t page_bytes();

}  // namespace unisono_virtual
