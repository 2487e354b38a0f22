// Choice of instruction set at run time.
#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace dopt {
namespace {

struct Runnable {
  const Kernels* tables[3];  // worst first
  size_t count;
};

Runnable detect() {
  Runnable r{{&baseline::kTable}, 1};
#if defined(DOPT_HAVE_X86_SETS)
  __builtin_cpu_init();  // these also check that the operating system saves the registers
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return r;
  r.tables[r.count++] = &avx2::kTable;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    r.tables[r.count++] = &avx512::kTable;
  }
#endif
  return r;
}

const Runnable& runnable() {
  static const Runnable r = detect();
  return r;
}

const Kernels& choose() {
  const Runnable& r = runnable();
  const char* wanted = std::getenv("DOPT_SIMD");
  for (size_t i = 0; wanted != nullptr && i < r.count; ++i) {
    if (std::strcmp(r.tables[i]->name, wanted) == 0) return *r.tables[i];
  }
  return *r.tables[r.count - 1];
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

const Kernels* const* runnable_kernels(size_t* count) {
  *count = runnable().count;
  return runnable().tables;
}

}  // namespace dopt
