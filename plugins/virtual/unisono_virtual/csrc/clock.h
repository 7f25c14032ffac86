// A roofline: each op takes the longer of moving its bytes and doing its multiplications at the
// published rates. A lower bound; launching and waiting are not in it, for nobody publishes them.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>
#include <c10/core/Stream.h>

#include <map>
#include <mutex>
#include <string>

namespace unisono_virtual {

struct Cost {
  double bytes = 0;
  double flops = 0;
  c10::ScalarType dtype = c10::ScalarType::Undefined;  // of the multiplications
};

struct OpTotals {
  int64_t calls = 0;
  double bytes = 0;
  double flops = 0;
  double seconds = 0;
};

class RooflineClock {
 public:
  static RooflineClock& of(c10::DeviceIndex device);

  // Bytes and multiply-adds counted double, per second; 0 is unknown.
  static void set_rates(double bandwidth, const std::map<std::string, double>& peaks);

  void charge(const std::string& op, const Cost& cost, c10::Stream stream);
  void reset();
  bool predicts();           // every op so far could be timed
  std::string why_not();     // empty where it predicts
  std::string report();      // JSON: totals and a table by op

 private:
  double seconds_of(const Cost& cost);

  std::mutex mutex_;
  std::map<std::string, OpTotals> ops_;
  std::string missing_peak_;
};

}  // namespace unisono_virtual
