// Current device and stream of a thread, simulated time, and copies that have not happened yet.
//
// Ops run at once. A non-blocking copy to or from pinned memory waits in its stream until
// something orders it: the next work of the stream, a stream that waits for it, or the host. A
// program that forgets to wait reads old data, as it may on a real device - but always.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <cstdint>
#include <functional>

namespace unisono_virtual {

constexpr auto kDeviceType = c10::DeviceType::PrivateUse1;

c10::DeviceIndex current_device();
c10::DeviceIndex exchange_device(c10::DeviceIndex device);

class OnDevice {
 public:
  explicit OnDevice(c10::DeviceIndex device) : before_(exchange_device(device)) {}
  ~OnDevice() { exchange_device(before_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  c10::DeviceIndex before_;
};

c10::Stream current_stream(c10::DeviceIndex device);
c10::Stream exchange_stream(c10::Stream stream);
c10::Stream new_stream(c10::DeviceIndex device);

struct Mark {  // a point in a stream
  uint64_t sequence = 0;
  double seconds = 0;  // simulated
};

// Work of `seconds` is put into the stream; it starts when the stream and the host are there.
void advance(c10::Stream stream, double seconds);
Mark mark(c10::Stream stream);
void wait_for(c10::Stream waiting, c10::Stream other, Mark mark);
void host_waits(c10::Stream stream, Mark mark);
void host_waits(c10::Stream stream);
void host_waits_for_device(c10::DeviceIndex device);
double simulated_seconds(c10::DeviceIndex device);
void reset_time();

void defer_copy(c10::Stream stream, std::function<void()> copy);
// Before work is put into the stream, or when the host asks how far it is.
void settle(c10::Stream stream);

}  // namespace unisono_virtual
