#include "range.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "histogram.h"
#include "status.h"

namespace dopt {

Distribution distribution_of(const dopt_histogram& state, const uint64_t* counts) {
  Distribution d;
  d.total = static_cast<double>(state.count);
  d.min = state.min;
  d.max = state.max;
  int64_t first = 0, last = state.bins;
  while (first < last && counts[first] == 0) ++first;
  while (last > first && counts[last - 1] == 0) --last;
  if (first == last) return d;
  d.counts.assign(counts + first, counts + last);
  d.edges.reserve(d.counts.size() + 1);
  for (int64_t k = first; k <= last; ++k) {
    const double edge = static_cast<double>(state.base + k) * state.width;
    d.edges.push_back(std::min(std::max(edge, d.min), d.max));
  }
  return d;
}

dopt_status check_sweep(const dopt_histogram* state, const uint64_t* counts, const double* low, const double* high,
                        const double* error) noexcept {
  if (const dopt_status bad = check_state(state, "state")) return bad;
  DOPT_REQUIRE(counts != nullptr, "counts is NULL");
  DOPT_REQUIRE(low != nullptr && high != nullptr && error != nullptr, "an output is NULL");
  return DOPT_OK;
}

namespace {

class Search : SearchSteps {
 public:
  Search(double min, double max, bool symmetric, const RangeCost& cost) : symmetric_(symmetric), cost_(cost) {
    min_ = std::min(min, 0.0);
    max_ = std::max(max, 0.0);
    if (symmetric) {
      max_ = std::max(-min_, max_);
      min_ = -max_;
    }
    best_ = {min_, max_, cost_(min_, max_)};
  }

  Range run() {
    if (min_ == max_) return best_;
    double ratio = kStep;
    for (int j = 1; j < kCandidates; ++j, ratio *= kStep) attempt(min_ * ratio, max_ * ratio);
    if (!symmetric_ && min_ < 0.0 && max_ > 0.0) {
      sweep_coarsely();
      for (int round = 0; round < kRounds; ++round) {
        const double before = best_.cost;
        sweep_ends();
        if (!(best_.cost < before)) break;
      }
    }
    double step = 1.0 / kStep - 1.0;
    for (int pass = 0; pass < 2; ++pass, step /= kFiner) refine(step / kFiner);
    return best_;
  }

 private:
  void attempt(double low, double high) {
    const double cost = cost_(low, high);
    if (cost < best_.cost) best_ = {low, high, cost};
  }

  // Pairs of ends from all over: the cost has several valleys where the two sides want different clips.
  void sweep_coarsely() {
    double low = min_;
    for (int i = 0; i <= kCoarse; ++i, low *= kCoarseStep) {
      double high = max_;
      for (int j = 0; j <= kCoarse; ++j, high *= kCoarseStep)
        attempt(i < kCoarse ? low : 0.0, j < kCoarse ? high : 0.0);
    }
  }

  void sweep_ends() {
    const double low = best_.low;
    double ratio = 1.0;
    for (int j = 0; j < kCandidates; ++j, ratio *= kStep) attempt(low, max_ * ratio);
    attempt(low, 0.0);
    const double high = best_.high;
    ratio = 1.0;
    for (int j = 0; j < kCandidates; ++j, ratio *= kStep) attempt(min_ * ratio, high);
    attempt(0.0, high);
  }

  // Scales the ends by 1 ± i * step around the best so far: both for a symmetric range, else one after the other.
  void refine(double step) {
    const double high = best_.high, low = best_.low;
    for (int i = -kFiner; i <= kFiner; ++i) {
      const double end = std::min(high * (1.0 + i * step), max_);
      attempt(symmetric_ ? -end : best_.low, end);
    }
    if (symmetric_) return;
    for (int i = -kFiner; i <= kFiner; ++i) attempt(std::max(low * (1.0 + i * step), min_), best_.high);
  }

  bool symmetric_;
  const RangeCost& cost_;
  double min_, max_;
  Range best_;
};

// Value below which `target` of all values lie, zeros at 0.
double quantile(const Distribution& d, double zeros, double target) {
  double seen = 0.0;
  bool past_zero = false;
  for (size_t i = 0; i < d.size(); ++i) {
    if (!past_zero && d.edges[i] >= 0.0) {
      past_zero = true;
      seen += zeros;
      if (seen >= target) return 0.0;
    }
    if (seen + d.counts[i] >= target && d.counts[i] > 0.0) {
      const double share = std::max(0.0, (target - seen) / d.counts[i]);
      return d.edges[i] + share * (d.edges[i + 1] - d.edges[i]);
    }
    seen += d.counts[i];
  }
  return past_zero ? d.max : 0.0;
}

}  // namespace

Range search_range(double min, double max, bool symmetric, const RangeCost& cost) {
  const Range best = Search(min, max, symmetric, cost).run();
  return {best.low + 0.0, best.high + 0.0, best.cost};  // no -0
}

}  // namespace dopt

extern "C" {

dopt_status dopt_quant_params(double low, double high, int32_t bits, int32_t is_signed, int32_t symmetric, float* scale,
                              int32_t* zero_point) {
  return dopt::guarded([&]() -> dopt_status {
    const dopt::Format format{bits, is_signed, symmetric};
    if (const dopt_status bad = dopt::check_format(format)) return bad;
    DOPT_REQUIRE(std::fabs(low) <= FLT_MAX && std::fabs(high) <= FLT_MAX && low <= high,
                 "low %g and high %g are not a range of finite floats", low, high);
    DOPT_REQUIRE(scale != nullptr && zero_point != nullptr, "an output is NULL");
    const dopt::Quantizer q = dopt::quantizer_of(low, high, format);
    *scale = q.scale;
    *zero_point = q.zero_point;
    return DOPT_OK;
  });
}

dopt_status dopt_range_percentile(const dopt_histogram* state, const uint64_t* counts, double fraction, double* low,
                                  double* high) {
  return dopt::guarded([&]() -> dopt_status {
    const double unused = 0.0;
    if (const dopt_status bad = dopt::check_sweep(state, counts, low, high, &unused)) return bad;
    DOPT_REQUIRE(fraction > 0.0 && fraction <= 1.0, "fraction is %g, expected above 0 and at most 1", fraction);
    const dopt::Distribution d = dopt::distribution_of(*state, counts);
    const double zeros = static_cast<double>(state->zeros), cut = (1.0 - fraction) / 2.0 * d.total;
    const bool all = fraction == 1.0 || d.size() == 0;
    *low = std::min(0.0, all ? d.min : dopt::quantile(d, zeros, cut)) + 0.0;  // no -0
    *high = std::max(0.0, all ? d.max : dopt::quantile(d, zeros, d.total - cut)) + 0.0;
    return DOPT_OK;
  });
}

}  // extern "C"
