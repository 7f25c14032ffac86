#include "blocks.h"

namespace unisono_virtual {

Blocks::Blocks(size_t extent) { add_free(0, extent); }

std::optional<size_t> Blocks::take(size_t bytes) {
  const auto best = free_by_size_.lower_bound({bytes, 0});
  if (best == free_by_size_.end()) return std::nullopt;
  const auto [available, offset] = *best;
  remove_free(free_by_offset_.find(offset));
  if (available > bytes) add_free(offset + bytes, available - bytes);
  used_[offset] = bytes;
  return offset;
}

size_t Blocks::give(size_t offset) {
  const auto used = used_.find(offset);
  if (used == used_.end()) return 0;
  const size_t bytes = used->second;
  used_.erase(used);
  size_t begin = offset, end = offset + bytes;
  auto next = free_by_offset_.lower_bound(offset);
  if (next != free_by_offset_.end() && next->first == end) {
    end += next->second;
    const auto merged = next++;
    remove_free(merged);
  }
  if (next != free_by_offset_.begin()) {
    const auto previous = std::prev(next);
    if (previous->first + previous->second == begin) {
      begin = previous->first;
      remove_free(previous);
    }
  }
  add_free(begin, end - begin);
  return bytes;
}

void Blocks::add_free(size_t offset, size_t bytes) {
  free_by_offset_[offset] = bytes;
  free_by_size_.insert({bytes, offset});
}

void Blocks::remove_free(std::map<size_t, size_t>::iterator range) {
  free_by_size_.erase({range->second, range->first});
  free_by_offset_.erase(range);
}

}  // namespace unisono_virtual
