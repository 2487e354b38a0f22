// Sums that compare two tensors.
#include <algorithm>

#include "kernels.h"
#include "status.h"

extern "C" dopt_status dopt_error_sums(const float* a, const float* b, size_t n, double* signal, double* noise,
                                       double* dot, double* power_b) {
  return dopt::guarded([&]() -> dopt_status {
    DOPT_REQUIRE((a != nullptr && b != nullptr) || n == 0, "a or b is NULL with %zu values", n);
    DOPT_REQUIRE(signal != nullptr && noise != nullptr && dot != nullptr && power_b != nullptr, "an output is NULL");
    dopt::ErrorSums total{};
    for (size_t i = 0; i < n; i += dopt::kBlock) {
      dopt::ErrorSums block;
      dopt::kernels().error_sums(a + i, b + i, std::min(dopt::kBlock, n - i), &block);
      total.signal += block.signal;
      total.noise += block.noise;
      total.dot += block.dot;
      total.power_b += block.power_b;
    }
    *signal = total.signal;
    *noise = total.noise;
    *dot = total.dot;
    *power_b = total.power_b;
    return DOPT_OK;
  });
}
