// Random numbers of a device: a CPU generator behind each, so that seeds give the host's numbers.
#pragma once

#include <ATen/core/Generator.h>

namespace unisono_virtual {

const at::Generator& default_generator(c10::DeviceIndex device);
at::Generator new_generator(c10::DeviceIndex device);
// The generator that CPU kernels draw from in its place.
at::Generator host_generator(const at::Generator& generator);

}  // namespace unisono_virtual
