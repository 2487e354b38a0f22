// What the range sweeps share: the distribution a histogram stands for, and the search.
#ifndef DOPT_SRC_RANGE_H_
#define DOPT_SRC_RANGE_H_

#include <cstdint>
#include <vector>

#include "dopt.h"
#include "quantizer.h"

namespace dopt {

dopt_status check_format(const Format& format) noexcept;

// The values of a histogram other than zero: counts[i] of them spread evenly over [edges[i], edges[i + 1]).
struct Distribution {
  std::vector<double> edges;   // size() + 1, ascending; the outermost two are min and max where those bins hold them
  std::vector<double> counts;  // empty bins at both ends are left out
  double total = 0.0;          // with exact zeros
  double min = 0.0, max = 0.0;

  size_t size() const { return counts.size(); }
};

Distribution distribution_of(const dopt_histogram& state, const uint64_t* counts);

// Checks the arguments every sweep has; fails with the reason.
dopt_status check_sweep(const dopt_histogram* state, const uint64_t* counts, const double* low, const double* high,
                        const double* error) noexcept;

struct Range {
  double low, high, cost;
};

// Cost of clipping to [low, high], low <= 0 <= high; infinity refuses a range.
class RangeCost {
 public:
  virtual double operator()(double low, double high) const = 0;

 protected:
  ~RangeCost() = default;
};

// The cheapest range within [min(0, min), max(0, max)]: both ends shrunk together, coarse pairs of ends, then each end
// in turn until neither gains, then both in finer steps. Ties go to the wider range. `symmetric` keeps low = -high.
Range search_range(double min, double max, bool symmetric, const RangeCost& cost);

}  // namespace dopt

#endif  // DOPT_SRC_RANGE_H_
