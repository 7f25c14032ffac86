// Best-fit allocation of offsets in one address range, with coalescing. Knows no memory.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

namespace unisono_virtual {

class Blocks {
 public:
  explicit Blocks(size_t extent);

  std::optional<size_t> take(size_t bytes);  // offset of the block
  size_t give(size_t offset);                // its bytes

  const std::map<size_t, size_t>& free_ranges() const { return free_by_offset_; }

 private:
  void add_free(size_t offset, size_t bytes);
  void remove_free(std::map<size_t, size_t>::iterator range);

  std::map<size_t, size_t> free_by_offset_;
  std::set<std::pair<size_t, size_t>> free_by_size_;
  std::unordered_map<size_t, size_t> used_;
};

}  // namespace unisono_virtual
