// Integer convolution and matrix product, exact: sums of (x - zero point) * w modulo 2^32.
//
// One kernel for both: tiles of 64 x 64 over a product whose left side is the rows of a matrix or the patches of a convolution,
// gathered on the way. Four products at a time with dp4a; the zero point is taken off afterwards as zero point * sum of w,
// which is the same modulo 2^32, and padding holds the zero point. It says what a device must compute, at the speed of dp4a and
// not of the tensor cores.
#include "conv_shape.h"
#include "device.h"

namespace dopt::cuda {
namespace {

constexpr int kTile = 64, kThreads = 256, kDepth = 32, kWords = kDepth / 4;

// acc + sum of four products of unsigned and signed bytes.
__device__ inline int32_t dot4(uint32_t unsigned_bytes, uint32_t signed_bytes, int32_t acc) {
  int32_t out;
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(out) : "r"(unsigned_bytes), "r"(signed_bytes), "r"(acc));
  return out;
}

// x[m, k] w[k, n].
struct Matmul {
  const uint8_t* x;
  const int8_t* w;
  const int32_t* bias;
  int32_t* out;
  int32_t zero_point;
  size_t m, k, n;

  struct Row {
    const uint8_t* at;
  };
  __device__ Row row(size_t i, int) const { return {x + i * k}; }
  __device__ uint8_t left(const Row& row, size_t d) const { return row.at[d]; }
  __device__ int8_t right(size_t d, size_t j, int) const { return w[d * n + j]; }
  __device__ void store(size_t i, size_t j, int, uint32_t sum) const {
    out[i * n + j] = static_cast<int32_t>(sum + static_cast<uint32_t>(bias == nullptr ? 0 : bias[j]));
  }
};

// A group of a convolution: m positions of the batch, k weights of a channel, n output channels.
struct Conv {
  dopt_conv2d_shape s;
  const uint8_t* x;
  const int8_t* w;
  const int32_t* bias;
  int32_t* out;
  int32_t zero_point;
  int64_t rows, columns;  // of the output
  size_t m, k, n;

  struct Row {
    const uint8_t* at;  // the group's channels of the sample
    int64_t top, left;
  };
  __device__ Row row(size_t i, int group) const {
    const int64_t area = rows * columns, sample = static_cast<int64_t>(i) / area, position = static_cast<int64_t>(i) % area;
    const int64_t channel = sample * s.in_channels + group * (s.in_channels / s.groups);
    return {x + channel * s.in_height * s.in_width, position / columns, position % columns};
  }
  __device__ uint8_t left(const Row& row, size_t d) const {
    const int64_t taps = s.kernel_height * s.kernel_width, tap = static_cast<int64_t>(d) % taps;
    const int64_t h = input_of(false, row.top, tap / s.kernel_width, s.stride_height, s.dilation_height, s.pad_top, s.in_height);
    const int64_t v = input_of(false, row.left, tap % s.kernel_width, s.stride_width, s.dilation_width, s.pad_left, s.in_width);
    if (h < 0 || v < 0) return static_cast<uint8_t>(zero_point);
    return row.at[(static_cast<int64_t>(d) / taps * s.in_height + h) * s.in_width + v];
  }
  __device__ int8_t right(size_t d, size_t j, int group) const { return w[(group * n + j) * k + d]; }
  __device__ void store(size_t i, size_t j, int group, uint32_t sum) const {
    const size_t area = static_cast<size_t>(rows * columns), channel = group * n + j;
    const size_t at = (i / area * static_cast<size_t>(s.out_channels) + channel) * area + i % area;
    out[at] = static_cast<int32_t>(sum + static_cast<uint32_t>(bias == nullptr ? 0 : bias[channel]));
  }
};

template <typename Product>
__global__ void __launch_bounds__(kThreads) multiply(const __grid_constant__ Product p) {
  // Bytes of depth side by side, so that a word is what dp4a takes; a word more a row, so that rows lie in other banks.
  __shared__ uint32_t x[kTile][kWords + 1], w[kTile][kWords + 1];
  const size_t i0 = size_t{blockIdx.x} * kTile, j0 = size_t{blockIdx.y} * kTile;
  const int group = blockIdx.z;
  const int line = threadIdx.x % kTile, word0 = threadIdx.x / kTile;  // a thread fills words word0 and word0 + 4 of a line
  const size_t i = i0 + line, j = j0 + line;
  const auto row = p.row(i < p.m ? i : 0, group);
  const int ti = threadIdx.x / 16, tj = threadIdx.x % 16;  // computes elements ti + 16 a, tj + 16 b
  int32_t sums[4][4] = {};
  int32_t weights[4] = {};
  for (size_t d0 = 0; d0 < p.k; d0 += kDepth) {
    for (int word = word0; word < kWords; word += kThreads / kTile) {
      uint32_t left = 0, right = 0;
      for (int b = 0; b < 4; ++b) {
        const size_t d = d0 + word * 4 + b;
        if (d >= p.k) break;
        if (i < p.m) left |= uint32_t{p.left(row, d)} << (8 * b);
        if (j < p.n) right |= uint32_t{static_cast<uint8_t>(p.right(d, j, group))} << (8 * b);
      }
      x[line][word] = left;
      w[line][word] = right;
    }
    __syncthreads();
#pragma unroll
    for (int word = 0; word < kWords; ++word) {
      uint32_t left[4], right[4];
#pragma unroll
      for (int a = 0; a < 4; ++a) {
        left[a] = x[ti + 16 * a][word];
        right[a] = w[tj + 16 * a][word];
        weights[a] = dot4(0x01010101u, right[a], weights[a]);
      }
#pragma unroll
      for (int a = 0; a < 4; ++a) {
#pragma unroll
        for (int b = 0; b < 4; ++b) sums[a][b] = dot4(left[a], right[b], sums[a][b]);
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int a = 0; a < 4; ++a) {
#pragma unroll
    for (int b = 0; b < 4; ++b) {
      const size_t to_i = i0 + ti + 16 * a, to_j = j0 + tj + 16 * b;
      if (to_i >= p.m || to_j >= p.n) continue;
      p.store(to_i, to_j, group,
              static_cast<uint32_t>(sums[a][b]) - static_cast<uint32_t>(p.zero_point) * static_cast<uint32_t>(weights[b]));
    }
  }
}

template <typename Product>
void start(const Product& p, unsigned groups, void* stream) {
  const dim3 grid(blocks_for(p.m, kTile), blocks_for(p.n, kTile), groups);
  multiply<<<grid, kThreads, 0, stream_of(stream)>>>(p);
}

dopt_status check_zero_point(int32_t zero_point) noexcept {
  DOPT_REQUIRE(zero_point >= 0 && zero_point <= 255, "zero point %d is outside 0..255", zero_point);
  return DOPT_OK;
}

constexpr size_t kMostTiles = 65535;  // of the second and third dimension of a launch

}  // namespace
}  // namespace dopt::cuda

using namespace dopt::cuda;

extern "C" {

dopt_status dopt_cuda_conv2d_u8s8_s32(const dopt_conv2d_shape* shape, const uint8_t* x, int32_t x_zero_point,
                                      const int8_t* w, const int32_t* bias, int32_t* out, void* stream) {
  if (const dopt_status bad = dopt::check_conv(shape)) return bad;
  DOPT_REQUIRE(x != nullptr && w != nullptr && out != nullptr, "x, w or out is NULL");
  if (const dopt_status bad = check_zero_point(x_zero_point)) return bad;
  const dopt_conv2d_shape& s = *shape;
  const int64_t rows =
      dopt::output_size(s.in_height, s.pad_top, s.pad_bottom, s.kernel_height, s.stride_height, s.dilation_height);
  const int64_t columns =
      dopt::output_size(s.in_width, s.pad_left, s.pad_right, s.kernel_width, s.stride_width, s.dilation_width);
  DOPT_REQUIRE(rows > 0 && columns > 0, "the kernel does not fit into the padded input");
  const size_t m = static_cast<size_t>(s.batch * rows * columns), n = static_cast<size_t>(s.out_channels / s.groups);
  const size_t k = static_cast<size_t>(s.in_channels / s.groups * s.kernel_height * s.kernel_width);
  DOPT_REQUIRE(m / kTile < INT32_MAX && n / kTile < kMostTiles && s.groups <= static_cast<int64_t>(kMostTiles),
               "%zu positions, %zu channels, %lld groups are too many", m, n, static_cast<long long>(s.groups));
  return enqueue({x, w, bias, out}, [&] {
    start(Conv{s, x, w, bias, out, x_zero_point, rows, columns, m, k, n}, static_cast<unsigned>(s.groups), stream);
  });
}

dopt_status dopt_cuda_matmul_u8s8_s32(const uint8_t* x, int32_t x_zero_point, const int8_t* w, const int32_t* bias,
                                      size_t m, size_t k, size_t n, int32_t* out, void* stream) {
  if (const dopt_status bad = check_zero_point(x_zero_point)) return bad;
  if (m == 0 || n == 0) return DOPT_OK;
  DOPT_REQUIRE(out != nullptr && (k == 0 || (x != nullptr && w != nullptr)), "x, w or out is NULL");
  DOPT_REQUIRE(m / kTile < INT32_MAX && n / kTile < kMostTiles, "%zu x %zu results are too many", m, n);
  return enqueue({x, w, bias, out}, [&] { start(Matmul{x, w, bias, out, x_zero_point, m, k, n}, 1, stream); });
}

}  // extern "C"
