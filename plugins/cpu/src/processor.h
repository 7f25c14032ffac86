// Features of the processor: those it has, and of these the ones the system lets programs use.
#pragma once

namespace uc {

// Names as /proc/cpuinfo has them, with blanks; "hypervisor" where the machine is a virtual one.
const char* features();
bool has_feature(const char* name);

}  // namespace uc
