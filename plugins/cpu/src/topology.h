// Memory nodes of the machine: processors of one read the memory of another more slowly.
#pragma once

#include <vector>

namespace uc {

// Processors by memory node, of those `allowed`; none where the system under `root` (its /sys and so on)
// does not say. Nodes without a processor are left out.
std::vector<std::vector<int>> memory_nodes(const char* root, const std::vector<int>& allowed);

// Processors that this process may use; none where the system does not say.
std::vector<int> allowed_processors();

// Threads of each node, when `threads` are divided as the nodes' processors are. One node: {threads}.
std::vector<int> divide_threads(int threads, const std::vector<std::vector<int>>& nodes);

// The calling thread stays on these processors from now on.
void stay_on(const std::vector<int>& processors);

}  // namespace uc
