// Kernels that are compiled once for each instruction set; see kernels.inc for the one source they share.
//
// The per-set files may include only headers without inline functions or templates: such code would be emitted with
// the set's instructions and the linker could choose that copy for the baseline.
#ifndef DOPT_SRC_KERNELS_H_
#define DOPT_SRC_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

namespace dopt {

constexpr size_t kLanes = 16;    // of the fixed reduction tree
constexpr size_t kBlock = 2048;  // elements between two additions into the running sum
constexpr size_t kTries = 8;     // scales that are judged together
constexpr size_t kProductPad = 16;  // doubles that add_product may read beyond a row

struct BlockStats {
  float min, max;  // of all values; unspecified when `nonfinite`
  bool nonfinite;  // at least one NaN or infinity; then sums are unspecified too
  double sum, sum_squares;
};

struct ErrorSums {
  double signal, noise, dot, power_b;
};

struct Kernels {
  const char* name;
  // n <= kBlock, n > 0.
  void (*block_stats)(const float* x, size_t n, BlockStats* out);
  // slots[i] = floor(x[i] * inverse_width) - base, or bins + i % kLanes for an exact zero. All x finite and in range.
  void (*bin_slots)(const float* x, size_t n, float inverse_width, int32_t base, int32_t bins, uint32_t* slots);
  // n <= kBlock.
  void (*error_sums)(const float* a, const float* b, size_t n, ErrorSums* out);

  void (*quantize_u8)(const float* x, size_t n, float scale, int32_t zero_point, uint8_t* out);
  void (*quantize_i8)(const float* x, size_t n, float scale, int32_t zero_point, int32_t qmin, int8_t* out);
  void (*quantize_u16)(const float* x, size_t n, float scale, int32_t zero_point, uint16_t* out);
  void (*quantize_i16)(const float* x, size_t n, float scale, int32_t zero_point, int16_t* out);
  void (*dequantize_u8)(const uint8_t* q, size_t n, float scale, int32_t zero_point, float* out);
  void (*dequantize_i8)(const int8_t* q, size_t n, float scale, int32_t zero_point, float* out);
  void (*dequantize_u16)(const uint16_t* q, size_t n, float scale, int32_t zero_point, float* out);
  void (*dequantize_i16)(const int16_t* q, size_t n, float scale, int32_t zero_point, float* out);
  void (*fake_quantize)(const float* x, size_t n, float scale, int32_t zero_point, int32_t qmin, int32_t qmax,
                        float* out);
  void (*requantize_u8)(const int32_t* acc, size_t n, double multiplier, int32_t zero_point, uint8_t* out);
  void (*requantize_i8)(const int32_t* acc, size_t n, double multiplier, int32_t zero_point, int8_t* out);
  // Largest finite magnitude, at least `start`.
  float (*absmax)(const float* x, size_t n, float start);
  // c[i][j] += sign * (sum over d of a[d][i] * b[d][j]) for i < m and j < n, row-major with the given strides; every sum
  // is formed in ascending d. Both a and b must be readable up to kProductPad columns beyond their last.
  void (*add_product)(const double* a, size_t a_stride, const double* b, size_t b_stride, size_t depth, size_t m, size_t n,
                      double sign, double* c, size_t c_stride);
  // to[i] -= factor * from[i].
  void (*subtract_scaled)(double* to, const double* from, double factor, size_t n);
  // integers[i] = (target[i] + owed[i] / pivot) / scales[i] rounded half to even and clamped, errors[i] what it misses of target.
  void (*round_feedback)(const double* target, const double* owed, double pivot, const double* scales, size_t n,
                         double qmin, double qmax, double* integers, double* errors);
  // integers[i] = values[i] / scale rounded half to even and clamped.
  void (*round_nearest)(const double* values, double scale, size_t n, double qmin, double qmax, int8_t* integers);
  // Over i < n, a multiple of kLanes, q[i] = w[i] / scale clamped to [qmin, qmax] and rounded:
  // error = sum power (w - q scale)^2, dot = sum power w q, square = sum power q^2, in sums = {error, dot, square}.
  void (*scale_sums)(const double* w, const double* power, size_t n, double scale, double qmin, double qmax, double* sums);
  // The errors of kTries scales, each that of scale_sums to the last bit.
  void (*scale_errors)(const double* w, const double* power, size_t n, const double* scales, double qmin, double qmax,
                       double* errors);
};

namespace baseline {
extern const Kernels kTable;
}
#if defined(DOPT_HAVE_X86_SETS)
namespace avx2 {
extern const Kernels kTable;
}
namespace avx512 {
extern const Kernels kTable;
}
#endif

// Kernels of the best instruction set this processor and operating system offer. The environment variable DOPT_SIMD
// (baseline, avx2, avx512), read once, asks for a lesser one.
const Kernels& kernels();

// Every table this processor can run, for tests; `count` receives how many.
const Kernels* const* runnable_kernels(size_t* count);

}  // namespace dopt

#endif  // DOPT_SRC_KERNELS_H_
