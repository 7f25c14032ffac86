#include "generator.h"

#include <ATen/CPUGeneratorImpl.h>

#include <mutex>
#include <vector>

#include "config.h"
#include "faults.h"
#include "streams.h"

namespace unisono_virtual {
namespace {

class VirtualGenerator final : public c10::GeneratorImpl {
 public:
  VirtualGenerator(c10::DeviceIndex device, at::Generator host)
      : GeneratorImpl({kDeviceType, device}, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1)),
        host_(std::move(host)) {}

  void set_current_seed(uint64_t seed) override {
    if (!planted(Fault::generator_ignores_seed)) host_.set_current_seed(seed);
  }
  void set_offset(uint64_t offset) override { host_.set_offset(offset); }
  uint64_t get_offset() const override { return host_.get_offset(); }
  uint64_t current_seed() const override { return host_.current_seed(); }
  uint64_t seed() override { return host_.seed(); }
  void set_state(const c10::TensorImpl& state) override {
    if (!planted(Fault::rng_state_not_restored)) {
      host_.unsafeGetGeneratorImpl()->set_state(state);
    }
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    return host_.unsafeGetGeneratorImpl()->get_state();
  }
  const at::Generator& host() const { return host_; }

 private:
  VirtualGenerator* clone_impl() const override {
    return new VirtualGenerator(device().index(), host_.clone());
  }

  at::Generator host_;
};

}  // namespace

at::Generator new_generator(c10::DeviceIndex device) {
  const auto index = device < 0 ? current_device() : device;
  return at::make_generator<VirtualGenerator>(index, at::detail::createCPUGenerator());
}

const at::Generator& default_generator(c10::DeviceIndex device) {
  static auto* generators = [] {
    auto* made = new std::vector<at::Generator>();
    for (int index = 0; index < config().num_devices; ++index) {
      made->push_back(new_generator(static_cast<c10::DeviceIndex>(index)));
    }
    return made;
  }();
  const auto index = device < 0 ? current_device() : device;
  TORCH_CHECK(index < static_cast<int>(generators->size()), "There is no virtual device ",
              static_cast<int>(index), ".");
  return (*generators)[static_cast<size_t>(index)];
}

at::Generator host_generator(const at::Generator& generator) {
  const auto* ours = dynamic_cast<VirtualGenerator*>(generator.unsafeGetGeneratorImpl());
  TORCH_CHECK(ours != nullptr, "Expected a generator of the virtual device, not one of ",
              generator.device(), ".");
  return ours->host();
}

}  // namespace unisono_virtual
