// Checked entry points of the elementwise kernels.
#include <cmath>
#include <cstdint>

#include "kernels.h"
#include "status.h"

namespace dopt {
namespace {

dopt_status check(const void* in, const void* out, size_t n) noexcept {
  DOPT_REQUIRE((in != nullptr && out != nullptr) || n == 0, "input or output is NULL with %zu values", n);
  return DOPT_OK;
}

dopt_status check_scale(float scale, int32_t zero_point, int32_t qmin, int32_t qmax) noexcept {
  DOPT_REQUIRE(std::isfinite(scale) && scale > 0.0f, "scale is %g, expected finite and above 0",
               static_cast<double>(scale));
  DOPT_REQUIRE(zero_point >= qmin && zero_point <= qmax, "zero point %d is outside %d..%d", zero_point, qmin, qmax);
  return DOPT_OK;
}

template <typename Kernel>
dopt_status quantize(const void* in, size_t n, float scale, int32_t zero_point, int32_t qmin, int32_t qmax,
                     const void* out, Kernel&& kernel) {
  return guarded([&]() -> dopt_status {
    if (const dopt_status bad = check(in, out, n)) return bad;
    if (const dopt_status bad = check_scale(scale, zero_point, qmin, qmax)) return bad;
    kernel();
    return DOPT_OK;
  });
}

template <typename Kernel>
dopt_status requantize(const int32_t* acc, size_t n, double multiplier, int32_t zero_point, int32_t qmin, int32_t qmax,
                       const void* out, Kernel&& kernel) {
  return guarded([&]() -> dopt_status {
    if (const dopt_status bad = check(acc, out, n)) return bad;
    DOPT_REQUIRE(std::isfinite(multiplier), "multiplier is not finite");
    DOPT_REQUIRE(zero_point >= qmin && zero_point <= qmax, "zero point %d is outside %d..%d", zero_point, qmin, qmax);
    kernel();
    return DOPT_OK;
  });
}

}  // namespace
}  // namespace dopt

extern "C" {

dopt_status dopt_quantize_u8(const float* x, size_t n, float scale, int32_t zero_point, uint8_t* out) {
  return dopt::quantize(x, n, scale, zero_point, 0, UINT8_MAX, out,
                        [&] { dopt::kernels().quantize_u8(x, n, scale, zero_point, out); });
}

dopt_status dopt_quantize_i8(const float* x, size_t n, float scale, int32_t zero_point, int8_t* out) {
  return dopt::quantize(x, n, scale, zero_point, INT8_MIN, INT8_MAX, out,
                        [&] { dopt::kernels().quantize_i8(x, n, scale, zero_point, INT8_MIN, out); });
}

dopt_status dopt_quantize_u16(const float* x, size_t n, float scale, int32_t zero_point, uint16_t* out) {
  return dopt::quantize(x, n, scale, zero_point, 0, UINT16_MAX, out,
                        [&] { dopt::kernels().quantize_u16(x, n, scale, zero_point, out); });
}

dopt_status dopt_quantize_i16(const float* x, size_t n, float scale, int32_t zero_point, int16_t* out) {
  return dopt::quantize(x, n, scale, zero_point, INT16_MIN, INT16_MAX, out,
                        [&] { dopt::kernels().quantize_i16(x, n, scale, zero_point, out); });
}

dopt_status dopt_dequantize_u8(const uint8_t* q, size_t n, float scale, int32_t zero_point, float* out) {
  return dopt::quantize(q, n, scale, zero_point, 0, UINT8_MAX, out,
                        [&] { dopt::kernels().dequantize_u8(q, n, scale, zero_point, out); });
}

dopt_status dopt_dequantize_i8(const int8_t* q, size_t n, float scale, int32_t zero_point, float* out) {
  return dopt::quantize(q, n, scale, zero_point, INT8_MIN, INT8_MAX, out,
                        [&] { dopt::kernels().dequantize_i8(q, n, scale, zero_point, out); });
}

dopt_status dopt_dequantize_u16(const uint16_t* q, size_t n, float scale, int32_t zero_point, float* out) {
  return dopt::quantize(q, n, scale, zero_point, 0, UINT16_MAX, out,
                        [&] { dopt::kernels().dequantize_u16(q, n, scale, zero_point, out); });
}

dopt_status dopt_dequantize_i16(const int16_t* q, size_t n, float scale, int32_t zero_point, float* out) {
  return dopt::quantize(q, n, scale, zero_point, INT16_MIN, INT16_MAX, out,
                        [&] { dopt::kernels().dequantize_i16(q, n, scale, zero_point, out); });
}

dopt_status dopt_dequantize_i32(const int32_t* q, size_t n, float scale, int32_t zero_point, float* out) {
  return dopt::quantize(q, n, scale, zero_point, INT32_MIN, INT32_MAX, out, [&] {
    for (size_t i = 0; i < n; ++i) out[i] = static_cast<float>(int64_t{q[i]} - zero_point) * scale;
  });
}

dopt_status dopt_fake_quantize(const float* x, size_t n, float scale, int32_t zero_point, int32_t qmin, int32_t qmax,
                               float* out) {
  DOPT_REQUIRE(qmin >= -65535 && qmax <= 65535 && qmin < qmax, "%d..%d is not a range within -65535..65535", qmin,
               qmax);
  return dopt::quantize(x, n, scale, zero_point, qmin, qmax, out,
                        [&] { dopt::kernels().fake_quantize(x, n, scale, zero_point, qmin, qmax, out); });
}

dopt_status dopt_requantize_i32_u8(const int32_t* acc, size_t n, double multiplier, int32_t zero_point, uint8_t* out) {
  return dopt::requantize(acc, n, multiplier, zero_point, 0, UINT8_MAX, out,
                          [&] { dopt::kernels().requantize_u8(acc, n, multiplier, zero_point, out); });
}

dopt_status dopt_requantize_i32_i8(const int32_t* acc, size_t n, double multiplier, int32_t zero_point, int8_t* out) {
  return dopt::requantize(acc, n, multiplier, zero_point, INT8_MIN, INT8_MAX, out,
                          [&] { dopt::kernels().requantize_i8(acc, n, multiplier, zero_point, out); });
}

}  // extern "C"
