// Quantize, dequantize and their kin: one pass, four values a thread and step, limited by memory.
//
// Four values, since one side is always 32 bits wide: 16-byte accesses there, 4- or 8-byte ones on the other side, all of
// a warp adjacent. Each thread has kSteps of them in flight. Compiled with -fmad=false, like all that must give the CPU's
// bits; divisions are IEEE's.
#include <cmath>
#include <limits>

#include "device.h"

namespace dopt::cuda {
namespace {

constexpr int kThreads = 256, kSteps = 4, kWidth = 4;
constexpr size_t kBlock = size_t{kThreads} * kSteps * kWidth;

template <typename T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T v[kCount];
};

// out[i] = op.at(first of an access)(in[i], i - first). kCount values an access; in and out are aligned to that.
template <int kCount, typename In, typename Out, typename Op>
__global__ void __launch_bounds__(kThreads) map(const In* in, size_t n, Out* out, const Op op) {
  using From = Pack<In, kCount>;
  using To = Pack<Out, kCount>;
  const size_t packs = n / kCount;
  const size_t first = size_t{blockIdx.x} * (kBlock / kCount) + threadIdx.x;
  constexpr int kRounds = kSteps * kWidth / kCount;
  From from[kRounds];
#pragma unroll
  for (int s = 0; s < kRounds; ++s) {
    const size_t p = first + static_cast<size_t>(s) * kThreads;
    if (p < packs) from[s] = reinterpret_cast<const From*>(in)[p];
  }
#pragma unroll
  for (int s = 0; s < kRounds; ++s) {
    const size_t p = first + static_cast<size_t>(s) * kThreads;
    if (p >= packs) continue;
    const auto here = op.at(p * kCount);
    To to;
#pragma unroll
    for (int v = 0; v < kCount; ++v) to.v[v] = here(from[s].v[v], v);
    reinterpret_cast<To*>(out)[p] = to;
  }
  if (blockIdx.x == 0 && threadIdx.x < n % kCount) {
    const size_t i = packs * kCount + threadIdx.x;
    out[i] = op.at(i)(in[i], 0);
  }
}

template <typename T>
bool aligned(const T* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % (sizeof(T) * kWidth) == 0;
}

template <typename In, typename Out, typename Op>
void start(const In* in, size_t n, Out* out, const Op& op, void* stream) {
  if (aligned(in) && aligned(out)) {
    map<kWidth><<<blocks_for(n, kBlock), kThreads, 0, stream_of(stream)>>>(in, n, out, op);
  } else {
    map<1><<<blocks_for(n, kBlock), kThreads, 0, stream_of(stream)>>>(in, n, out, op);
  }
}

// round_half_even(x / scale) kept in [low, high], integers as floats, never -0; NaN gives 0. As kernels.inc.
__device__ float grid(float x, float scale, float low, float high) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23
  float v = x / scale;
  v = v == v ? v : 0.0f;
  v = v > low ? v : low;
  v = v < high ? v : high;
  return (v + kRound) - kRound;
}

// The same for every element.
template <typename Op>
struct Everywhere {
  Op op;
  __device__ const Op& at(size_t) const { return op; }
};

template <typename Out>
struct Quantize {
  float scale, low, high;
  int32_t zero_point;
  __device__ Out operator()(float x, int) const {
    return static_cast<Out>(static_cast<int32_t>(grid(x, scale, low, high)) + zero_point);
  }
};

struct FakeQuantize {
  float scale, low, high;
  __device__ float operator()(float x, int) const { return grid(x, scale, low, high) * scale; }
};

// Wide: the difference in 64 bits, for 32-bit integers.
template <typename In, typename Wide>
struct Dequantize {
  float scale;
  int32_t zero_point;
  __device__ float operator()(In q, int) const {
    return static_cast<float>(static_cast<Wide>(q) - zero_point) * scale;
  }
};

template <typename Out>
struct Requantize {
  double multiplier, low, high;
  int32_t zero_point;
  __device__ Out operator()(int32_t acc, int) const {
    double v = static_cast<double>(acc) * multiplier;
    v = v > low ? v : low;
    v = v < high ? v : high;
    return static_cast<Out>(__double2int_rn(v) + zero_point);
  }
};

// The channels of [outer, channels, inner] that adjacent elements from one on belong to, found with 32-bit division where the
// tensor allows, and once for those of a row.
struct Channels {
  size_t channels, inner;
  bool narrow;

  struct Here {
    const Channels* all;
    size_t first, channel, left;  // left: elements of the channel from `first` on
    __device__ size_t of(int v) const { return static_cast<size_t>(v) < left ? channel : all->find(first + v).channel; }
  };
  __device__ Here find(size_t i) const {
    if (narrow) {
      const uint32_t row = static_cast<uint32_t>(i) / static_cast<uint32_t>(inner);
      return {this, i, row % static_cast<uint32_t>(channels), (size_t{row} + 1) * inner - i};
    }
    const size_t row = i / inner;
    return {this, i, row % channels, (row + 1) * inner - i};
  }
};

struct QuantizeChannels {
  Channels channels;
  const float* scales;
  struct Here {
    Channels::Here here;
    const float* scales;
    __device__ int8_t operator()(float x, int v) const {
      return static_cast<int8_t>(static_cast<int32_t>(grid(x, scales[here.of(v)], -127.0f, 127.0f)));
    }
  };
  __device__ Here at(size_t i) const { return {channels.find(i), scales}; }
};

struct DequantizeChannels {
  Channels channels;
  const float* scales;
  struct Here {
    Channels::Here here;
    const float* scales;
    __device__ float operator()(int8_t q, int v) const { return static_cast<float>(int32_t{q}) * scales[here.of(v)]; }
  };
  __device__ Here at(size_t i) const { return {channels.find(i), scales}; }
};

struct FakeQuantizeChannels {
  Channels channels;
  const float* scales;
  const int32_t* zero_points;
  int32_t qmin, qmax;
  struct Here {
    Channels::Here here;
    const FakeQuantizeChannels* op;
    __device__ float operator()(float x, int v) const {
      const size_t c = here.of(v);
      const int32_t zero_point = op->zero_points == nullptr ? 0 : op->zero_points[c];
      const float low = static_cast<float>(op->qmin - zero_point), high = static_cast<float>(op->qmax - zero_point);
      return grid(x, op->scales[c], low, high) * op->scales[c];
    }
  };
  __device__ Here at(size_t i) const { return {channels.find(i), this}; }
};

dopt_status check_arrays(const void* in, const void* out, size_t n) noexcept {
  DOPT_REQUIRE((in != nullptr && out != nullptr) || n == 0, "input or output is NULL with %zu values", n);
  DOPT_REQUIRE(n <= size_t{1} << 40, "%zu values are too many", n);
  return DOPT_OK;
}

dopt_status check_zero_point(int32_t zero_point, int32_t qmin, int32_t qmax) noexcept {
  DOPT_REQUIRE(zero_point >= qmin && zero_point <= qmax, "zero point %d is outside %d..%d", zero_point, qmin, qmax);
  return DOPT_OK;
}

template <typename In, typename Out, typename Op>
dopt_status run(const In* in, size_t n, Out* out, const Op& op, void* stream) noexcept {
  if (const dopt_status bad = check_arrays(in, out, n)) return bad;
  if (n == 0) return DOPT_OK;
  return enqueue({in, out}, [&] { start(in, n, out, op, stream); });
}

template <typename In, typename Out, typename Op>
dopt_status run_scaled(const In* in, size_t n, float scale, int32_t zero_point, int32_t qmin, int32_t qmax, Out* out,
                       const Op& op, void* stream) noexcept {
  DOPT_REQUIRE(std::isfinite(scale) && scale > 0.0f, "scale is %g, expected finite and above 0",
               static_cast<double>(scale));
  if (const dopt_status bad = check_zero_point(zero_point, qmin, qmax)) return bad;
  return run(in, n, out, Everywhere<Op>{op}, stream);
}

template <typename Out>
dopt_status quantize(const float* x, size_t n, float scale, int32_t zero_point, Out* out, void* stream) noexcept {
  constexpr int32_t kMin = std::numeric_limits<Out>::min(), kMax = std::numeric_limits<Out>::max();
  const Quantize<Out> op{scale, static_cast<float>(int64_t{kMin} - zero_point),
                         static_cast<float>(int64_t{kMax} - zero_point), zero_point};
  return run_scaled(x, n, scale, zero_point, kMin, kMax, out, op, stream);
}

template <typename Wide = int32_t, typename In>
dopt_status dequantize(const In* q, size_t n, float scale, int32_t zero_point, float* out, void* stream) noexcept {
  constexpr int32_t kMin = std::numeric_limits<In>::min(), kMax = std::numeric_limits<In>::max();
  return run_scaled(q, n, scale, zero_point, kMin, kMax, out, Dequantize<In, Wide>{scale, zero_point}, stream);
}

template <typename Out>
dopt_status requantize(const int32_t* acc, size_t n, double multiplier, int32_t zero_point, Out* out,
                       void* stream) noexcept {
  constexpr int32_t kMin = std::numeric_limits<Out>::min(), kMax = std::numeric_limits<Out>::max();
  DOPT_REQUIRE(std::isfinite(multiplier), "multiplier is not finite");
  if (const dopt_status bad = check_zero_point(zero_point, kMin, kMax)) return bad;
  const Requantize<Out> op{multiplier, static_cast<double>(kMin - zero_point), static_cast<double>(kMax - zero_point),
                           zero_point};
  return run(acc, n, out, Everywhere<Requantize<Out>>{op}, stream);
}

dopt_status check_range(int32_t qmin, int32_t qmax) noexcept {
  DOPT_REQUIRE(qmin >= -65535 && qmax <= 65535 && qmin < qmax, "%d..%d is not a range within -65535..65535", qmin,
               qmax);
  return DOPT_OK;
}

// n = outer * channels * inner, or the failure.
dopt_status check_view(size_t outer, size_t channels, size_t inner, const void* scales, size_t* n) noexcept {
  size_t rows = 0;
  DOPT_REQUIRE(!__builtin_mul_overflow(outer, channels, &rows) && !__builtin_mul_overflow(rows, inner, n),
               "%zu x %zu x %zu values are too many", outer, channels, inner);
  DOPT_REQUIRE(scales != nullptr || channels == 0, "an array of %zu channels is NULL", channels);
  return DOPT_OK;
}

Channels channels_of(size_t channels, size_t inner, size_t n) { return {channels, inner, n <= UINT32_MAX}; }

// ---- Packing: sixteen values a thread, 16 bytes on one side, 8 on the other.

constexpr int kNibbles = 16;

struct alignas(16) Nibbles {
  int8_t v[kNibbles];
};

template <bool kFast>
__global__ void __launch_bounds__(kThreads) pack(const int8_t* x, size_t n, uint8_t* out, unsigned long long* outside) {
  const size_t i = (size_t{blockIdx.x} * kThreads + threadIdx.x) * kNibbles;
  int bad = 0;
  if (i < n) {
    Nibbles from{};
    if (kFast && i + kNibbles <= n) {
      from = *reinterpret_cast<const Nibbles*>(x + i);
    } else {
      for (int v = 0; v < kNibbles && i + v < n; ++v) from.v[v] = x[i + v];
    }
    uint64_t to = 0;
#pragma unroll
    for (int v = 0; v < kNibbles; ++v) {
      bad += from.v[v] < -8 || from.v[v] > 7;
      to |= (static_cast<uint64_t>(from.v[v]) & 15u) << (4 * v);
    }
    if (kFast && i + kNibbles <= n) {
      *reinterpret_cast<uint64_t*>(out + i / 2) = to;
    } else {
      for (int b = 0; b < kNibbles / 2 && i + 2 * b < n; ++b) out[i / 2 + b] = static_cast<uint8_t>(to >> (8 * b));
    }
  }
  if (outside == nullptr) return;
  bad = __reduce_add_sync(0xffffffffu, bad);
  if (threadIdx.x % 32 == 0 && bad != 0) atomicAdd(outside, static_cast<unsigned long long>(bad));
}

template <bool kFast>
__global__ void __launch_bounds__(kThreads) unpack(const uint8_t* packed, size_t n, int8_t* out) {
  const size_t i = (size_t{blockIdx.x} * kThreads + threadIdx.x) * kNibbles;
  if (i >= n) return;
  uint64_t from = 0;
  if (kFast && i + kNibbles <= n) {
    from = *reinterpret_cast<const uint64_t*>(packed + i / 2);
  } else {
    for (int b = 0; b < kNibbles / 2 && i + 2 * b < n; ++b) from |= static_cast<uint64_t>(packed[i / 2 + b]) << (8 * b);
  }
  Nibbles to;
#pragma unroll
  for (int v = 0; v < kNibbles; ++v) to.v[v] = static_cast<int8_t>(static_cast<int64_t>(from << (60 - 4 * v)) >> 60);
  if (kFast && i + kNibbles <= n) {
    *reinterpret_cast<Nibbles*>(out + i) = to;
  } else {
    for (int v = 0; v < kNibbles && i + v < n; ++v) out[i + v] = to.v[v];
  }
}

bool fast(const void* values, const void* packed) {
  return reinterpret_cast<uintptr_t>(values) % 16 == 0 && reinterpret_cast<uintptr_t>(packed) % 8 == 0;
}

}  // namespace
}  // namespace dopt::cuda

using namespace dopt::cuda;

extern "C" {

dopt_status dopt_cuda_quantize_u8(const float* x, size_t n, float scale, int32_t zero_point, uint8_t* out,
                                  void* stream) {
  return quantize(x, n, scale, zero_point, out, stream);
}
dopt_status dopt_cuda_quantize_i8(const float* x, size_t n, float scale, int32_t zero_point, int8_t* out,
                                  void* stream) {
  return quantize(x, n, scale, zero_point, out, stream);
}
dopt_status dopt_cuda_quantize_u16(const float* x, size_t n, float scale, int32_t zero_point, uint16_t* out,
                                   void* stream) {
  return quantize(x, n, scale, zero_point, out, stream);
}
dopt_status dopt_cuda_quantize_i16(const float* x, size_t n, float scale, int32_t zero_point, int16_t* out,
                                   void* stream) {
  return quantize(x, n, scale, zero_point, out, stream);
}

dopt_status dopt_cuda_dequantize_u8(const uint8_t* q, size_t n, float scale, int32_t zero_point, float* out,
                                    void* stream) {
  return dequantize(q, n, scale, zero_point, out, stream);
}
dopt_status dopt_cuda_dequantize_i8(const int8_t* q, size_t n, float scale, int32_t zero_point, float* out,
                                    void* stream) {
  return dequantize(q, n, scale, zero_point, out, stream);
}
dopt_status dopt_cuda_dequantize_u16(const uint16_t* q, size_t n, float scale, int32_t zero_point, float* out,
                                     void* stream) {
  return dequantize(q, n, scale, zero_point, out, stream);
}
dopt_status dopt_cuda_dequantize_i16(const int16_t* q, size_t n, float scale, int32_t zero_point, float* out,
                                     void* stream) {
  return dequantize(q, n, scale, zero_point, out, stream);
}
dopt_status dopt_cuda_dequantize_i32(const int32_t* q, size_t n, float scale, int32_t zero_point, float* out,
                                     void* stream) {
  return dequantize<int64_t>(q, n, scale, zero_point, out, stream);
}

dopt_status dopt_cuda_fake_quantize(const float* x, size_t n, float scale, int32_t zero_point, int32_t qmin,
                                    int32_t qmax, float* out, void* stream) {
  if (const dopt_status bad = check_range(qmin, qmax)) return bad;
  const FakeQuantize op{scale, static_cast<float>(qmin - zero_point), static_cast<float>(qmax - zero_point)};
  return run_scaled(x, n, scale, zero_point, qmin, qmax, out, op, stream);
}

dopt_status dopt_cuda_requantize_i32_u8(const int32_t* acc, size_t n, double multiplier, int32_t zero_point,
                                        uint8_t* out, void* stream) {
  return requantize(acc, n, multiplier, zero_point, out, stream);
}
dopt_status dopt_cuda_requantize_i32_i8(const int32_t* acc, size_t n, double multiplier, int32_t zero_point,
                                        int8_t* out, void* stream) {
  return requantize(acc, n, multiplier, zero_point, out, stream);
}

dopt_status dopt_cuda_quantize_i8_channels(const float* w, size_t outer, size_t channels, size_t inner,
                                           const float* scales, int8_t* out, void* stream) {
  size_t n = 0;
  if (const dopt_status bad = check_view(outer, channels, inner, scales, &n)) return bad;
  return run(w, n, out, QuantizeChannels{channels_of(channels, inner, n), scales}, stream);
}

dopt_status dopt_cuda_dequantize_i8_channels(const int8_t* q, size_t outer, size_t channels, size_t inner,
                                             const float* scales, float* out, void* stream) {
  size_t n = 0;
  if (const dopt_status bad = check_view(outer, channels, inner, scales, &n)) return bad;
  return run(q, n, out, DequantizeChannels{channels_of(channels, inner, n), scales}, stream);
}

dopt_status dopt_cuda_fake_quantize_channels(const float* w, size_t outer, size_t channels, size_t inner,
                                             const float* scales, const int32_t* zero_points, int32_t qmin,
                                             int32_t qmax, float* out, void* stream) {
  size_t n = 0;
  if (const dopt_status bad = check_view(outer, channels, inner, scales, &n)) return bad;
  if (const dopt_status bad = check_range(qmin, qmax)) return bad;
  const FakeQuantizeChannels op{channels_of(channels, inner, n), scales, zero_points, qmin, qmax};
  return run(w, n, out, op, stream);
}

dopt_status dopt_cuda_pack_int4(const int8_t* x, size_t n, uint8_t* out, uint64_t* outside, void* stream) {
  if (const dopt_status bad = check_arrays(x, out, n)) return bad;
  if (n == 0 && outside == nullptr) return DOPT_OK;
  return enqueue({x, out, outside}, [&] {
    auto* const bad = reinterpret_cast<unsigned long long*>(outside);
    if (bad != nullptr) check(cudaMemsetAsync(bad, 0, sizeof *bad, stream_of(stream)), "clearing a count");
    if (n == 0) return;
    const auto kernel = fast(x, out) ? pack<true> : pack<false>;
    kernel<<<blocks_for(n, size_t{kThreads} * kNibbles), kThreads, 0, stream_of(stream)>>>(x, n, out, bad);
  });
}

dopt_status dopt_cuda_unpack_int4(const uint8_t* packed, size_t n, int8_t* out, void* stream) {
  if (const dopt_status bad = check_arrays(packed, out, n)) return bad;
  if (n == 0) return DOPT_OK;
  return enqueue({packed, out}, [&] {
    const auto kernel = fast(out, packed) ? unpack<true> : unpack<false>;
    kernel<<<blocks_for(n, size_t{kThreads} * kNibbles), kThreads, 0, stream_of(stream)>>>(packed, n, out);
  });
}

}  // extern "C"
