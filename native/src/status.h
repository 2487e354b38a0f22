// Failure reporting shared by every entry point of the C interface.
#ifndef DOPT_SRC_STATUS_H_
#define DOPT_SRC_STATUS_H_

#include <cfenv>
#include <new>

#include "dopt.h"

namespace dopt {

// Records the text for dopt_last_error() and returns `code`.
[[gnu::format(printf, 2, 3)]] dopt_status fail(dopt_status code, const char* format, ...) noexcept;

// That text, "" when nothing failed on this thread.
const char* last_failure() noexcept;

// Default IEEE environment (nearest even, no flush-to-zero) while it lives: hosts such as inference runtimes may have
// switched denormals off on the calling thread, which would change results.
class FloatEnvironment {
 public:
  FloatEnvironment() noexcept {
    std::fegetenv(&saved_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~FloatEnvironment() { std::fesetenv(&saved_); }
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

 private:
  std::fenv_t saved_;
};

// Runs the body of an entry point; no exception crosses the C interface.
template <typename Body>
dopt_status guarded(Body&& body) noexcept {
  try {
    const FloatEnvironment environment;
    return body();
  } catch (const std::bad_alloc&) {
    return fail(DOPT_ERROR_MEMORY, "out of memory");
  } catch (...) {
    return fail(DOPT_ERROR_INTERNAL, "unexpected exception in the native core");
  }
}

}  // namespace dopt

// Returns from the entry point with DOPT_ERROR_ARGUMENT unless `condition` holds; the rest is a printf format.
#define DOPT_REQUIRE(condition, ...)                                         \
  do {                                                                       \
    if (!(condition)) return ::dopt::fail(DOPT_ERROR_ARGUMENT, __VA_ARGS__); \
  } while (false)

#endif  // DOPT_SRC_STATUS_H_
