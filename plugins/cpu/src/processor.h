// Features of the processor: those it has, and of these the ones the system lets programs use.
#pragma once

namespace uc {

// Names as /proc/cpuinfo has them, with blanks; "hypervisor" where the machine is a virtual one.
const char* features();
bool has_feature(const char* name);
// Asks the system, once, to keep the registers of tiles for this process, which it does for nobody unasked.
bool may_use_tiles();

}  // namespace uc
