// Sums over the positions of a layer, in double: rows of a matrix, or patches of a convolution gathered on the way.
#include "gram.h"

#include "conv_shape.h"
#include "product.h"
#include "values.h"

namespace dopt::cuda {
namespace {

// Elements of one of the types, known at run time: a branch that a whole launch takes alike costs less than a kernel a type.
struct Elements {
  const void* at;
  int32_t type;
  __device__ float operator[](size_t i) const {
    if (type == DOPT_F32) return static_cast<const float*>(at)[i];
    if (type == DOPT_F16) return to_float(static_cast<const __half*>(at)[i]);
    return to_float(static_cast<const __nv_bfloat16*>(at)[i]);
  }
};

// x[rows, inputs] with a constant 1 behind each row.
struct Rows {
  Elements x;
  size_t inputs;

  using Column = size_t;
  using Row = size_t;  // offset
  __host__ __device__ Rows of_group(size_t) const { return *this; }
  __device__ Column column(size_t i) const { return i; }
  __device__ Row row(size_t d) const { return d * inputs; }
  __device__ double value(Row row, Column i) const { return i == inputs ? 1.0 : static_cast<double>(x[row + i]); }
};

// Which positions of a batch are used: depth d is position (first + d / ...) of a sample.
struct Positions {
  int64_t step, first, width, area, per_sample;  // per_sample: the same for each; surplus ones of a sample are skipped

  struct Place {
    int64_t sample, position;  // position -1: none
  };
  __device__ Place of(size_t d) const {
    const int64_t sample = static_cast<int64_t>(d) / per_sample, nth = static_cast<int64_t>(d) % per_sample;
    const int64_t position = (first + sample) % step + nth * step;
    return {sample, position < area ? position : -1};
  }
};

// Patches of a group of a convolution's input, a constant 1 behind them; 0 outside the input.
struct Patches {
  Elements x;
  dopt_conv2d_shape s;
  Positions positions;
  bool transposed;
  int64_t group = 0;

  // An element is at row.top + column.down and row.left + column.right, divided by the stride where transposed: what costs
  // multiplications is done once a row and once a column.
  struct Column {
    int64_t channel;  // offset, -1: the constant
    int32_t down, right;
  };
  struct Row {
    int64_t sample;  // offset, -1: no position
    int32_t top, left;
  };
  __host__ __device__ Patches of_group(size_t g) const {
    Patches p = *this;
    p.group = group + static_cast<int64_t>(g);
    return p;
  }
  __device__ Column column(size_t i) const {
    const int64_t taps = s.kernel_height * s.kernel_width, per_group = s.in_channels / s.groups;
    const int64_t channel = static_cast<int64_t>(i) / taps, tap = static_cast<int64_t>(i) % taps;
    if (channel >= per_group) return {-1, 0, 0};
    const int64_t down = tap / s.kernel_width * s.dilation_height, right = tap % s.kernel_width * s.dilation_width;
    const int sign = transposed ? -1 : 1;
    return {(group * per_group + channel) * s.in_height * s.in_width, static_cast<int32_t>(sign * down),
            static_cast<int32_t>(sign * right)};
  }
  __device__ Row row(size_t d) const {
    const auto place = positions.of(d);
    if (place.position < 0) return {-1, 0, 0};
    const int64_t h = place.position / positions.width, v = place.position % positions.width;
    const int64_t top = transposed ? h + s.pad_top : h * s.stride_height - s.pad_top;
    const int64_t left = transposed ? v + s.pad_left : v * s.stride_width - s.pad_left;
    // Beyond 2^30 nothing of the input is reached: sizes, pads and kernels are far below.
    constexpr int64_t kFar = int64_t{1} << 30;
    return {place.sample * s.in_channels * s.in_height * s.in_width, static_cast<int32_t>(min(top, kFar)),
            static_cast<int32_t>(min(left, kFar))};
  }
  __device__ double value(const Row& row, const Column& c) const {
    if (row.sample < 0) return 0.0;
    if (c.channel < 0) return 1.0;
    int32_t h = row.top + c.down, v = row.left + c.right;
    if (transposed) {
      const int32_t stride_h = static_cast<int32_t>(s.stride_height), stride_v = static_cast<int32_t>(s.stride_width);
      if (h < 0 || v < 0 || h % stride_h != 0 || v % stride_v != 0) return 0.0;
      h /= stride_h;
      v /= stride_v;
    }
    const uint32_t height = static_cast<uint32_t>(s.in_height), width = static_cast<uint32_t>(s.in_width);
    if (static_cast<uint32_t>(h) >= height || static_cast<uint32_t>(v) >= width) return 0.0;
    return x[row.sample + c.channel + static_cast<uint64_t>(static_cast<uint32_t>(h)) * width + static_cast<uint32_t>(v)];
  }
};

// Outputs of a group of a convolution at the same positions.
struct Outputs {
  Elements y;
  int64_t channels, per_group;
  Positions positions;
  int64_t group = 0;

  using Column = int64_t;
  using Row = int64_t;  // offset, -1: no position
  __host__ __device__ Outputs of_group(size_t g) const {
    Outputs o = *this;
    o.group = group + static_cast<int64_t>(g);
    return o;
  }
  __device__ Column column(size_t i) const { return (group * per_group + static_cast<int64_t>(i)) * positions.area; }
  __device__ Row row(size_t d) const {
    const auto place = positions.of(d);
    return place.position < 0 ? -1 : place.sample * channels * positions.area + place.position;
  }
  __device__ double value(Row row, Column i) const { return row < 0 ? 0.0 : static_cast<double>(y[row + i]); }
};

__global__ void add_parts(const double* parts, size_t m, size_t n, size_t slice_stride, int slices, bool mirror, double* c,
                          size_t stride, size_t group_stride) {
  const size_t e = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (e >= m * n) return;
  const size_t i = e / n, j = e % n;
  if (mirror && j > i) return;
  parts += blockIdx.y * m * n;
  c += blockIdx.y * group_stride;
  double sum = 0.0;
  for (int s = 0; s < slices; ++s) sum += parts[s * slice_stride + e];
  c[i * stride + j] += sum;
  if (mirror && j != i) c[j * stride + i] += sum;
}

// c[groups, m, n] += a^T b over `depth`, the depth cut into slices where the tiles alone would leave the device idle. The cut
// depends on the sizes and the number of multiprocessors alone.
template <typename Left, typename Right>
void add_sums(const Left& a, const Right& b, size_t depth, size_t m, size_t n, size_t groups, Part part, double* c,
              cudaStream_t stream) {
  if (depth == 0) return;
  const size_t tiles = blocks_for(m, kProductTile) * size_t{blocks_for(n, kProductTile)} * groups;
  const size_t wanted = (limits().multiprocessors * 4 + tiles - 1) / tiles;
  constexpr size_t kLeast = 256;  // positions of a slice that are worth a block
  const int slices = static_cast<int>(std::max<size_t>(1, std::min({wanted, depth / kLeast, size_t{256}})));
  const Scratch<double> parts(slices * groups * m * n, stream);
  const size_t slice_stride = groups * m * n;
  add_product(a, b, depth, m, n, Target{parts.get(), n, m * n, slice_stride, 1.0, true}, groups, part, stream, slices);
  add_slices(parts.get(), m, n, groups, slices, part == Part::kLower, c, n, stream);
}

// ---- Sums of columns: power, and what the constant takes part in where the tensor cores do the rest

constexpr int kSumThreads = 256;

// parts[group, slice, columns] = sum over the slice's rows of v or v^2; a block 32 columns wide.
template <typename Operand, bool kSquares>
__global__ void __launch_bounds__(kSumThreads) sum_columns(const Operand of_all, size_t depth, size_t columns, double* parts) {
  constexpr int kDown = kSumThreads / 32;
  __shared__ double sums[kDown][32];
  const Operand operand = of_all.of_group(blockIdx.z);
  const size_t i = size_t{blockIdx.x} * 32 + threadIdx.x % 32;
  double sum = 0.0;
  if (i < columns) {
    const auto column = operand.column(i);
    for (size_t d = size_t{blockIdx.y} * kDown + threadIdx.x / 32; d < depth; d += size_t{gridDim.y} * kDown) {
      const double v = operand.value(operand.row(d), column);
      sum = kSquares ? fma(v, v, sum) : sum + v;
    }
  }
  sums[threadIdx.x / 32][threadIdx.x % 32] = sum;
  __syncthreads();
  if (threadIdx.x >= 32 || i >= columns) return;
  for (int r = 1; r < kDown; ++r) sum += sums[r][threadIdx.x];
  parts[(size_t{blockIdx.z} * gridDim.y + blockIdx.y) * columns + i] = sum;
}

// to[group * columns + i] += the sum of all slices, in their order, `stride` apart; also_to[i] too unless NULL.
__global__ void add_columns(const double* parts, size_t columns, int slices, double* to, size_t stride, double* also_to) {
  const size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x, group = blockIdx.y;
  if (i >= columns) return;
  double sum = 0.0;
  for (int s = 0; s < slices; ++s) sum += parts[(group * slices + s) * columns + i];
  to[(group * columns + i) * stride] += sum;
  if (also_to != nullptr) also_to[i] += sum;
}

template <bool kSquares, typename Operand>
void add_column_sums(const Operand& operand, size_t depth, size_t columns, size_t groups, double* to, size_t stride,
                     double* also_to, cudaStream_t stream) {
  const unsigned across = blocks_for(columns, 32);
  const size_t wanted = std::max<size_t>(1, limits().multiprocessors * 8 / (across * groups));
  const int slices = static_cast<int>(std::min({wanted, (depth + 63) / 64, size_t{1024}}));
  constexpr size_t kMost = 65535;  // groups of a launch
  const Scratch<double> parts(slices * columns * std::min(groups, kMost), stream);
  for (size_t g = 0; g < groups; g += kMost) {
    const unsigned count = static_cast<unsigned>(std::min(kMost, groups - g));
    sum_columns<Operand, kSquares>
        <<<dim3(across, slices, count), kSumThreads, 0, stream>>>(operand.of_group(g), depth, columns, parts.get());
    add_columns<<<dim3(blocks_for(columns, 256), count), 256, 0, stream>>>(parts.get(), columns, slices,
                                                                          to + g * columns * stride, stride, also_to);
  }
}

// The same for 16-bit rows that the tensor cores take: eight columns a thread, so that the pass costs one read at full speed.
template <typename T, bool kSquares>
__global__ void __launch_bounds__(kSumThreads) sum_vectors(const T* x, size_t rows, size_t columns, double* parts) {
  constexpr int kDown = kSumThreads / 32, kEach = Vector<T>::kCount;
  __shared__ double sums[kDown][32 * kEach];
  const size_t first = size_t{blockIdx.x} * 32 * kEach, i = first + threadIdx.x % 32 * kEach;
  double sum[kEach] = {};
  if (i < columns) {
#pragma unroll 4
    for (size_t d = size_t{blockIdx.y} * kDown + threadIdx.x / 32; d < rows; d += size_t{gridDim.y} * kDown) {
      const Vector<T> loaded = *reinterpret_cast<const Vector<T>*>(x + d * columns + i);
#pragma unroll
      for (int v = 0; v < kEach; ++v) {
        const double value = to_float(loaded.v[v]);
        sum[v] = kSquares ? fma(value, value, sum[v]) : sum[v] + value;
      }
    }
  }
#pragma unroll
  for (int v = 0; v < kEach; ++v) sums[threadIdx.x / 32][threadIdx.x % 32 * kEach + v] = sum[v];
  __syncthreads();
  const size_t column = first + threadIdx.x;
  if (column >= columns) return;
  double total = 0.0;
  for (int r = 0; r < kDown; ++r) total += sums[r][threadIdx.x];
  parts[blockIdx.y * columns + column] = total;
}

template <bool kSquares>
void add_vector_sums(const Elements& x, size_t rows, size_t columns, double* to, size_t stride, double* also_to,
                     cudaStream_t stream) {
  const unsigned across = blocks_for(columns, 256);
  const size_t wanted = std::max<size_t>(1, limits().multiprocessors * 8 / across);
  const int slices = static_cast<int>(std::min({wanted, (rows + 63) / 64, size_t{1024}}));
  const Scratch<double> parts(slices * columns, stream);
  const dim3 grid(across, slices);
  if (x.type == DOPT_F16) {
    const auto* const values = static_cast<const __half*>(x.at);
    sum_vectors<__half, kSquares><<<grid, kSumThreads, 0, stream>>>(values, rows, columns, parts.get());
  } else {
    const auto* const values = static_cast<const __nv_bfloat16*>(x.at);
    sum_vectors<__nv_bfloat16, kSquares><<<grid, kSumThreads, 0, stream>>>(values, rows, columns, parts.get());
  }
  add_columns<<<blocks_for(columns, 256), 256, 0, stream>>>(parts.get(), columns, slices, to, stride, also_to);
}

// The constant's own sum.
__global__ void add_count(double* corner, double rows) { *corner += rows; }

void add_matmul(const Samples& s, double* gram, double* cross, double* power, cudaStream_t stream) {
  const size_t rows = s.rows, k = s.inputs, k1 = k + 1, n = s.outputs;
  const Rows x{{s.x, s.type}, k}, y{{s.y, s.type}, n};
  const bool targets = s.y != nullptr;
  if (fits_tensor_cores(s)) {
    if (limits().capability == 90) {
      add_on_hopper(s, gram, cross, stream);
    } else {
      add_on_tensor_cores(s, gram, cross, stream);
    }
    add_vector_sums<false>(x.x, rows, k, gram + k, k1, gram + k * k1, stream);
    add_count<<<1, 1, 0, stream>>>(gram + k * k1 + k, static_cast<double>(rows));
    if (targets) add_vector_sums<false>(y.x, rows, n, cross + k, k1, nullptr, stream);
  } else {
    add_sums(x, x, rows, k1, k1, 1, Part::kLower, gram, stream);
    if (targets) add_sums(y, x, rows, n, k1, 1, Part::kAll, cross, stream);
  }
  if (targets) add_column_sums<true>(y, rows, n, 1, power, 1, nullptr, stream);
}

void add_conv(const dopt_conv2d_shape& s, bool transposed, int64_t out_height, int64_t out_width, const Elements& x,
              const Elements& y, int64_t wanted, int64_t first, double* gram, double* cross, double* power,
              cudaStream_t stream) {
  const int64_t area = out_height * out_width, step = spread_step(area, wanted, out_width);
  const Positions positions{step, first, out_width, area, (area + step - 1) / step};
  const size_t depth = static_cast<size_t>(s.batch * positions.per_sample), groups = static_cast<size_t>(s.groups);
  const size_t k1 = static_cast<size_t>(s.in_channels / s.groups * s.kernel_height * s.kernel_width) + 1;
  const size_t outputs = static_cast<size_t>(s.out_channels / s.groups);
  const Patches in{x, s, positions, transposed};
  const Outputs out{y, s.out_channels, static_cast<int64_t>(outputs), positions};
  add_sums(in, in, depth, k1, k1, groups, Part::kLower, gram, stream);
  add_sums(out, in, depth, outputs, k1, groups, Part::kAll, cross, stream);
  add_column_sums<true>(out, depth, outputs, groups, power, 1, nullptr, stream);
}

}  // namespace

void add_slices(const double* parts, size_t m, size_t n, size_t groups, int slices, bool mirror, double* c, size_t stride,
                cudaStream_t stream) {
  constexpr size_t kMost = 65535;  // groups of a launch
  for (size_t g = 0; g < groups; g += kMost) {
    const dim3 grid(blocks_for(m * n, 256), static_cast<unsigned>(std::min(kMost, groups - g)));
    add_parts<<<grid, 256, 0, stream>>>(parts + g * m * n, m, n, groups * m * n, slices, mirror, c + g * m * stride, stride,
                                        m * stride);
  }
}

}  // namespace dopt::cuda

using namespace dopt::cuda;

extern "C" {

dopt_status dopt_cuda_gram_conv2d(const dopt_conv2d_shape* shape, int32_t transposed, int64_t out_height,
                                  int64_t out_width, const void* x, const void* y, int32_t type, int64_t positions,
                                  int64_t first, double* gram, double* cross, double* power, void* stream) {
  if (const dopt_status bad = dopt::check_conv(shape)) return bad;
  if (const dopt_status bad = check_type(type)) return bad;
  DOPT_REQUIRE(x != nullptr && y != nullptr && gram != nullptr && cross != nullptr && power != nullptr,
               "an array is NULL");
  DOPT_REQUIRE(out_height >= 1 && out_width >= 1 && positions >= 1 && first >= 0,
               "output of %lld x %lld, %lld positions from %lld", static_cast<long long>(out_height),
               static_cast<long long>(out_width), static_cast<long long>(positions), static_cast<long long>(first));
  return enqueue({x, y, gram, cross, power}, [&] {
    add_conv(*shape, transposed != 0, out_height, out_width, {x, type}, {y, type}, positions, first, gram, cross, power,
             stream_of(stream));
  });
}

dopt_status dopt_cuda_gram_matmul(const void* x, const void* y, int32_t type, int64_t rows, int64_t inputs,
                                  int64_t outputs, double* gram, double* cross, double* power, void* stream) {
  if (const dopt_status bad = check_type(type)) return bad;
  DOPT_REQUIRE(x != nullptr && gram != nullptr, "x or gram is NULL");
  DOPT_REQUIRE((y == nullptr) == (cross == nullptr) && (y == nullptr) == (power == nullptr),
               "y, cross and power are given together or not at all");
  DOPT_REQUIRE(rows >= 0 && inputs >= 1 && outputs >= 1, "%lld rows of %lld inputs and %lld outputs",
               static_cast<long long>(rows), static_cast<long long>(inputs), static_cast<long long>(outputs));
  if (rows == 0) return DOPT_OK;
  const Samples samples{x, y, type, static_cast<size_t>(rows), static_cast<size_t>(inputs), static_cast<size_t>(outputs)};
  return enqueue({x, y, gram, cross, power}, [&] { add_matmul(samples, gram, cross, power, stream_of(stream)); });
}

}  // extern "C"
