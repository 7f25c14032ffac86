// What was asked for when the device was installed.
#pragma once

#include <cstddef>

namespace unisono_virtual {

struct Config {
  int num_devices = 0;
  size_t memory_bytes = 0;  // of each device
  bool has_memory_info = true;
  bool has_memory_stats = true;
};

Config& config();

}  // namespace unisono_virtual
