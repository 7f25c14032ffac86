#include "status.h"

#include <cstdarg>
#include <cstdio>

namespace uc {

static thread_local char message[512];

Status fail(Status status, const char* format, ...) {
  va_list args;
  va_start(args, format);
  std::vsnprintf(message, sizeof message, format, args);
  va_end(args);
  return status;
}

const char* last_error() { return message; }

}  // namespace uc
