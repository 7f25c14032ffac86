// What torch asks of any device: current device and stream, events, waiting.
#include <c10/core/impl/DeviceGuardImplInterface.h>
#if __has_include(<c10/core/DeviceCapability.h>)
#include <c10/core/DeviceCapability.h>
#endif

#include <chrono>

#include "clock.h"
#include "config.h"
#include "faults.h"
#include "streams.h"

namespace unisono_virtual {
namespace {

using c10::Device;
using c10::DeviceIndex;
using c10::Stream;
using Clock = std::chrono::steady_clock;

struct Event {
  Stream stream;
  Mark mark;
  Clock::time_point real;
};

void require(DeviceIndex index) {
  TORCH_CHECK(index >= 0 && index < config().num_devices, "There is no virtual device ",
              static_cast<int>(index), ": there are ", config().num_devices, ".");
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kDeviceType; }

  Device exchangeDevice(Device device) const override {
    if (!device.has_index()) return getDevice();
    require(device.index());
    return {kDeviceType, exchange_device(device.index())};
  }
  Device getDevice() const override { return {kDeviceType, current_device()}; }
  void setDevice(Device device) const override { exchangeDevice(device); }
  void uncheckedSetDevice(Device device) const noexcept override {
    exchange_device(device.index());
  }
  DeviceIndex deviceCount() const noexcept override {
    return static_cast<DeviceIndex>(config().num_devices);
  }

#if __has_include(<c10/core/DeviceCapability.h>)
  c10::DeviceCapability getDeviceCapability(Device) const { return {}; }
#endif

  Stream getStream(Device device) const override { return current_stream(device.index()); }
  Stream getDefaultStream(Device device) const override {
    const auto index = device.index() < 0 ? current_device() : device.index();
    return Stream(Stream::DEFAULT, Device(kDeviceType, index));
  }
  Stream getStreamFromGlobalPool(Device device, bool) const override {
    return new_stream(device.index());
  }
  Stream getNewStream(Device device, int) const override { return new_stream(device.index()); }
  Stream exchangeStream(Stream stream) const override { return exchange_stream(stream); }
  bool queryStream(const Stream& stream) const override {
    settle(stream);
    return true;
  }
  void synchronizeStream(const Stream& stream) const override { host_waits(stream); }
  void synchronizeDevice(const DeviceIndex index) const { host_waits_for_device(index); }

  void record(void** event, const Stream& stream, const DeviceIndex index,
              const c10::EventFlag) const override {
    TORCH_CHECK(index < 0 || index == stream.device_index(),
                "An event of one device cannot be recorded in a stream of another.");
    auto* made = new Event{stream, unisono_virtual::mark(stream), Clock::now()};
    delete static_cast<Event*>(std::exchange(*event, made));
  }
  void destroyEvent(void* event, const DeviceIndex) const noexcept override {
    delete static_cast<Event*>(event);
  }
  void block(void* event, const Stream& stream) const override {
    if (event == nullptr) return;
    const auto* recorded = static_cast<Event*>(event);
    wait_for(stream, recorded->stream, recorded->mark);
  }
  bool queryEvent(void* event) const override {
    if (event != nullptr) settle(static_cast<Event*>(event)->stream);
    return true;
  }
  void synchronizeEvent(void* event) const {
    if (event == nullptr) return;
    const auto* recorded = static_cast<Event*>(event);
    host_waits(recorded->stream, recorded->mark);
  }
  double elapsedTime(void* begin, void* end, const DeviceIndex index) const {
    if (planted(Fault::event_elapsed_zero)) return 0.0;
    const auto* first = static_cast<Event*>(begin);
    const auto* last = static_cast<Event*>(end);
    if (RooflineClock::of(index < 0 ? current_device() : index).predicts()) {
      return (last->mark.seconds - first->mark.seconds) * 1e3;
    }
    return std::chrono::duration<double, std::milli>(last->real - first->real).count();
  }
};

const c10::impl::DeviceGuardImplRegistrar registrar(kDeviceType, new Guard());

}  // namespace
}  // namespace unisono_virtual
