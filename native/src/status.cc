#include "status.h"

#include <cstdarg>
#include <cstdio>

namespace dopt {
namespace {
thread_local char t_error[512] = "";
}

dopt_status fail(dopt_status code, const char* format, ...) noexcept {
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(t_error, sizeof t_error, format, arguments);
  va_end(arguments);
  return code;
}

const char* last_failure() noexcept { return t_error; }

}  // namespace dopt
