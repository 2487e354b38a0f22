// Choice of instruction set at run time.
#if defined(DOPT_HAVE_X86_SETS)
#include <cpuid.h>
#endif

#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace dopt {
namespace {

struct Runnable {
  const Kernels* tables[3];  // worst first
  size_t count;
};

#if defined(DOPT_HAVE_X86_SETS)
struct X86Sets {
  bool avx2;
  bool avx512;
};

// What the processor has and the operating system saves on a switch of tasks. By hand, not by __builtin_cpu_supports: the runtime
// library of some compilers answers that with no.
X86Sets x86_sets() {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return {false, false};
  const unsigned fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28;
  if ((c & (fma | osxsave | avx)) != (fma | osxsave | avx)) return {false, false};
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  const unsigned ymm = 0x6, zmm = 0xe6;  // SSE and AVX state; with opmask and both halves of ZMM
  if ((low & ymm) != ymm || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return {false, false};
  const unsigned avx2 = 1u << 5, f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;
  const bool has_avx2 = (b & avx2) != 0;
  return {has_avx2, has_avx2 && (low & zmm) == zmm && (b & (f | dq | bw | vl)) == (f | dq | bw | vl)};
}
#endif

Runnable detect() {
  Runnable r{{&baseline::kTable}, 1};
#if defined(DOPT_HAVE_X86_SETS)
  const X86Sets sets = x86_sets();
  if (!sets.avx2) return r;
  r.tables[r.count++] = &avx2::kTable;
  if (sets.avx512) r.tables[r.count++] = &avx512::kTable;
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
