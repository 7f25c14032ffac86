// Which instruction sets this processor has, and the one in use.
#pragma once

#include "kernels.h"

namespace uc {

const Kernels& kernels();
// Null or "" chooses the best. Fails where the processor lacks it or nobody knows the name.
Status set_isa(const char* name);
// The index-th that this processor can run, best first; null beyond the last.
const char* available_isa(int index);

}  // namespace uc
