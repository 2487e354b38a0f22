// Expected squared error of a range, in closed form, and the range with the least of it.
#include <algorithm>
#include <cfloat>
#include <cmath>

#include "range.h"
#include "status.h"

namespace dopt {
namespace {

// With k = round(x / s) kept in the grid and r = x - k s, the integral of (t - Q(t))^2 for t from 0 to x is
// k s^3 / 12 + r^3 / 3: each whole step adds s^3 / 12, and beyond the last level r simply grows. So a bin costs O(1),
// whether it is narrower than a step or holds many, rounded or clipped.
class SquaredError final : public RangeCost {
 public:
  SquaredError(const Distribution& d, const Format& format) : d_(d), format_(format) {}

  // Mean over all values, exact zeros included.
  double operator()(double low, double high) const override {
    if (d_.size() == 0) return 0.0;
    const Quantizer q = quantizer_of(low, high, format_);
    const double s = q.scale, per_step = s * s * s / 12.0;
    const double lowest = q.lowest, highest = q.highest;
    double sum = 0.0;
    double k = level(d_.edges[0], s, lowest, highest);
    double r = d_.edges[0] - k * s;
    for (size_t i = 0; i < d_.size(); ++i) {
      const double edge = d_.edges[i + 1];
      const double next_k = level(edge, s, lowest, highest);
      const double next_r = edge - next_k * s;
      // Within one cell the mean of r^2; across cells the integral over the width of the bin.
      const double mean =
          k == next_k ? (r * r + r * next_r + next_r * next_r) / 3.0
                      : ((next_k - k) * per_step + (next_r * next_r * next_r - r * r * r) / 3.0) / (edge - d_.edges[i]);
      sum += d_.counts[i] * mean;
      k = next_k;
      r = next_r;
    }
    return sum / d_.total;
  }

 private:
  static double level(double x, double s, double lowest, double highest) {
    const double k = std::min(std::max(x / s, lowest), highest);
    constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52: rounds half to even
    return (k + kRound) - kRound;
  }

  const Distribution& d_;
  Format format_;
};

}  // namespace
}  // namespace dopt

extern "C" {

dopt_status dopt_range_error(const dopt_histogram* state, const uint64_t* counts, double low, double high, int32_t bits,
                             int32_t is_signed, int32_t symmetric, double* error) {
  return dopt::guarded([&]() -> dopt_status {
    const dopt::Format format{bits, is_signed, symmetric};
    if (const dopt_status bad = dopt::check_format(format)) return bad;
    if (const dopt_status bad = dopt::check_sweep(state, counts, &low, &high, error)) return bad;
    DOPT_REQUIRE(std::fabs(low) <= FLT_MAX && std::fabs(high) <= FLT_MAX && low <= high,
                 "low %g and high %g are not a range of finite floats", low, high);
    const dopt::Distribution d = dopt::distribution_of(*state, counts);
    *error = dopt::SquaredError(d, format)(low, high);
    return DOPT_OK;
  });
}

dopt_status dopt_range_mse(const dopt_histogram* state, const uint64_t* counts, int32_t bits, int32_t is_signed,
                           int32_t symmetric, double* low, double* high, double* error) {
  return dopt::guarded([&]() -> dopt_status {
    const dopt::Format format{bits, is_signed, symmetric};
    if (const dopt_status bad = dopt::check_format(format)) return bad;
    if (const dopt_status bad = dopt::check_sweep(state, counts, low, high, error)) return bad;
    const dopt::Distribution d = dopt::distribution_of(*state, counts);
    const dopt::Range best = dopt::search_range(d.min, d.max, symmetric != 0, dopt::SquaredError(d, format));
    *low = best.low;
    *high = best.high;
    *error = best.cost;
    return DOPT_OK;
  });
}

}  // extern "C"
