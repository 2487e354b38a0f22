/* dopt native core: arithmetic on tensors behind a plain C interface.
 *
 * Conventions
 * - Every function that can fail returns a dopt_status: DOPT_OK or a negative DOPT_ERROR_*. The text of the last
 *   failure on the calling thread is in dopt_last_error().
 * - Buffers belong to the caller, need no alignment beyond that of their element type and must not overlap unless
 *   stated otherwise. A pointer may be NULL where its element count is 0.
 * - Results do not depend on the instruction set chosen at run time nor on the number of threads: counts and integer
 *   results are exact, floating sums use a fixed reduction tree (16 lanes inside blocks of 2048 elements).
 * - The float environment (rounding mode, flush-to-zero) of the calling thread is set to the IEEE default during a call
 *   and restored afterwards.
 * - Integers are rounded half to even and saturated. NaN quantizes to the zero point, infinities saturate.
 */
#ifndef DOPT_H_
#define DOPT_H_

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define DOPT_API __declspec(dllexport)
#else
#define DOPT_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when a signature or a struct changes; both bindings refuse another value. */
#define DOPT_ABI_VERSION 3

typedef int32_t dopt_status;
enum {
  DOPT_OK = 0,
  DOPT_ERROR_ARGUMENT = -1, /* a NULL buffer, a size, a scale or a state that cannot be used; nothing was changed */
  DOPT_ERROR_MEMORY = -2,   /* an allocation failed; outputs and states are undefined */
  DOPT_ERROR_INTERNAL = -3  /* an invariant of the library does not hold */
};

/* ---- Library ---------------------------------------------------------------------------------------------------- */

/* DOPT_ABI_VERSION of the library as built. */
DOPT_API int32_t dopt_abi_version(void);

/* JSON object {"abi", "simd", "compiler", "threads"}; valid until the next call on this thread. */
DOPT_API const char* dopt_build_info(void);

/* Text of the last failure on this thread, "" when there was none; valid until the next failing call on this thread. */
DOPT_API const char* dopt_last_error(void);

/* Threads used by dopt_histogram_update_many and dopt_gram_*, 1..256; 0 means one a processor this process may use. */
DOPT_API dopt_status dopt_set_threads(int32_t threads);

/* ---- Histogram that widens by merging ---------------------------------------------------------------------------
 *
 * Bin k of `bins` covers [(base + k) * width, (base + k + 1) * width). `width` is a power of two, so widening merges
 * bins in pairs without error and zero always lies on a border. Exact zeros, NaN and infinities are counted apart:
 * the counts add up to `count - zeros`.
 *
 * width and base are a function of min, max and bins alone: width is the smallest power of two for which the bins cover
 * [min, max], but at least 2^-126 and at least 2^-23 of the largest magnitude; base = floor(min / width). So all fields
 * except the two sums depend only on the values seen, not on their order, on batches or on merging.
 * width is 0 until a value other than zero has been seen.
 */
typedef struct dopt_histogram {
  size_t struct_size; /* sizeof(dopt_histogram), set by dopt_histogram_init */
  int64_t bins;       /* 8..2^20 */
  int64_t base;
  double width;
  uint64_t count; /* finite values, exact zeros included */
  uint64_t zeros; /* +0 and -0 */
  uint64_t nans;
  uint64_t infinities;
  float min; /* exact extremes of the finite values, zeros included; both 0 when count is 0 */
  float max;
  double sum; /* of the finite values */
  double sum_squares;
} dopt_histogram;

/* Empty state with `bins` bins. The caller provides and zeroes the `bins` counts. */
DOPT_API dopt_status dopt_histogram_init(dopt_histogram* state, int64_t bins);

/* Adds x[n]. counts[state->bins]. One pass over x. */
DOPT_API dopt_status dopt_histogram_update(dopt_histogram* state, uint64_t* counts, const float* x, size_t n);

/* Adds x[i][n[i]] to states[i] and counts[i] for each i below `tensors`, on several threads, a tensor on one of them.
 * n[i] = 0 leaves a state as it is. All states are checked before any of them is touched. */
DOPT_API dopt_status dopt_histogram_update_many(dopt_histogram* states, uint64_t* const* counts, const float* const* x,
                                                const size_t* n, size_t tensors);

/* Adds the values seen by `from` to `into`; both must have the same number of bins. `from` may not be `into`. */
DOPT_API dopt_status dopt_histogram_merge(dopt_histogram* into, uint64_t* into_counts, const dopt_histogram* from,
                                          const uint64_t* from_counts);

/* ---- Range sweeps ------------------------------------------------------------------------------------------------
 *
 * All take a histogram and its counts[bins], and give low <= 0 <= high. Values inside a bin are taken as uniformly
 * spread over the part of the bin inside [min, max]; exact zeros are represented without error by every format.
 * bits is 2..16. symmetric = 1 needs is_signed = 1 and gives low = -high. An empty or all-zero histogram gives 0, 0.
 */

/* The shortest interval of the form "same share cut from each tail" that keeps `fraction` (0..1] of all values,
 * i.e. the quantiles (1 - fraction) / 2 on both sides. Exact zeros are part of the distribution. fraction 1 is
 * [min(0, min), max(0, max)]. */
DOPT_API dopt_status dopt_range_percentile(const dopt_histogram* state, const uint64_t* counts, double fraction,
                                           double* low, double* high);

/* Expected squared error per value, rounding and clipping together, of quantizing with dopt_quant_params(low, high). */
DOPT_API dopt_status dopt_range_error(const dopt_histogram* state, const uint64_t* counts, double low, double high,
                                      int32_t bits, int32_t is_signed, int32_t symmetric, double* error);

/* The clip with the least dopt_range_error among a fine sweep of both ends (coordinate descent, then refinement).
 * Source: Choukroun et al., "Low-bit Quantization of Neural Networks for Efficient Inference" (OMSE),
 * arXiv:1902.06822, section 3.2. */
DOPT_API dopt_status dopt_range_mse(const dopt_histogram* state, const uint64_t* counts, int32_t bits,
                                    int32_t is_signed, int32_t symmetric, double* low, double* high, double* error);

/* The clip with the least Kullback-Leibler divergence between the distribution, its tails folded onto the clip, and its
 * quantized form. `error` receives the divergence in nats. Needs more bins than 2^bits inside the range to differ from
 * min and max. Source: Migacz, "8-bit inference with TensorRT", GTC 2017. */
DOPT_API dopt_status dopt_range_entropy(const dopt_histogram* state, const uint64_t* counts, int32_t bits,
                                        int32_t is_signed, int32_t symmetric, double* low, double* high,
                                        double* error);

/* Scale and zero point of a range; zero is always exact.
 * asymmetric: the range is first extended to hold zero, scale = (high - low) / (2^bits - 1),
 *             zero_point = round(qmin - low / scale) in [qmin, qmax];
 * symmetric:  scale = max(|low|, |high|) / (2^(bits-1) - 1), zero_point = 0.
 * A range of zero width gives scale 1 and zero point 0 (qmin 0 or below always holds it). The scale is rounded to
 * float and at least 2^-126. */
DOPT_API dopt_status dopt_quant_params(double low, double high, int32_t bits, int32_t is_signed, int32_t symmetric,
                                       float* scale, int32_t* zero_point);

/* ---- Elementwise -------------------------------------------------------------------------------------------------
 *
 * out = saturate(round_half_even(x / scale) + zero_point), the division in float32: ONNX QuantizeLinear.
 * scale must be finite and positive, zero_point inside the output type.
 */
DOPT_API dopt_status dopt_quantize_u8(const float* x, size_t n, float scale, int32_t zero_point, uint8_t* out);
DOPT_API dopt_status dopt_quantize_i8(const float* x, size_t n, float scale, int32_t zero_point, int8_t* out);
DOPT_API dopt_status dopt_quantize_u16(const float* x, size_t n, float scale, int32_t zero_point, uint16_t* out);
DOPT_API dopt_status dopt_quantize_i16(const float* x, size_t n, float scale, int32_t zero_point, int16_t* out);

/* out = (q - zero_point) * scale in float32: ONNX DequantizeLinear. The difference is taken in 32-bit integers for the
 * 8- and 16-bit types and in 64-bit integers, rounded to float, for i32. */
DOPT_API dopt_status dopt_dequantize_u8(const uint8_t* q, size_t n, float scale, int32_t zero_point, float* out);
DOPT_API dopt_status dopt_dequantize_i8(const int8_t* q, size_t n, float scale, int32_t zero_point, float* out);
DOPT_API dopt_status dopt_dequantize_u16(const uint16_t* q, size_t n, float scale, int32_t zero_point, float* out);
DOPT_API dopt_status dopt_dequantize_i16(const int16_t* q, size_t n, float scale, int32_t zero_point, float* out);
DOPT_API dopt_status dopt_dequantize_i32(const int32_t* q, size_t n, float scale, int32_t zero_point, float* out);

/* Quantize to [qmin, qmax] and back. |qmin|, |qmax| <= 65535, qmin <= zero_point <= qmax. out may be x. */
DOPT_API dopt_status dopt_fake_quantize(const float* x, size_t n, float scale, int32_t zero_point, int32_t qmin,
                                        int32_t qmax, float* out);

/* out = saturate(round_half_even(acc * multiplier) + zero_point), the product in double. */
DOPT_API dopt_status dopt_requantize_i32_u8(const int32_t* acc, size_t n, double multiplier, int32_t zero_point,
                                            uint8_t* out);
DOPT_API dopt_status dopt_requantize_i32_i8(const int32_t* acc, size_t n, double multiplier, int32_t zero_point,
                                            int8_t* out);

/* ---- Per channel: the tensor seen as [outer, channels, inner] ---------------------------------------------------- */

/* absmax[channels]: largest finite magnitude of each channel, 0 for an empty one. */
DOPT_API dopt_status dopt_channel_absmax(const float* w, size_t outer, size_t channels, size_t inner, float* absmax);

/* Symmetric int8: saturates to -127..127, zero point 0. scales[channels]. */
DOPT_API dopt_status dopt_quantize_i8_channels(const float* w, size_t outer, size_t channels, size_t inner,
                                               const float* scales, int8_t* out);
DOPT_API dopt_status dopt_dequantize_i8_channels(const int8_t* q, size_t outer, size_t channels, size_t inner,
                                                 const float* scales, float* out);

/* dopt_fake_quantize with scales[channels] and zero_points[channels] (NULL: all 0). out may be w. */
DOPT_API dopt_status dopt_fake_quantize_channels(const float* w, size_t outer, size_t channels, size_t inner,
                                                 const float* scales, const int32_t* zero_points, int32_t qmin,
                                                 int32_t qmax, float* out);

/* ---- Sums -------------------------------------------------------------------------------------------------------- */

/* signal = sum a^2, noise = sum (a - b)^2, dot = sum a b, power_b = sum b^2, in double; NaN and infinities propagate. */
DOPT_API dopt_status dopt_error_sums(const float* a, const float* b, size_t n, double* signal, double* noise,
                                     double* dot, double* power_b);

/* ---- Reference integer arithmetic, slow and obvious: what a device must compute ----------------------------------- */

/* Shape of a grouped 2-d convolution; NCHW input, OIHW weights with I = in_channels / groups. */
typedef struct dopt_conv2d_shape {
  size_t struct_size;
  int64_t batch, in_channels, in_height, in_width;
  int64_t out_channels, kernel_height, kernel_width, groups;
  int64_t stride_height, stride_width, dilation_height, dilation_width;
  int64_t pad_top, pad_left, pad_bottom, pad_right;
} dopt_conv2d_shape;

/* out[batch, out_channels, out_height, out_width] = sum (x - x_zero_point) * w + bias, out_height =
 * (in_height + pad_top + pad_bottom - dilation_height * (kernel_height - 1) - 1) / stride_height + 1. Padding holds the
 * zero point. bias[out_channels] or NULL. Sums wrap modulo 2^32, as 32-bit accumulators do. */
DOPT_API dopt_status dopt_conv2d_u8s8_s32(const dopt_conv2d_shape* shape, const uint8_t* x, int32_t x_zero_point,
                                          const int8_t* w, const int32_t* bias, int32_t* out);

/* out[m, n] = sum over k of (x[m, k] - x_zero_point) * w[k, n] + bias[n], row-major; bias or NULL; sums wrap. */
DOPT_API dopt_status dopt_matmul_u8s8_s32(const uint8_t* x, int32_t x_zero_point, const int8_t* w, const int32_t* bias,
                                          size_t m, size_t k, size_t n, int32_t* out);

/* ---- Layers on Gram matrices ------------------------------------------------------------------------------------
 *
 * A layer computes y[o] = sum over k of w[o, k] * x[k] + b[o] at many positions; a convolution does so with the patches of
 * its input. What rounding does to it, and what undoes it, depends on the data through three sums alone, over positions,
 * with a constant 1 appended to x (so K = inputs + 1):
 *   gram[groups, K, K]         sum x x^T
 *   cross[groups, outputs, K]  sum y x^T
 *   power[groups, outputs]     sum y^2
 * x is what the quantized model feeds the layer, y what the float model makes of it. outputs counts those of one group.
 * All sums are in double, of exact products of floats.
 */

/* Adds one sample of a convolution: x[in_channels, in_height, in_width], y[out_channels, out_height, out_width]. batch
 * must be 1. transposed != 0: of a transposed convolution, whose shape is given as that of the convolution it transposes
 * in space: pads, strides and dilations as in ONNX ConvTranspose, weights taken as [groups, outputs, inputs per group,
 * kernel_height, kernel_width]. out_height and out_width are given since output_padding and asymmetric pads allow
 * several. At most `positions` of the output's positions are used, evenly spread and from `first` on. */
DOPT_API dopt_status dopt_gram_conv2d(const dopt_conv2d_shape* shape, int32_t transposed, int64_t out_height,
                                      int64_t out_width, const float* x, const float* y, int64_t positions,
                                      int64_t first, double* gram, double* cross, double* power);

/* Adds the rows of a matrix product: x[rows, inputs], y[rows, outputs]; groups is 1. */
DOPT_API dopt_status dopt_gram_matmul(const float* x, const float* y, int64_t rows, int64_t inputs, int64_t outputs,
                                      double* gram, double* cross, double* power);

/* Sizes, weights and grid of a layer for the functions below. Weights are [groups, outputs, inputs], row-major, with a
 * scale for each `span` of them along inputs: scales[groups, outputs, ceil(inputs / span)]. */
typedef struct dopt_layer {
  size_t struct_size;
  int64_t groups, outputs, inputs, span;
  int32_t qmin, qmax;
  int32_t free_bias; /* the bias is whatever makes the mean error 0; else it is left out of gram and cross alike */
} dopt_layer;

/* Integers for a layer's weights that keep its output close to y.
 *
 * Target: with ridge >= 0 the weights v that minimize sum (y - v x)^2 + ridge * d * |v - w|^2, d the mean of the diagonal
 * of gram: they make up for what quantization before the layer did to x (Zhang et al., "Qronos", arXiv:2505.11695; Li et
 * al., "GPTAQ", arXiv:2504.02692). With ridge < 0 the weights themselves.
 * Rounding: in the order of falling variance of x, each error spread over the weights not yet rounded: Frantar et al.,
 * "GPTQ", arXiv:2210.17323, section 3, in the form of Babai's nearest plane, which needs the Cholesky factor of gram
 * + damping * d and no inverse (Chen et al., arXiv:2507.18553, section 4).
 * With free_bias moments about the mean are used throughout: the bias takes the mean's share.
 * A group whose x never varies keeps nearest rounding. */
DOPT_API dopt_status dopt_gram_reconstruct(const dopt_layer* layer, const double* gram, const double* cross,
                                           const float* weights, const float* scales, double ridge, double damping,
                                           int8_t* integers);

/* bias[groups, outputs] that makes the mean of y - (scale * integers) x zero. */
DOPT_API dopt_status dopt_gram_bias(const dopt_layer* layer, const double* gram, const double* cross,
                                    const int8_t* integers, const float* scales, double* bias);

/* error[groups, outputs] = sum (y - (scale * integers) x - bias)^2; bias may be NULL for 0. */
DOPT_API dopt_status dopt_gram_error(const dopt_layer* layer, const double* gram, const double* cross,
                                     const double* power, const int8_t* integers, const float* scales,
                                     const double* bias, double* error);

/* ---- Weights in groups that share a scale -------------------------------------------------------------------------
 *
 * A linear of a language model: y = w x with many inputs, solved row by row on one Gram matrix that all linears with the
 * same input share. Layers here have groups = 1 and free_bias = 0; gram[inputs, inputs] is symmetric and has no constant
 * appended. Rows (runs of them, where they are rounded together) are independent of each other, so results do not depend on how
 * they are cut.
 * Scales are rounded to 11 significant bits, so that formats with half-precision scales hold them as they are.
 */

/* scales[outputs, ceil(inputs / span)] of least sum over k of importance[k] * (w[k] - grid(w[k]))^2 in each group: the best
 * of `candidates` scales, evenly spread from `least` (0..1] to 1 times the one at which nothing is clipped, of which every
 * fourth is tried and then the three on either side of the best, then fitted to the integers by least squares while that
 * lowers the error. importance NULL: all 1. candidates 1: nothing is clipped.
 * A group of zeros has scale 1. Source: the weighted clip search of llama.cpp's importance matrix. */
DOPT_API dopt_status dopt_group_scales(const dopt_layer* layer, const float* weights, const double* importance,
                                       int32_t candidates, double least, float* scales);

/* integers[outputs, inputs] nearest to values[outputs, inputs] on the grid of scales. */
DOPT_API dopt_status dopt_group_nearest(const dopt_layer* layer, const double* values, const float* scales,
                                        int8_t* integers);

/* Integers by error feedback: inputs are rounded from the last of order[inputs] to the first, each error spread over those
 * not yet rounded (GPTQ, arXiv:2210.17323, in the form of Babai's nearest plane, arXiv:2507.18553, section 4, which is
 * LDLQ of arXiv:2307.13304). factor[inputs, inputs]: Cholesky factor of the damped Gram matrix with rows and columns in that
 * order, lower triangle read. Each group keeps its scale whatever the order. target[outputs, inputs] is rounded.
 *
 * run_factors NULL: rows are independent of each other. Else run_factors[outputs / run, run, run] are Cholesky factors, lower
 * triangles read, of forms G over the outputs of `run` rows in a row (the heads of an attention), and what falls is
 * sum of (w - v) gram (w - v)^T * G over all entries: within an input, rows are rounded from the last of their run to the first,
 * each error spread over the rows of the run not yet rounded, which is the same method along the other side (two-sided LDLQ:
 * YAQA, arXiv:2505.22988, section 3). */
DOPT_API dopt_status dopt_gram_round(const dopt_layer* layer, const int64_t* order, const double* factor,
                                     const double* target, const float* scales, const double* run_factors, int64_t run,
                                     int8_t* integers);

/* Lowers (v - w)^T gram (v - w), v the target and w the dequantized weights of a row: `sweeps` times each integer moves to
 * its best value, the others fixed (coordinate descent: Behdin et al., "QuantEase", arXiv:2309.01885), and with refit
 * scales then become those of least squares for the integers; sweeps 0: they do once. */
DOPT_API dopt_status dopt_gram_refine(const dopt_layer* layer, const double* gram, const double* target, int32_t refit,
                                      int32_t sweeps, float* scales, int8_t* integers);

/* ---- Packing ------------------------------------------------------------------------------------------------------ */

/* Two values of -8..7 a byte, the first in the low nibble; out[(n + 1) / 2], an odd tail leaves the high nibble 0. */
DOPT_API dopt_status dopt_pack_int4(const int8_t* x, size_t n, uint8_t* out);
DOPT_API dopt_status dopt_unpack_int4(const uint8_t* packed, size_t n, int8_t* out);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* DOPT_H_ */
