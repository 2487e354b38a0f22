// The range that loses least information.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "range.h"
#include "status.h"

namespace dopt {
namespace {

double xlogx(double x) { return x > 0.0 ? x * std::log(x) : 0.0; }

// Divergence of Q from P over the bins inside the range. P: the counts, those outside added to the outermost bins.
// Q: the counts inside, those of one level spread evenly over its bins that are not empty in P. A bin belongs to the
// level of its centre. Exact zeros are on the grid in every range, so they are left out, as the first bin is at NVIDIA.
//
// Prefix sums make it O(levels): sum P log P comes from one, and log Q is the same for all bins of a level.
class Divergence final : public RangeCost {
 public:
  Divergence(const Distribution& d, const Format& format) : d_(d), format_(format) {
    const size_t n = d.size();
    count_.resize(n + 1);
    entropy_.resize(n + 1);
    filled_.resize(n + 1);
    for (size_t i = 0; i < n; ++i) {
      count_[i + 1] = count_[i] + d.counts[i];
      entropy_[i + 1] = entropy_[i] + xlogx(d.counts[i]);
      filled_[i + 1] = filled_[i] + (d.counts[i] > 0.0 ? 1 : 0);
    }
  }

  double operator()(double low, double high) const override {
    constexpr double kRefused = std::numeric_limits<double>::infinity();
    const size_t n = d_.size();
    if (n == 0) return 0.0;
    const bool whole = low <= d_.min && high >= d_.max;
    const Quantizer q = quantizer_of(low, high, format_);
    const double s = q.scale;
    const size_t begin = first_from((q.lowest - 0.5) * s), end = whole ? n : first_from((q.highest + 0.5) * s);
    const size_t start = whole ? 0 : begin;
    // Fewer bins than levels: the histogram cannot show what rounding costs.
    if (!whole && end - start < static_cast<size_t>(q.highest - q.lowest + 1)) return kRefused;
    if (start >= end) return kRefused;
    const double below = count_[start], above = count_[n] - count_[end], inside = count_[end] - count_[start];
    if (inside == 0.0) return kRefused;

    double log_q = 0.0;  // sum of P log(Q) before normalizing, level by level
    size_t from = start;
    while (from < end) {
      const double k = std::floor(centre(from) / s + 0.5);
      size_t to = k >= q.highest ? end : std::min(end, first_from((k + 0.5) * s));
      to = std::max(to, from + 1);
      const double mass = count_[to] - count_[from];
      const bool takes_below = from == start && below > 0.0, takes_above = to == end && above > 0.0;
      double bins = filled_[to] - filled_[from];
      if (takes_below && d_.counts[start] == 0.0) bins += 1.0;
      if (takes_above && d_.counts[end - 1] == 0.0 && !(takes_below && start == end - 1)) bins += 1.0;
      const double in_p = mass + (takes_below ? below : 0.0) + (takes_above ? above : 0.0);
      if (in_p > 0.0) {
        if (mass == 0.0) return kRefused;
        log_q += in_p * std::log(mass / bins);
      }
      from = to;
    }
    const double total = inside + below + above;
    return (log_p(start, end, below, above) - log_q) / total - std::log(total) + std::log(inside);
  }

 private:
  double centre(size_t i) const { return 0.5 * (d_.edges[i] + d_.edges[i + 1]); }

  // First bin whose centre is at or above x.
  size_t first_from(double x) const {
    size_t low = 0, high = d_.size();
    while (low < high) {
      const size_t middle = (low + high) / 2;
      if (centre(middle) < x) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

  // Sum of P log P before normalizing, the tails folded onto the outermost bins.
  double log_p(size_t start, size_t end, double below, double above) const {
    if (end - start == 1) return xlogx(d_.counts[start] + below + above);
    double sum = entropy_[end] - entropy_[start];
    sum += xlogx(d_.counts[start] + below) - xlogx(d_.counts[start]);
    sum += xlogx(d_.counts[end - 1] + above) - xlogx(d_.counts[end - 1]);
    return sum;
  }

  const Distribution& d_;
  Format format_;
  std::vector<double> count_, entropy_, filled_;  // of the bins before i
};

}  // namespace
}  // namespace dopt

extern "C" dopt_status dopt_range_entropy(const dopt_histogram* state, const uint64_t* counts, int32_t bits,
                                          int32_t is_signed, int32_t symmetric, double* low, double* high,
                                          double* error) {
  return dopt::guarded([&]() -> dopt_status {
    const dopt::Format format{bits, is_signed, symmetric};
    if (const dopt_status bad = dopt::check_format(format)) return bad;
    if (const dopt_status bad = dopt::check_sweep(state, counts, low, high, error)) return bad;
    const dopt::Distribution d = dopt::distribution_of(*state, counts);
    const dopt::Range best = dopt::search_range(d.min, d.max, symmetric != 0, dopt::Divergence(d, format));
    *low = best.low;
    *high = best.high;
    *error = best.cost;
    return DOPT_OK;
  });
}
