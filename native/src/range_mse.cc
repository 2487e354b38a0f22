// Expected squared error of a range, in closed form, and the range with the least of it.
#include <algorithm>
#include <cfloat>
#include <cmath>

#include "range.h"
#include "status.h"

namespace dopt {
namespace {

class SquaredError final : public RangeCost {
 public:
  SquaredError(const Distribution& d, const Format& format) : d_(d), format_(format) {}

  // Mean over all values, exact zeros included.
  double operator()(double low, double high) const override {
    if (d_.size() == 0) return 0.0;
    const Quantizer q = quantizer_of(low, high, format_);
    SpanError span(q, d_.edges[0]);
    double sum = 0.0;
    for (size_t i = 0; i < d_.size(); ++i) sum += d_.counts[i] * span.mean_to(d_.edges[i + 1]);
    return sum / d_.total;
  }

 private:
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
