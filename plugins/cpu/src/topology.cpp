#include "topology.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#if defined(__linux__)
#include <sched.h>
#endif

namespace uc {
namespace {

constexpr int kMaxProcessors = 1 << 14;

// Numbers of a list such as "0-3,8".
std::vector<int> read_list(const std::string& path) {
  std::vector<int> numbers;
  std::FILE* file = std::fopen(path.c_str(), "r");
  if (!file) return numbers;
  int first, last;
  char between = ',';
  while (between == ',' && std::fscanf(file, "%d", &first) == 1) {
    last = first;
    between = char(std::fgetc(file));
    if (between == '-' && std::fscanf(file, "%d", &last) == 1) between = char(std::fgetc(file));
    for (; first >= 0 && first <= last && last < kMaxProcessors; ++first) numbers.push_back(first);
  }
  std::fclose(file);
  return numbers;
}

}  // namespace

std::vector<std::vector<int>> memory_nodes(const char* root, const std::vector<int>& allowed) {
  const std::string folder = std::string(root) + "/sys/devices/system/node/";
  std::vector<std::vector<int>> nodes;
  for (int node : read_list(folder + "online")) {
    std::vector<int> here;
    for (int processor : read_list(folder + "node" + std::to_string(node) + "/cpulist")) {
      if (std::count(allowed.begin(), allowed.end(), processor)) here.push_back(processor);
    }
    if (!here.empty()) nodes.push_back(here);
  }
  return nodes;
}

std::vector<int> divide_threads(int threads, const std::vector<std::vector<int>>& nodes) {
  if (nodes.size() < 2 || size_t(threads) < nodes.size()) return {threads};
  size_t processors = 0, passed = 0;
  for (const auto& node : nodes) processors += node.size();
  std::vector<int> counts;
  int given = 0;
  for (const auto& node : nodes) {
    passed += node.size();
    const int until = int(size_t(threads) * passed / processors);
    counts.push_back(until - given);
    given = until;
  }
  return counts;
}

#if defined(__linux__)
namespace {

// A set of processors of any number: the C library's own ends at 1024.
struct ProcessorSet {
  ProcessorSet() : bytes(CPU_ALLOC_SIZE(kMaxProcessors)), set(CPU_ALLOC(kMaxProcessors)) {
    if (set) CPU_ZERO_S(bytes, set);
  }
  ~ProcessorSet() { CPU_FREE(set); }
  ProcessorSet(const ProcessorSet&) = delete;
  const size_t bytes;
  cpu_set_t* const set;
};

}  // namespace

std::vector<int> allowed_processors() {
  std::vector<int> allowed;
  ProcessorSet all;
  if (!all.set || sched_getaffinity(0, all.bytes, all.set) != 0) return allowed;
  for (int i = 0; i < kMaxProcessors; ++i) {
    if (CPU_ISSET_S(i, all.bytes, all.set)) allowed.push_back(i);
  }
  return allowed;
}

void stay_on(const std::vector<int>& processors) {
  ProcessorSet some;
  if (!some.set) return;
  for (int i : processors) CPU_SET_S(i, some.bytes, some.set);
  sched_setaffinity(0, some.bytes, some.set);  // Where it may not, it runs anywhere.
}
#else
std::vector<int> allowed_processors() { return {}; }
void stay_on(const std::vector<int>&) {}
#endif

}  // namespace uc
