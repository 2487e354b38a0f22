// Geometry of the widening histogram: which bins a range of values needs, and where a bin goes when they widen.
#ifndef DOPT_SRC_BIN_GRID_H_
#define DOPT_SRC_BIN_GRID_H_

#include <cmath>
#include <cstdint>

#include "both.h"

namespace dopt {

struct BinGrid {
  double width;
  int64_t base;
};

// The canonical grid of dopt.h for values within [min, max]; min = max = 0 gives width 0.
DOPT_BOTH BinGrid fit_grid(double min, double max, int64_t bins) noexcept {
  const double magnitude = std::fmax(std::fabs(min), std::fabs(max));
  if (magnitude == 0.0) return {0.0, 0};
  // At most 2^23 bins between zero and the farthest value: bin indices stay exact in float and int32.
  int exponent = std::ilogb(magnitude) - 22;
  if (exponent < -126) exponent = -126;
  // No smaller width can do: bins * width must exceed max - min.
  const double needed = (max - min) / static_cast<double>(bins);
  if (needed > 0.0 && std::ilogb(needed) > exponent) exponent = std::ilogb(needed);
  for (;; ++exponent) {
    const double first = std::floor(std::ldexp(min, -exponent));
    const double last = std::floor(std::ldexp(max, -exponent));
    if (last - first < static_cast<double>(bins)) return {std::ldexp(1.0, exponent), static_cast<int64_t>(first)};
  }
}

// Doublings from one width to the other; bin indices have fewer than 63 bits, so more shift the same.
DOPT_BOTH int doublings(double from, double to) {
  const int steps = std::ilogb(to) - std::ilogb(from);
  return steps < 63 ? steps : 63;
}

// Bin of grid `to` that bin k of the finer or shifted grid `from` falls into, `shift` doublings wider. Kept inside the
// array even where counts contradict min and max, as those of a damaged file may.
DOPT_BOTH int64_t moved_bin(int64_t k, const BinGrid& from, const BinGrid& to, int shift, int64_t bins) {
  const int64_t moved = ((from.base + k) >> shift) - to.base;
  return moved < 0 ? 0 : moved < bins ? moved : bins - 1;
}

}  // namespace dopt

#endif  // DOPT_SRC_BIN_GRID_H_
