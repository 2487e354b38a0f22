// The quantizer that a range yields, and the squared error of the values between two edges under it.
#ifndef DOPT_SRC_QUANTIZER_H_
#define DOPT_SRC_QUANTIZER_H_

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "both.h"

namespace dopt {

struct Format {
  int32_t bits, is_signed, symmetric;
};

// An integer grid: real = scale * k for k in [lowest, highest], both relative to the zero point.
struct Quantizer {
  float scale;
  int32_t zero_point;
  int32_t lowest, highest;
};

// v kept within [low, high]. The bounds are no NaN.
DOPT_BOTH double clamp(double v, double low, double high) {
  v = v < low ? low : v;
  return high < v ? high : v;
}

// v rounded half to even, |v| < 2^51: adding and taking away 1.5 * 2^52 is the same in every instruction set.
DOPT_BOTH double round_even(double v) {
  constexpr double kRound = 6755399441055744.0;
  return (v + kRound) - kRound;
}

// See dopt_quant_params. The range is extended to hold zero.
DOPT_BOTH Quantizer quantizer_of(double low, double high, const Format& format) noexcept {
  low = low < 0.0 ? low : 0.0;
  high = high > 0.0 ? high : 0.0;
  const int32_t levels = (int32_t{1} << format.bits) - 1;
  const int32_t qmin = format.is_signed ? -(levels + 1) / 2 : 0;
  const double steps = format.symmetric ? levels / 2 : levels;
  const double span = format.symmetric ? (-low > high ? -low : high) : high - low;
  if (span == 0.0) return {1.0f, 0, format.symmetric ? -(levels / 2) : qmin, qmin + levels};
  const float rounded = static_cast<float>(span / steps);
  const float scale = rounded < FLT_MIN ? FLT_MIN : rounded;
  if (format.symmetric) return {scale, 0, -(levels / 2), levels / 2};
  // Clamping to the integer ends before rounding gives what it gives after, and keeps the rounding in its range.
  const double zero = round_even(clamp(qmin - low / static_cast<double>(scale), qmin, qmin + levels));
  const int32_t zero_point = static_cast<int32_t>(zero);
  return {scale, zero_point, qmin - zero_point, qmin + levels - zero_point};
}

// Squared error of values spread evenly between edges, one span after the other.
//
// With k = round(x / s) kept in the grid and r = x - k s, the integral of (t - Q(t))^2 for t from 0 to x is
// k s^3 / 12 + r^3 / 3: each whole step adds s^3 / 12, and beyond the last level r simply grows. So a span costs O(1),
// whether it is narrower than a step or holds many, rounded or clipped.
class SpanError {
 public:
  DOPT_BOTH SpanError(const Quantizer& q, double edge)
      : s_(q.scale), lowest_(q.lowest), highest_(q.highest), edge_(edge) {
    per_step_ = s_ * s_ * s_ / 12.0;
    k_ = level(edge);
    r_ = edge - k_ * s_;
  }

  // Mean over the values between the last edge and this one.
  DOPT_BOTH double mean_to(double edge) {
    const double k = level(edge);
    const double r = edge - k * s_;
    // Within one cell the mean of r^2; across cells the integral over the width of the span.
    const double mean = k_ == k ? (r_ * r_ + r_ * r + r * r) / 3.0
                                : ((k - k_) * per_step_ + (r * r * r - r_ * r_ * r_) / 3.0) / (edge - edge_);
    edge_ = edge;
    k_ = k;
    r_ = r;
    return mean;
  }

 private:
  DOPT_BOTH double level(double x) const { return round_even(clamp(x / s_, lowest_, highest_)); }

  double s_, lowest_, highest_, per_step_;
  double edge_, k_, r_;
};

// Steps of the search for the best clip. Candidates are multiplied up, not computed by exp2, so that every build and the
// TypeScript twin try the same ones.
struct SearchSteps {
  static constexpr double kStep = 0.95760328069857365;        // 2^(-1/16)
  static constexpr int kCandidates = 128;                     // down to 2^-8 of the extreme, and zero
  static constexpr double kCoarseStep = 0.84089641525371454;  // 2^(-1/4)
  static constexpr int kCoarse = 20;                          // down to 2^-5 of each extreme, and zero
  static constexpr int kRounds = 4;                           // of each end in turn; two are the rule
  static constexpr int kFiner = 8;  // subdivisions of a step, on both sides, in each of two refinements
};

}  // namespace dopt

#endif  // DOPT_SRC_QUANTIZER_H_
