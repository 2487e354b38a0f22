// What the library says of itself.
#include <cstdio>

#include "kernels.h"
#include "status.h"
#include "thread_pool.h"

extern "C" {

int32_t dopt_abi_version(void) { return DOPT_ABI_VERSION; }

const char* dopt_last_error(void) { return dopt::last_failure(); }

const char* dopt_build_info(void) {
  thread_local char text[256];
  std::snprintf(text, sizeof text, "{\"abi\":%d,\"simd\":\"%s\",\"compiler\":\"%s\",\"threads\":%d}", DOPT_ABI_VERSION,
                dopt::kernels().name,
#if defined(__clang__)
                "clang " __clang_version__,
#else
                "gcc " __VERSION__,
#endif
                dopt::threads());
  return text;
}

dopt_status dopt_set_threads(int32_t threads) {
  DOPT_REQUIRE(threads >= 0 && threads <= 256, "threads is %d, expected 0 (one a processor) to 256", threads);
  dopt::set_threads(threads);
  return DOPT_OK;
}

}  // extern "C"
