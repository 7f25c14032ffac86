// Status codes and the message that goes with the last one of a thread.
#pragma once

namespace uc {

enum Status {
  kOk = 0,
  kBadArgument = 1,
  kNoMemory = 2,
  kUnsupported = 3,
  kCorrupt = 4,
  kNotFinite = 5,
};

Status fail(Status status, const char* format, ...) __attribute__((format(printf, 2, 3)));
const char* last_error();

}  // namespace uc
