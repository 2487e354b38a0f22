// Per-channel kernels over a tensor seen as [outer, channels, inner].
#include <cmath>
#include <cstdint>

#include "kernels.h"
#include "status.h"

namespace dopt {
namespace {

dopt_status check_shape(const void* in, const void* out, size_t outer, size_t channels, size_t inner) noexcept {
  size_t rows = 0, n = 0;
  DOPT_REQUIRE(!__builtin_mul_overflow(outer, channels, &rows) && !__builtin_mul_overflow(rows, inner, &n),
               "%zu x %zu x %zu values are too many", outer, channels, inner);
  DOPT_REQUIRE((in != nullptr && out != nullptr) || n == 0, "input or output is NULL with %zu values", n);
  return DOPT_OK;
}

dopt_status check_scales(const float* scales, size_t channels) noexcept {
  DOPT_REQUIRE(scales != nullptr || channels == 0, "scales is NULL with %zu channels", channels);
  for (size_t c = 0; c < channels; ++c) {
    DOPT_REQUIRE(std::isfinite(scales[c]) && scales[c] > 0.0f,
                 "scale of channel %zu is %g, expected finite and above 0", c, static_cast<double>(scales[c]));
  }
  return DOPT_OK;
}

// row(channel, offset) for each run of `inner` values.
template <typename Row>
void each_row(size_t outer, size_t channels, size_t inner, Row&& row) {
  size_t offset = 0;
  for (size_t o = 0; o < outer; ++o) {
    for (size_t c = 0; c < channels; ++c, offset += inner) row(c, offset);
  }
}

}  // namespace
}  // namespace dopt

extern "C" {

dopt_status dopt_channel_absmax(const float* w, size_t outer, size_t channels, size_t inner, float* absmax) {
  return dopt::guarded([&]() -> dopt_status {
    if (const dopt_status bad = dopt::check_shape(w, absmax, outer, channels, inner)) return bad;
    DOPT_REQUIRE(absmax != nullptr || channels == 0, "absmax is NULL with %zu channels", channels);
    for (size_t c = 0; c < channels; ++c) absmax[c] = 0.0f;
    dopt::each_row(outer, channels, inner,
                   [&](size_t c, size_t offset) { absmax[c] = dopt::kernels().absmax(w + offset, inner, absmax[c]); });
    return DOPT_OK;
  });
}

dopt_status dopt_quantize_i8_channels(const float* w, size_t outer, size_t channels, size_t inner, const float* scales,
                                      int8_t* out) {
  return dopt::guarded([&]() -> dopt_status {
    if (const dopt_status bad = dopt::check_shape(w, out, outer, channels, inner)) return bad;
    if (const dopt_status bad = dopt::check_scales(scales, channels)) return bad;
    dopt::each_row(outer, channels, inner, [&](size_t c, size_t offset) {
      dopt::kernels().quantize_i8(w + offset, inner, scales[c], 0, -INT8_MAX, out + offset);
    });
    return DOPT_OK;
  });
}

dopt_status dopt_dequantize_i8_channels(const int8_t* q, size_t outer, size_t channels, size_t inner,
                                        const float* scales, float* out) {
  return dopt::guarded([&]() -> dopt_status {
    if (const dopt_status bad = dopt::check_shape(q, out, outer, channels, inner)) return bad;
    if (const dopt_status bad = dopt::check_scales(scales, channels)) return bad;
    dopt::each_row(outer, channels, inner, [&](size_t c, size_t offset) {
      dopt::kernels().dequantize_i8(q + offset, inner, scales[c], 0, out + offset);
    });
    return DOPT_OK;
  });
}

dopt_status dopt_fake_quantize_channels(const float* w, size_t outer, size_t channels, size_t inner,
                                        const float* scales, const int32_t* zero_points, int32_t qmin, int32_t qmax,
                                        float* out) {
  return dopt::guarded([&]() -> dopt_status {
    if (const dopt_status bad = dopt::check_shape(w, out, outer, channels, inner)) return bad;
    if (const dopt_status bad = dopt::check_scales(scales, channels)) return bad;
    DOPT_REQUIRE(qmin >= -65535 && qmax <= 65535 && qmin < qmax, "%d..%d is not a range within -65535..65535", qmin,
                 qmax);
    for (size_t c = 0; c < channels; ++c) {
      const int32_t zero_point = zero_points == nullptr ? 0 : zero_points[c];
      DOPT_REQUIRE(zero_point >= qmin && zero_point <= qmax, "zero point %d of channel %zu is outside %d..%d",
                   zero_point, c, qmin, qmax);
    }
    dopt::each_row(outer, channels, inner, [&](size_t c, size_t offset) {
      dopt::kernels().fake_quantize(w + offset, inner, scales[c], zero_points == nullptr ? 0 : zero_points[c], qmin,
                                    qmax, out + offset);
    });
    return DOPT_OK;
  });
}

}  // extern "C"
