// A few lines in place of a test framework: the build needs nothing but a compiler.
#ifndef DOPT_TESTS_CHECK_H_
#define DOPT_TESTS_CHECK_H_

#include <cmath>
#include <cstdio>
#include <cstring>

namespace check {

inline int failures = 0;

inline void report(bool ok, const char* file, int line, const char* what) {
  if (ok) return;
  // A loop over a thousand sizes must not print a thousand lines.
  if (++failures <= 20) std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
}

// Equal to the last bit, so that -0 differs from 0 and a NaN equals itself.
template <typename T>
bool same_bits(const T* a, const T* b, size_t n) {
  return n == 0 || std::memcmp(a, b, n * sizeof(T)) == 0;
}

inline bool near(double a, double b, double relative, double absolute = 0.0) {
  return std::fabs(a - b) <= relative * std::fmax(std::fabs(a), std::fabs(b)) + absolute;
}

// For the end of main().
inline int result(const char* name) {
  if (failures != 0) std::fprintf(stderr, "%s: %d checks failed\n", name, failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace check

#define CHECK(condition) ::check::report((condition), __FILE__, __LINE__, #condition)
#define CHECK_NEAR(a, b, relative) \
  ::check::report(::check::near((a), (b), (relative)), __FILE__, __LINE__, #a " is near " #b)

#endif  // DOPT_TESTS_CHECK_H_
