/* dopt CUDA core: the arithmetic of dopt.h on a GPU, behind the same plain C interface.
 *
 * Conventions, beside those of dopt.h
 * - Arrays are device memory of one GPU, as torch, TensorFlow, CuPy or DLPack hand them out; what is a single value on
 *   the way in (sizes, scales, shapes) comes from the host. Results are written to device memory.
 * - `stream` is a cudaStream_t (NULL: the default stream). Calls enqueue work and return; nothing waits but
 *   dopt_cuda_synchronize. A failure inside a kernel shows in a later call.
 * - Arguments are checked before the device is touched: DOPT_ERROR_ARGUMENT comes without one. What lies in device memory
 *   (scales of channels, states) is not checked.
 * - Working memory comes from a pool of this library and goes back to it in order of the stream.
 * - The same inputs on the same kind of device give the same bytes. Quantize, dequantize, requantize, fake quantize,
 *   packing, integer sums, histograms (but for their two sums) and range sweeps give those of the CPU core. Floating sums
 *   are formed in an order of their own; bounds stand at each function, with eps = 2^-53 and n the number of terms.
 */
#ifndef DOPT_CUDA_H_
#define DOPT_CUDA_H_

#include "dopt.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when a signature changes; the binding refuses another value. Structures are those of DOPT_ABI_VERSION. */
#define DOPT_CUDA_ABI_VERSION 1

enum {
  DOPT_ERROR_DEVICE = -4 /* no device or driver, none that this build has code for, or a failure of CUDA */
};

/* Type of the elements behind a `const void*`. */
enum {
  DOPT_F32 = 0,
  DOPT_F16 = 1, /* IEEE half precision */
  DOPT_BF16 = 2
};

/* ---- Library ---------------------------------------------------------------------------------------------------- */

/* DOPT_CUDA_ABI_VERSION of the library as built. */
DOPT_API int32_t dopt_cuda_abi_version(void);

/* JSON object {"abi", "structures", "runtime", "architectures"}; needs no device. */
DOPT_API const char* dopt_cuda_build_info(void);

/* Text of the last failure on this thread, "" when there was none; valid until the next failing call on this thread. */
DOPT_API const char* dopt_cuda_last_error(void);

/* Devices that the driver shows. DOPT_ERROR_DEVICE, and 0, where there is no driver or none. */
DOPT_API dopt_status dopt_cuda_device_count(int32_t* count);

/* JSON object {"name", "capability", "multiprocessors", "memory", "driver"} of a device in text[size], cut off at size.
 * Fails for a device that this build has no code for. */
DOPT_API dopt_status dopt_cuda_device_info(int32_t device, char* text, size_t size);

/* Waits for the stream and reports what failed in it. */
DOPT_API dopt_status dopt_cuda_synchronize(void* stream);

/* ---- Observers -------------------------------------------------------------------------------------------------- */

/* extremes[2] = smallest and largest finite value of x[n]; infinity and -infinity when there is none. */
DOPT_API dopt_status dopt_cuda_min_max(const void* x, int32_t type, size_t n, float* extremes, void* stream);

/* An empty state with `bins` bins and counts[bins] = 0, both in device memory. */
DOPT_API dopt_status dopt_cuda_histogram_init(dopt_histogram* state, uint64_t* counts, int64_t bins, void* stream);

/* Adds x[n]; state->bins must be `bins`. x is read once, and again only when it reaches beyond the bins so far. All but
 * the sums is what dopt_histogram_update gives; sum and sum_squares are within n * eps of sums of magnitudes. */
DOPT_API dopt_status dopt_cuda_histogram_update(dopt_histogram* state, uint64_t* counts, int64_t bins, const void* x,
                                                int32_t type, size_t n, void* stream);

/* Adds x[i][n[i]] to states[i] and counts[i * bins ...] for each i below `tensors`. states and counts are device memory;
 * x and n are arrays on the host, of device addresses and sizes. */
DOPT_API dopt_status dopt_cuda_histogram_update_many(dopt_histogram* states, uint64_t* counts, int64_t bins,
                                                     const void* const* x, int32_t type, const size_t* n,
                                                     size_t tensors, void* stream);

/* ---- Range sweeps ------------------------------------------------------------------------------------------------ */

/* dopt_range_mse for states[tensors] and counts[tensors * bins], each result an array [tensors]. The CPU's bits. */
DOPT_API dopt_status dopt_cuda_range_mse(const dopt_histogram* states, const uint64_t* counts, int64_t bins,
                                         size_t tensors, int32_t bits, int32_t is_signed, int32_t symmetric,
                                         double* low, double* high, double* error, void* stream);

/* ---- Elementwise: as in dopt.h, the CPU's bits ------------------------------------------------------------------- */

DOPT_API dopt_status dopt_cuda_quantize_u8(const float* x, size_t n, float scale, int32_t zero_point, uint8_t* out,
                                           void* stream);
DOPT_API dopt_status dopt_cuda_quantize_i8(const float* x, size_t n, float scale, int32_t zero_point, int8_t* out,
                                           void* stream);
DOPT_API dopt_status dopt_cuda_quantize_u16(const float* x, size_t n, float scale, int32_t zero_point, uint16_t* out,
                                            void* stream);
DOPT_API dopt_status dopt_cuda_quantize_i16(const float* x, size_t n, float scale, int32_t zero_point, int16_t* out,
                                            void* stream);
DOPT_API dopt_status dopt_cuda_dequantize_u8(const uint8_t* q, size_t n, float scale, int32_t zero_point, float* out,
                                             void* stream);
DOPT_API dopt_status dopt_cuda_dequantize_i8(const int8_t* q, size_t n, float scale, int32_t zero_point, float* out,
                                             void* stream);
DOPT_API dopt_status dopt_cuda_dequantize_u16(const uint16_t* q, size_t n, float scale, int32_t zero_point, float* out,
                                              void* stream);
DOPT_API dopt_status dopt_cuda_dequantize_i16(const int16_t* q, size_t n, float scale, int32_t zero_point, float* out,
                                              void* stream);
DOPT_API dopt_status dopt_cuda_dequantize_i32(const int32_t* q, size_t n, float scale, int32_t zero_point, float* out,
                                              void* stream);
DOPT_API dopt_status dopt_cuda_fake_quantize(const float* x, size_t n, float scale, int32_t zero_point, int32_t qmin,
                                             int32_t qmax, float* out, void* stream);
DOPT_API dopt_status dopt_cuda_requantize_i32_u8(const int32_t* acc, size_t n, double multiplier, int32_t zero_point,
                                                 uint8_t* out, void* stream);
DOPT_API dopt_status dopt_cuda_requantize_i32_i8(const int32_t* acc, size_t n, double multiplier, int32_t zero_point,
                                                 int8_t* out, void* stream);

/* ---- Per channel: the tensor seen as [outer, channels, inner] ---------------------------------------------------- */

DOPT_API dopt_status dopt_cuda_channel_absmax(const float* w, size_t outer, size_t channels, size_t inner,
                                              float* absmax, void* stream);
DOPT_API dopt_status dopt_cuda_quantize_i8_channels(const float* w, size_t outer, size_t channels, size_t inner,
                                                    const float* scales, int8_t* out, void* stream);
DOPT_API dopt_status dopt_cuda_dequantize_i8_channels(const int8_t* q, size_t outer, size_t channels, size_t inner,
                                                      const float* scales, float* out, void* stream);
DOPT_API dopt_status dopt_cuda_fake_quantize_channels(const float* w, size_t outer, size_t channels, size_t inner,
                                                      const float* scales, const int32_t* zero_points, int32_t qmin,
                                                      int32_t qmax, float* out, void* stream);

/* ---- Sums -------------------------------------------------------------------------------------------------------- */

/* sums[4] = sum a^2, sum (a - b)^2, sum a b, sum b^2 in double, each within n * eps of the sum of magnitudes. */
DOPT_API dopt_status dopt_cuda_error_sums(const float* a, const float* b, size_t n, double* sums, void* stream);

/* ---- Integer arithmetic: exact ------------------------------------------------------------------------------------ */

DOPT_API dopt_status dopt_cuda_conv2d_u8s8_s32(const dopt_conv2d_shape* shape, const uint8_t* x, int32_t x_zero_point,
                                               const int8_t* w, const int32_t* bias, int32_t* out, void* stream);
DOPT_API dopt_status dopt_cuda_matmul_u8s8_s32(const uint8_t* x, int32_t x_zero_point, const int8_t* w,
                                               const int32_t* bias, size_t m, size_t k, size_t n, int32_t* out,
                                               void* stream);

/* ---- Layers on Gram matrices --------------------------------------------------------------------------------------
 *
 * x and y are of one type. f32: exact products, summed in double, within n * eps of the sum of magnitudes as on the CPU.
 * f16, bf16: the same where the tensor cores cannot be used (dopt_cuda_gram_matmul with inputs or outputs not a multiple
 * of 8, or addresses not of 16); else exact products summed by tensor cores in float over at most 16384 rows, those sums
 * in double: within 2^-9 of the sum of magnitudes at the very worst, and within 5e-5 of the largest element in the tests.
 * The column of the constant and `power` are summed in double always.
 */

/* dopt_gram_conv2d over shape->batch samples; sample b starts at `first` + b. */
DOPT_API dopt_status dopt_cuda_gram_conv2d(const dopt_conv2d_shape* shape, int32_t transposed, int64_t out_height,
                                           int64_t out_width, const void* x, const void* y, int32_t type,
                                           int64_t positions, int64_t first, double* gram, double* cross,
                                           double* power, void* stream);

/* As dopt_gram_matmul. y, cross and power may all be NULL: gram alone, what weights are rounded on without a target. */
DOPT_API dopt_status dopt_cuda_gram_matmul(const void* x, const void* y, int32_t type, int64_t rows, int64_t inputs,
                                           int64_t outputs, double* gram, double* cross, double* power, void* stream);

/* As in dopt.h, sums in an order of their own: integers differ where a value lies within about K * eps * condition of a
 * border. cross may be NULL with ridge < 0. Working memory: 8 bytes * groups * inputs * (inputs + 3
 * * outputs). */
DOPT_API dopt_status dopt_cuda_gram_reconstruct(const dopt_layer* layer, const double* gram, const double* cross,
                                                const float* weights, const float* scales, double ridge,
                                                double damping, int8_t* integers, void* stream);
DOPT_API dopt_status dopt_cuda_gram_bias(const dopt_layer* layer, const double* gram, const double* cross,
                                         const int8_t* integers, const float* scales, double* bias, void* stream);
DOPT_API dopt_status dopt_cuda_gram_error(const dopt_layer* layer, const double* gram, const double* cross,
                                          const double* power, const int8_t* integers, const float* scales,
                                          const double* bias, double* error, void* stream);

/* ---- Packing ------------------------------------------------------------------------------------------------------ */

/* As dopt_pack_int4; values outside -8..7 cannot be refused here: *outside (NULL: not asked) receives how many, and of
 * those the low four bits are packed. */
DOPT_API dopt_status dopt_cuda_pack_int4(const int8_t* x, size_t n, uint8_t* out, uint64_t* outside, void* stream);
DOPT_API dopt_status dopt_cuda_unpack_int4(const uint8_t* packed, size_t n, int8_t* out, void* stream);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* DOPT_CUDA_H_ */
