// Scales of groups by weighted squared error, and nearest rounding on them.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "dopt.h"
#include "kernels.h"
#include "layer.h"
#include "rows.h"
#include "status.h"

namespace dopt {

dopt_status check_rows(const dopt_layer* layer) noexcept {
  if (const dopt_status bad = check_layer(layer)) return bad;
  DOPT_REQUIRE(layer->groups == 1 && layer->free_bias == 0, "a layer of %lld groups and free_bias %d, expected 1 and 0",
               static_cast<long long>(layer->groups), layer->free_bias);
  return DOPT_OK;
}

namespace {

constexpr int kFits = 4;       // fits of a scale to its integers, at most
constexpr size_t kCoarse = 4;  // one of so many candidates is tried first, then those beside the best

// A clip that was found: its place among the candidates and the error with it.
struct Clip {
  double scale, error;
  size_t at;
};

// One group of a row with the power of its inputs, padded with zeros to whole lanes.
class Piece {
 public:
  explicit Piece(size_t span) : w_((span + kLanes - 1) / kLanes * kLanes), power_(w_.size()) {}

  // importance: or nullptr, all 1.
  void load(const float* w, const double* importance, size_t n) {
    n_ = (n + kLanes - 1) / kLanes * kLanes;
    low_ = high_ = 0;
    for (size_t k = 0; k < n; ++k) {
      w_[k] = static_cast<double>(w[k]);
      power_[k] = importance == nullptr ? 1.0 : importance[k];
      low_ = std::min(low_, w_[k]);
      high_ = std::max(high_, w_[k]);
    }
    std::fill(w_.begin() + static_cast<std::ptrdiff_t>(n), w_.end(), 0.0);
    std::fill(power_.begin() + static_cast<std::ptrdiff_t>(n), power_.end(), 0.0);
  }

  // The least scale that clips nothing.
  double whole(const Rows& rows) const {
    return std::max(rows.qmax > 0 ? high_ / rows.qmax : 0, rows.qmin < 0 ? low_ / rows.qmin : 0);
  }

  // Weighted squared error of a scale; `fitted` is the scale of least squares for the integers that it gives.
  double error_of(const Rows& rows, double scale, double* fitted) const {
    double sums[3];
    kernels().scale_sums(w_.data(), power_.data(), n_, scale, rows.qmin, rows.qmax, sums);
    *fitted = sums[2] > 0 && sums[1] > 0 ? sums[1] / sums[2] : scale;
    return sums[0];
  }

  // Tries the scales first, first + step, … before last; the first with the least error, if that is less, becomes `best`.
  void best_of(const Rows& rows, const std::vector<double>& scales, size_t first, size_t last, size_t step,
               Clip* best) const {
    double tries[kTries], errors[kTries];
    for (size_t next = first; next < last; next += kTries * step) {
      const size_t count = std::min(kTries, (last - next + step - 1) / step);
      for (size_t t = 0; t < kTries; ++t) tries[t] = scales[next + std::min(t, count - 1) * step];
      kernels().scale_errors(w_.data(), power_.data(), n_, tries, rows.qmin, rows.qmax, errors);
      for (size_t t = 0; t < count; ++t) {
        if (errors[t] < best->error) *best = {tries[t], errors[t], next + t * step};
      }
    }
  }

 private:
  std::vector<double> w_, power_;
  size_t n_ = 0;
  double low_ = 0, high_ = 0;
};

float scale_of(const Rows& rows, const Piece& piece, std::vector<double>& scales, double least) {
  const double whole = piece.whole(rows);
  if (!(whole > 0) || !std::isfinite(whole)) return 1.0f;
  const double unclipped = half_scale(whole);
  double fitted = unclipped, refit = unclipped;
  Clip best{unclipped, piece.error_of(rows, unclipped, &fitted), scales.size()};
  for (size_t i = 0; i < scales.size(); ++i) {
    const double share = least + (1.0 - least) * static_cast<double>(i) / static_cast<double>(scales.size());
    scales[i] = half_scale(whole * share);
  }
  piece.best_of(rows, scales, 0, scales.size(), kCoarse, &best);
  const size_t near = best.at;
  piece.best_of(rows, scales, near - std::min(near, kCoarse - 1), std::min(near + kCoarse, scales.size()), 1, &best);
  if (best.scale != unclipped) piece.error_of(rows, best.scale, &fitted);
  for (int i = 0; i < kFits && !scales.empty(); ++i) {
    const double scale = half_scale(fitted);
    if (scale == best.scale || !(scale > 0)) break;
    const double error = piece.error_of(rows, scale, &refit);
    if (!(error < best.error)) break;
    best = {scale, error, best.at};
    fitted = refit;
  }
  return static_cast<float>(best.scale);
}

}  // namespace
}  // namespace dopt

extern "C" {

dopt_status dopt_group_scales(const dopt_layer* layer, const float* weights, const double* importance,
                              int32_t candidates, double least, float* scales) {
  return dopt::guarded([&]() -> dopt_status {
    if (const dopt_status bad = dopt::check_rows(layer)) return bad;
    DOPT_REQUIRE(weights != nullptr && scales != nullptr, "an array is NULL");
    DOPT_REQUIRE(candidates >= 1 && least > 0 && least <= 1, "%d candidates from %g", candidates, least);
    const dopt::Rows rows(*layer);
    dopt::each_chunk(rows, 1, [&](size_t first, size_t last) {
      dopt::Piece piece(rows.span);
      std::vector<double> tries(static_cast<size_t>(candidates - 1));
      for (size_t o = first; o < last; ++o) {
        for (size_t g = 0; g < rows.groups; ++g) {
          const size_t begin = rows.begin(g);
          piece.load(weights + o * rows.inputs + begin, importance == nullptr ? nullptr : importance + begin,
                     rows.end(g) - begin);
          scales[o * rows.groups + g] = dopt::scale_of(rows, piece, tries, least);
        }
      }
    });
    return DOPT_OK;
  });
}

dopt_status dopt_group_nearest(const dopt_layer* layer, const double* values, const float* scales, int8_t* integers) {
  return dopt::guarded([&]() -> dopt_status {
    if (const dopt_status bad = dopt::check_rows(layer)) return bad;
    DOPT_REQUIRE(values != nullptr && scales != nullptr && integers != nullptr, "an array is NULL");
    const dopt::Rows rows(*layer);
    dopt::each_chunk(rows, 1, [&](size_t first, size_t last) {
      for (size_t o = first; o < last; ++o) {
        for (size_t g = 0; g < rows.groups; ++g) {
          const size_t at = o * rows.inputs + rows.begin(g);
          dopt::kernels().round_nearest(values + at, static_cast<double>(scales[o * rows.groups + g]),
                                        rows.end(g) - rows.begin(g), rows.qmin, rows.qmax, integers + at);
        }
      }
    });
    return DOPT_OK;
  });
}

}  // extern "C"
