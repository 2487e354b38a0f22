// Scales of groups by weighted squared error, and nearest rounding on them.
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

constexpr int kFits = 4;  // fits of a scale to its integers, at most

// One group of a row with the power of its inputs.
struct Piece {
  const float* w;
  const double* power;  // or nullptr: all 1
  size_t n;
};

// Weighted squared error of a scale; `fitted` is the scale of least squares for the integers that it gives.
double error_of(const Rows& rows, const Piece& piece, double scale, double* fitted) {
  double sums[3];
  kernels().scale_sums(piece.w, piece.power, piece.n, 1.0 / scale, scale, rows.qmin, rows.qmax, sums);
  *fitted = sums[2] > 0 && sums[1] > 0 ? sums[1] / sums[2] : scale;
  return sums[0];
}

float scale_of(const Rows& rows, const Piece& piece, int32_t candidates, double least) {
  double low = 0, high = 0;
  for (size_t k = 0; k < piece.n; ++k) {
    low = std::min(low, static_cast<double>(piece.w[k]));
    high = std::max(high, static_cast<double>(piece.w[k]));
  }
  const double whole = std::max(rows.qmax > 0 ? high / rows.qmax : 0, rows.qmin < 0 ? low / rows.qmin : 0);
  if (!(whole > 0) || !std::isfinite(whole)) return 1.0f;
  double best = half_scale(whole), fitted = best, refit = best;
  double least_error = error_of(rows, piece, best, &fitted);
  for (int32_t i = 0; i + 1 < candidates; ++i) {
    const double share = least + (1.0 - least) * i / (candidates - 1);
    const double scale = half_scale(whole * share);
    const double error = error_of(rows, piece, scale, &refit);
    if (error < least_error) {
      least_error = error;
      best = scale;
      fitted = refit;
    }
  }
  for (int i = 0; i < kFits && candidates > 1; ++i) {
    const double scale = half_scale(fitted);
    if (scale == best || !(scale > 0)) break;
    const double error = error_of(rows, piece, scale, &refit);
    if (!(error < least_error)) break;
    least_error = error;
    best = scale;
    fitted = refit;
  }
  return static_cast<float>(best);
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
    dopt::each_chunk(rows, [&](size_t first, size_t last) {
      for (size_t o = first; o < last; ++o) {
        for (size_t g = 0; g < rows.groups; ++g) {
          const size_t begin = rows.begin(g);
          const dopt::Piece piece{weights + o * rows.inputs + begin,
                                  importance == nullptr ? nullptr : importance + begin, rows.end(g) - begin};
          scales[o * rows.groups + g] = dopt::scale_of(rows, piece, candidates, least);
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
    dopt::each_chunk(rows, [&](size_t first, size_t last) {
      for (size_t o = first; o < last; ++o) {
        for (size_t k = 0; k < rows.inputs; ++k) {
          const double scale = static_cast<double>(scales[o * rows.groups + k / rows.span]);
          integers[o * rows.inputs + k] = static_cast<int8_t>(rows.nearest(values[o * rows.inputs + k], scale));
        }
      }
    });
    return DOPT_OK;
  });
}

}  // extern "C"
