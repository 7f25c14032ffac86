#include "clock.h"

#include <algorithm>
#include <array>
#include <sstream>
#include <vector>

#include "streams.h"

namespace unisono_virtual {
namespace {

constexpr size_t kMaxDevices = 64;

struct Rates {
  double bandwidth = 0;
  std::map<c10::ScalarType, double> peaks;
};

Rates& rates() {
  static auto* instance = new Rates();
  return *instance;
}

const std::map<std::string, c10::ScalarType>& dtypes() {
  static const std::map<std::string, c10::ScalarType> table = {
      {"bfloat16", c10::ScalarType::BFloat16},
      {"float16", c10::ScalarType::Half},
      {"float32", c10::ScalarType::Float},
      {"float64", c10::ScalarType::Double},
      {"int8", c10::ScalarType::Char},
      {"float8_e4m3fn", c10::ScalarType::Float8_e4m3fn},
  };
  return table;
}

void add(OpTotals& to, double bytes, double flops, double seconds) {
  ++to.calls;
  to.bytes += bytes;
  to.flops += flops;
  to.seconds += seconds;
}

void write(std::ostream& out, const OpTotals& totals) {
  out << "{\"calls\": " << totals.calls << ", \"bytes\": " << totals.bytes
      << ", \"flops\": " << totals.flops << ", \"seconds\": " << totals.seconds << "}";
}

}  // namespace

RooflineClock& RooflineClock::of(c10::DeviceIndex device) {
  static auto* clocks = new std::array<RooflineClock, kMaxDevices>();
  return clocks->at(static_cast<size_t>(device));
}

void RooflineClock::set_rates(double bandwidth, const std::map<std::string, double>& peaks) {
  rates().bandwidth = bandwidth;
  for (const auto& [name, peak] : peaks) rates().peaks[dtypes().at(name)] = peak;
}

void RooflineClock::charge(const std::string& op, const Cost& cost, c10::Stream stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const double seconds = seconds_of(cost);
  add(ops_[op], cost.bytes, cost.flops, seconds);
  if (seconds > 0) advance(stream, seconds);
}

double RooflineClock::seconds_of(const Cost& cost) {
  if (rates().bandwidth <= 0) return 0;
  double seconds = cost.bytes / rates().bandwidth;
  if (cost.flops > 0) {
    const auto peak = rates().peaks.find(cost.dtype);
    if (peak == rates().peaks.end()) {
      missing_peak_ = c10::toString(cost.dtype);
    } else {
      seconds = std::max(seconds, cost.flops / peak->second);
    }
  }
  return seconds;
}

void RooflineClock::reset() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ops_.clear();
  missing_peak_.clear();
}

bool RooflineClock::predicts() { return why_not().empty(); }

std::string RooflineClock::why_not() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (rates().bandwidth <= 0) return "no memory bandwidth is known";
  if (!missing_peak_.empty()) return "no peak rate is known for " + missing_peak_;
  return "";
}

std::string RooflineClock::report() {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::ostringstream out;
  out.precision(17);
  out << "{";
  bool first = true;
  for (const auto& [name, totals] : ops_) {
    out << (first ? "" : ", ") << '"' << name << "\": ";
    write(out, totals);
    first = false;
  }
  out << "}";
  return out.str();
}

}  // namespace unisono_virtual
