// Speed of the CUDA core beside what memory and arithmetic allow on this device: `bench_cuda [GROUP...]`.
//
// Medians of runs timed by events, over data several times the second-level cache. GB/s count each input once and each output
// once. For three kernels the slow, obvious version and the steps between stand beside the one that is shipped.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <cuda_bf16.h>

#include "../tests/device_array.h"
#include "gram.h"

namespace {

class Timer {
 public:
  Timer() {
    MUST(cudaEventCreate(&start_));
    MUST(cudaEventCreate(&stop_));
  }
  // Median seconds of `runs` runs after one that is not counted.
  double median(int runs, const std::function<void()>& work) {
    std::vector<float> all;
    work();
    for (int i = 0; i < runs; ++i) {
      MUST(cudaEventRecord(start_));
      work();
      MUST(cudaEventRecord(stop_));
      MUST(cudaEventSynchronize(stop_));
      float milliseconds = 0;
      MUST(cudaEventElapsedTime(&milliseconds, start_, stop_));
      all.push_back(milliseconds);
    }
    MUST(cudaGetLastError());
    std::sort(all.begin(), all.end());
    return 1e-3 * all[all.size() / 2];
  }

 private:
  cudaEvent_t start_, stop_;
};

Timer& timer() {
  static Timer instance;
  return instance;
}

void moved(const char* name, double bytes, const std::function<void()>& work, int runs = 11) {
  const double seconds = timer().median(runs, work);
  std::printf("%-44s %8.1f GB/s  %9.1f us\n", name, bytes / seconds / 1e9, 1e6 * seconds);
  std::fflush(stdout);
}

void computed(const char* name, double operations, const std::function<void()>& work, int runs = 5) {
  const double seconds = timer().median(runs, work);
  std::printf("%-44s %8.2f Top/s %9.1f us\n", name, operations / seconds / 1e12, 1e6 * seconds);
  std::fflush(stdout);
}

// Values of a distribution, made on the device by a hash of the position.
enum class Shape { kNormal, kRelu, kConstant };

__device__ float hashed(size_t i, Shape shape) {
  uint64_t h = i * 0x9e3779b97f4a7c15ull + 0x7f4a7c15ull;
  h ^= h >> 31;
  h *= 0xbf58476d1ce4e5b9ull;
  h ^= h >> 29;
  const float u = (static_cast<float>(h >> 40) + 0.5f) / 16777216.0f, v = static_cast<float>(h & 0xffffff) / 16777216.0f;
  const float normal = sqrtf(-2.0f * logf(u)) * cosf(6.2831853f * v);
  return shape == Shape::kConstant ? 1.5f : shape == Shape::kRelu ? fmaxf(normal, 0.0f) : normal;
}

template <typename T>
__global__ void fill(T* x, size_t n, Shape shape) {
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += size_t{gridDim.x} * blockDim.x) {
    x[i] = static_cast<T>(hashed(i, shape));
  }
}

template <typename T>
void filled(const DeviceArray<T>& x, Shape shape) {
  fill<<<2048, 256>>>(x.get(), x.size(), shape);
  MUST(cudaDeviceSynchronize());
}

constexpr size_t kValues = size_t{1} << 28;

// ---- Versions of quantize

// 1: a value a thread, the formula written down.
__global__ void quantize_1(const float* x, size_t n, float scale, int zero_point, uint8_t* out) {
  const size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const float q = x[i] == x[i] ? rintf(x[i] / scale) + static_cast<float>(zero_point) : static_cast<float>(zero_point);
  out[i] = static_cast<uint8_t>(fminf(fmaxf(q, 0.0f), 255.0f));
}
// 2: four values a thread, so that a warp moves 512 bytes at a time; the shipped one has four of those in flight as well.
__global__ void quantize_2(const float4* x, size_t n, float scale, int zero_point, uchar4* out) {
  const size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= n / 4) return;
  const float4 v = x[i];
  const auto one = [&](float f) {
    const float q = f == f ? rintf(f / scale) + static_cast<float>(zero_point) : static_cast<float>(zero_point);
    return static_cast<uint8_t>(fminf(fmaxf(q, 0.0f), 255.0f));
  };
  out[i] = make_uchar4(one(v.x), one(v.y), one(v.z), one(v.w));
}

void elementwise() {
  const DeviceArray<float> x(kValues), y(kValues);
  const DeviceArray<uint8_t> q(kValues);
  const DeviceArray<int8_t> s(kValues);
  filled(x, Shape::kNormal);
  const double n = static_cast<double>(kValues);
  moved("copy on the device", 8 * n, [&] { cudaMemcpyAsync(y.get(), x.get(), 4 * kValues, cudaMemcpyDeviceToDevice); });
  moved("quantize u8, version 1", 5 * n,
        [&] { quantize_1<<<kValues / 256, 256>>>(x.get(), kValues, 0.02f, 128, q.get()); });
  moved("quantize u8, version 2", 5 * n, [&] {
    quantize_2<<<kValues / 1024, 256>>>(reinterpret_cast<float4*>(x.get()), kValues, 0.02f, 128, reinterpret_cast<uchar4*>(q.get()));
  });
  moved("quantize u8", 5 * n, [&] { MUST(dopt_cuda_quantize_u8(x.get(), kValues, 0.02f, 128, q.get(), nullptr)); });
  moved("dequantize u8", 5 * n, [&] { MUST(dopt_cuda_dequantize_u8(q.get(), kValues, 0.02f, 128, y.get(), nullptr)); });
  moved("fake quantize", 8 * n, [&] { MUST(dopt_cuda_fake_quantize(x.get(), kValues, 0.02f, 128, 0, 255, y.get(), nullptr)); });
  const std::vector<float> scales(4096, 0.02f);
  const DeviceArray<float> its_scales(scales), absmax(4096);
  moved("quantize i8, 4096 channels of 65536", 5 * n,
        [&] { MUST(dopt_cuda_quantize_i8_channels(x.get(), 1, 4096, kValues / 4096, its_scales.get(), s.get(), nullptr)); });
  moved("channel absmax, 4096 channels of 65536", 4 * n,
        [&] { MUST(dopt_cuda_channel_absmax(x.get(), 1, 4096, kValues / 4096, absmax.get(), nullptr)); });
  moved("error sums", 8 * n, [&] { MUST(dopt_cuda_error_sums(x.get(), y.get(), kValues, reinterpret_cast<double*>(absmax.get()), nullptr)); });
  MUST(dopt_cuda_quantize_i8(x.get(), kValues, 1.0f, 0, s.get(), nullptr));
  moved("pack int4", 1.5 * n, [&] { MUST(dopt_cuda_pack_int4(s.get(), kValues, q.get(), nullptr, nullptr)); });
  moved("unpack int4", 1.5 * n, [&] { MUST(dopt_cuda_unpack_int4(q.get(), kValues, s.get(), nullptr)); });
}

// ---- Versions of the histogram: counts on bins that are known, without extremes and sums

constexpr int kBins = 2048;

__device__ int bin_of(float v) { return min(max(__float2int_rd(v * 128.0f) + kBins / 2, 0), kBins - 1); }

// 1: global counters. Every value waits for the second-level cache.
__global__ void histogram_1(const float* x, size_t n, unsigned long long* counts) {
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += size_t{gridDim.x} * blockDim.x) {
    atomicAdd(counts + bin_of(x[i]), 1ull);
  }
}
// 2: a table a block in shared memory. Fast for spread values; equal ones queue at one counter, 32 lanes deep. The shipped one
// has eight tables side by side.
__global__ void histogram_2(const float* x, size_t n, unsigned long long* counts) {
  __shared__ unsigned table[kBins];
  for (int k = threadIdx.x; k < kBins; k += blockDim.x) table[k] = 0;
  __syncthreads();
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += size_t{gridDim.x} * blockDim.x) {
    atomicAdd(table + bin_of(x[i]), 1u);
  }
  __syncthreads();
  for (int k = threadIdx.x; k < kBins; k += blockDim.x) atomicAdd(counts + k, static_cast<unsigned long long>(table[k]));
}

void observers() {
  const DeviceArray<float> x(kValues), extremes(2);
  const DeviceArray<dopt_histogram> state(1);
  const DeviceArray<uint64_t> counts(kBins);
  const double bytes = 4.0 * kValues;
  filled(x, Shape::kNormal);
  moved("min and max", bytes, [&] { MUST(dopt_cuda_min_max(x.get(), DOPT_F32, kValues, extremes.get(), nullptr)); });
  const struct {
    Shape shape;
    const char* name;
  } shapes[] = {{Shape::kNormal, "normal"}, {Shape::kRelu, "relu"}, {Shape::kConstant, "constant"}};
  auto* const raw = reinterpret_cast<unsigned long long*>(counts.get());
  for (const auto& [shape, name] : shapes) {
    filled(x, shape);
    const std::string of = std::string(", ") + name;
    moved(("histogram, version 1" + of).c_str(), bytes, [&] { histogram_1<<<2048, 256>>>(x.get(), kValues, raw); }, 3);
    moved(("histogram, version 2" + of).c_str(), bytes, [&] { histogram_2<<<1056, 512>>>(x.get(), kValues, raw); }, 5);
    MUST(dopt_cuda_histogram_init(state.get(), counts.get(), kBins, nullptr));
    moved(("histogram, extremes and sums" + of).c_str(), bytes, [&] {
      MUST(dopt_cuda_histogram_update(state.get(), counts.get(), kBins, x.get(), DOPT_F32, kValues, nullptr));
    });
  }
  filled(x, Shape::kNormal);
  moved("histogram, first batch", bytes, [&] {
    MUST(dopt_cuda_histogram_init(state.get(), counts.get(), kBins, nullptr));
    MUST(dopt_cuda_histogram_update(state.get(), counts.get(), kBins, x.get(), DOPT_F32, kValues, nullptr));
  });
  const DeviceArray<__nv_bfloat16> h(2 * kValues);
  filled(h, Shape::kNormal);
  MUST(dopt_cuda_histogram_init(state.get(), counts.get(), kBins, nullptr));
  moved("histogram, extremes and sums, bf16", bytes, [&] {
    MUST(dopt_cuda_histogram_update(state.get(), counts.get(), kBins, h.get(), DOPT_BF16, 2 * kValues, nullptr));
  });
  // A model's batch: 100 tensors of 100,000 values.
  constexpr size_t kTensors = 100, kEach = 100000;
  const DeviceArray<dopt_histogram> states(kTensors);
  const DeviceArray<uint64_t> rows(kTensors * kBins);
  std::vector<const void*> addresses;
  const std::vector<size_t> sizes(kTensors, kEach);
  for (size_t i = 0; i < kTensors; ++i) {
    addresses.push_back(x.get() + i * kEach);
    MUST(dopt_cuda_histogram_init(states.get() + i, rows.get() + i * kBins, kBins, nullptr));
  }
  moved("histograms of 100 tensors of 100,000", 4.0 * kTensors * kEach, [&] {
    MUST(dopt_cuda_histogram_update_many(states.get(), rows.get(), kBins, addresses.data(), DOPT_F32, sizes.data(), kTensors,
                                         nullptr));
  });
  const DeviceArray<double> low(kTensors), high(kTensors), error(kTensors);
  const double seconds = timer().median(3, [&] {
    MUST(dopt_cuda_range_mse(states.get(), rows.get(), kBins, kTensors, 8, 0, 0, low.get(), high.get(), error.get(), nullptr));
  });
  std::printf("%-44s %9.2f ms\n", "range search of 100 histograms", 1e3 * seconds);
}

// ---- Gram sums

// 1: a thread an element, as it is written.
__global__ void gram_1(const __nv_bfloat16* x, int rows, int k, double* gram) {
  const int i = blockIdx.y * 16 + threadIdx.y, j = blockIdx.x * 16 + threadIdx.x;
  if (i >= k || j > i) return;
  float sum = 0.0f;
  for (int t = 0; t < rows; ++t) {
    sum += __bfloat162float(x[static_cast<size_t>(t) * k + i]) * __bfloat162float(x[static_cast<size_t>(t) * k + j]);
  }
  gram[static_cast<size_t>(i) * (k + 1) + j] += sum;
  gram[static_cast<size_t>(j) * (k + 1) + i] = gram[static_cast<size_t>(i) * (k + 1) + j];
}

void grams() {
  std::printf("operations of a Gram matrix: 2 rows K^2, of which the triangle alone needs half\n");
  const size_t shapes[][2] = {{16384, 1024}, {16384, 2048}, {65536, 2048}, {16384, 4096}, {32768, 4096}, {8192, 8192}};
  for (const auto& shape : shapes) {
    const size_t rows = shape[0], k = shape[1];
    const DeviceArray<__nv_bfloat16> x(rows * k);
    const DeviceArray<double> gram((k + 1) * (k + 1));
    filled(x, Shape::kNormal);
    MUST(cudaMemset(gram.get(), 0, gram.size() * sizeof(double)));
    const double operations = 2.0 * static_cast<double>(rows) * static_cast<double>(k) * static_cast<double>(k);
    const std::string name = "gram bf16, " + std::to_string(rows) + " x " + std::to_string(k);
    if (k == 1024) {
      computed((name + ", version 1").c_str(), operations, [&] {
        gram_1<<<dim3(k / 16, k / 16), dim3(16, 16)>>>(x.get(), static_cast<int>(rows), static_cast<int>(k), gram.get());
      }, 1);
    }
    const dopt::cuda::Samples samples{x.get(), nullptr, DOPT_BF16, rows, k, 1};
    computed((name + ", mma.sync").c_str(), operations,
             [&] { dopt::cuda::add_on_tensor_cores(samples, gram.get(), nullptr, nullptr); });
    computed(name.c_str(), operations, [&] {
      MUST(dopt_cuda_gram_matmul(x.get(), nullptr, DOPT_BF16, int64_t(rows), int64_t(k), 1, gram.get(), nullptr, nullptr, nullptr));
    });
  }
  const DeviceArray<float> x(size_t{8192} * 4096);
  filled(x, Shape::kNormal);
  for (const int64_t k : {512, 2048, 4096}) {
    const int64_t rows = int64_t{8192} * 4096 / k;
    const DeviceArray<double> gram((k + 1) * (k + 1));
    MUST(cudaMemset(gram.get(), 0, gram.size() * sizeof(double)));
    computed(("gram f32, " + std::to_string(rows) + " x " + std::to_string(k)).c_str(), 2.0 * rows * k * k, [&] {
      MUST(dopt_cuda_gram_matmul(x.get(), nullptr, DOPT_F32, rows, k, 1, gram.get(), nullptr, nullptr, nullptr));
    }, 3);
  }
  // A convolution of 128 channels, 3 x 3, over 32 pictures of 28 x 28, and a depthwise one of 512.
  for (const bool depthwise : {false, true}) {
    const int64_t c = depthwise ? 512 : 128, g = depthwise ? c : 1;
    dopt_conv2d_shape s{sizeof s, 32, c, 28, 28, c, 3, 3, g, 1, 1, 1, 1, 1, 1, 1, 1};
    const size_t k1 = size_t(c / g * 9 + 1), outputs = size_t(c / g);
    const DeviceArray<double> gram(size_t(g) * k1 * k1), cross(size_t(g) * outputs * k1), power(static_cast<size_t>(c));
    const double operations = 2.0 * 32 * 784 * double(g) * double(k1) * double(k1 + outputs);
    computed(depthwise ? "gram f32, depthwise 512, 32 x 28 x 28" : "gram f32, conv 128 3x3, 32 x 28 x 28", operations, [&] {
      MUST(dopt_cuda_gram_conv2d(&s, 0, 28, 28, x.get(), x.get(), DOPT_F32, 784, 0, gram.get(), cross.get(), power.get(), nullptr));
    }, 3);
  }
}

void layers() {
  for (const auto& [k, outputs] : {std::pair<int64_t, int64_t>{1024, 1024}, {4096, 4096}, {4096, 14336}, {14336, 4096}}) {
    const size_t n = static_cast<size_t>(k * outputs), k1 = static_cast<size_t>(k + 1);
    const DeviceArray<__nv_bfloat16> x(static_cast<size_t>(16384 * k));
    filled(x, Shape::kNormal);
    const DeviceArray<double> gram(k1 * k1);
    MUST(cudaMemset(gram.get(), 0, k1 * k1 * sizeof(double)));
    MUST(dopt_cuda_gram_matmul(x.get(), nullptr, DOPT_BF16, 16384, k, 1, gram.get(), nullptr, nullptr, nullptr));
    const DeviceArray<float> weights(n), scales(std::vector<float>(n / 128, 0.3f));
    filled(weights, Shape::kNormal);
    const DeviceArray<int8_t> integers(n);
    const dopt_layer layer{sizeof layer, 1, outputs, k, 128, -8, 7, 0};
    const double seconds = timer().median(2, [&] {
      MUST(dopt_cuda_gram_reconstruct(&layer, gram.get(), nullptr, weights.get(), scales.get(), -1.0, 0.01, integers.get(), nullptr));
    });
    const double kd = static_cast<double>(k), operations = kd * kd * kd / 3 + kd * kd * static_cast<double>(outputs);
    std::printf("round %lld x %lld with feedback %31.1f ms  %6.2f Top/s in double\n", static_cast<long long>(k),
                static_cast<long long>(outputs), 1e3 * seconds, operations / seconds / 1e12);
    std::fflush(stdout);
  }
}

void integers() {
  const size_t m = 8192, k = 4096, n = 4096;
  const DeviceArray<uint8_t> x(m * k);
  const DeviceArray<int8_t> w(k * n);
  const DeviceArray<int32_t> out(m * n);
  computed("integer product, 8192 x 4096 x 4096", 2.0 * m * k * n,
           [&] { MUST(dopt_cuda_matmul_u8s8_s32(x.get(), 128, w.get(), nullptr, m, k, n, out.get(), nullptr)); }, 3);
  const dopt_conv2d_shape s{sizeof s, 32, 128, 28, 28, 128, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  computed("integer convolution 128 3x3, 32 x 28 x 28", 2.0 * 32 * 784 * 128 * 1152,
           [&] { MUST(dopt_cuda_conv2d_u8s8_s32(&s, x.get(), 128, w.get(), nullptr, out.get(), nullptr)); }, 5);
}

}  // namespace

int main(int count, char** names) {
  const struct {
    const char* name;
    void (*run)();
  } groups[] = {{"elementwise", elementwise}, {"observers", observers}, {"grams", grams}, {"layers", layers}, {"integers", integers}};
  char info[256];
  if (dopt_cuda_device_info(0, info, sizeof info) != DOPT_OK) {
    std::printf("skipped bench_cuda: %s\n", dopt_cuda_last_error());
    return 0;
  }
  std::printf("%s\n%s\n", dopt_cuda_build_info(), info);
  for (const auto& group : groups) {
    const bool wanted = count == 1 || std::any_of(names + 1, names + count, [&](char* n) { return std::strcmp(n, group.name) == 0; });
    if (wanted) group.run();
  }
  return 0;
}
