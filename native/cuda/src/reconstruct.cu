// Integers for a layer's weights from its Gram sums: the method of the CPU core (reconstruct.cc, dopt.h names the papers), all
// groups of a layer at a time, without a word from the host between the steps.
//
// Nearly all the work lies in products: of the Cholesky factor (matrix.cu), and of each 64 rounded inputs with what is left
// ("lazy batch" of GPTQ, section 3). Rounding itself is one kernel a block of inputs, a thread an output: its 64 errors and
// what is owed to the rest of the block stay in shared memory.
#include <cmath>

#include "layer.h"
#include "matrix.h"

namespace dopt::cuda {
namespace {

constexpr int kB = kBlockRows, kThreads = 256;
constexpr int kStride = kB + 1;

// A layer's arrays, for all groups.
struct Layer {
  size_t groups, outputs, inputs, span;
  int32_t qmin, qmax;
  bool free_bias;
  const double *gram, *cross;
  const float *weights, *scales;

  __host__ __device__ size_t spans() const { return (inputs + span - 1) / span; }
  __device__ double scale(size_t g, size_t o, size_t k) const { return scales[(g * outputs + o) * spans() + k / span]; }
  __device__ const double* gram_row(size_t g, size_t i) const { return gram + (g * (inputs + 1) + i) * (inputs + 1); }
  __device__ const double* cross_row(size_t g, size_t o) const { return cross + (g * outputs + o) * (inputs + 1); }
  // Sums of each input, and behind them how many positions there were.
  __device__ const double* input_sums(size_t g) const { return gram_row(g, inputs); }
  // Second moments: about the mean with a free bias, else about zero.
  __device__ double gram_at(size_t g, size_t i, size_t j) const {
    const double raw = gram_row(g, i)[j];
    const double* const sums = input_sums(g);
    return free_bias ? raw - sums[i] / sums[inputs] * sums[j] : raw;
  }
  __device__ double cross_at(size_t g, size_t o, size_t k) const {
    const double* const row = cross_row(g, o);
    const double* const sums = input_sums(g);
    return free_bias ? row[k] - row[inputs] / sums[inputs] * sums[k] : row[k];
  }
  __device__ int8_t nearest(double value, double scale) const {
    const double q = rint(value / scale);
    return static_cast<int8_t>(fmin(static_cast<double>(qmax), fmax(static_cast<double>(qmin), q)));
  }
};

// Working memory of a reconstruction.
struct Work {
  double* variance;  // [groups, inputs]
  double* mean;      // [groups] of the variances
  int* order;        // [groups, inputs]: inputs by rising variance, rounded last to first
  int* failed;       // [groups]: 1 where nearest rounding is all that can be done
  Batch factor, target, errors, owed;
};

__global__ void __launch_bounds__(kThreads) find_variance(const Layer layer, Work work) {
  const size_t g = blockIdx.x;
  __shared__ double parts[kThreads];
  double sum = 0.0;
  for (size_t k = threadIdx.x; k < layer.inputs; k += kThreads) {
    const double v = layer.gram_at(g, k, k);
    work.variance[g * layer.inputs + k] = v;
    sum += v;
  }
  parts[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int t = 1; t < kThreads; ++t) sum += parts[t];
  const double mean = sum / static_cast<double>(layer.inputs);
  work.mean[g] = mean;
  work.failed[g] = !(mean > 0.0) || isinf(mean);
}

// order[rank of k] = k, equal variances in the order of the inputs.
__global__ void __launch_bounds__(kThreads) find_order(const Layer layer, Work work) {
  const size_t g = blockIdx.y, n = layer.inputs;
  if (work.failed[g]) return;
  const double* const variance = work.variance + g * n;
  __shared__ double others[kThreads];
  const size_t k = size_t{blockIdx.x} * kThreads + threadIdx.x;
  const double mine = k < n ? variance[k] : 0.0;
  size_t rank = 0;
  for (size_t begin = 0; begin < n; begin += kThreads) {
    __syncthreads();
    if (begin + threadIdx.x < n) others[threadIdx.x] = variance[begin + threadIdx.x];
    __syncthreads();
    const int here = static_cast<int>(min(size_t{kThreads}, n - begin));
    for (int j = 0; j < here; ++j) rank += others[j] < mine || (others[j] == mine && begin + j < k);
  }
  if (k < n) work.order[g * n + rank] = static_cast<int>(k);
}

// target[k][o]: the weights in `order`, or the right side of the ridge regression towards them.
__global__ void __launch_bounds__(kThreads) start_target(const Layer layer, Work work, double ridge) {
  const size_t g = blockIdx.y;
  const size_t e = size_t{blockIdx.x} * kThreads + threadIdx.x;
  if (e >= layer.inputs * layer.outputs || work.failed[g]) return;
  const size_t k = e / layer.outputs, o = e % layer.outputs, input = work.order[g * layer.inputs + k];
  const double w = layer.weights[(g * layer.outputs + o) * layer.inputs + input];
  work.target.at[g * work.target.each() + e] = ridge < 0.0 ? w : layer.cross_at(g, o, input) + ridge * work.mean[g] * w;
}

// Lower triangle of gram, rows and columns in `order`, with load * mean on the diagonal.
__global__ void __launch_bounds__(kThreads) start_factor(const Layer layer, Work work, double load) {
  const size_t g = blockIdx.y, n = layer.inputs;
  const size_t e = size_t{blockIdx.x} * kThreads + threadIdx.x;
  const size_t i = e / n, j = e % n;
  if (i >= n || j > i || work.failed[g]) return;
  const int* const order = work.order + g * n;
  const double v = layer.gram_at(g, order[i], order[j]);
  work.factor.at[g * n * n + e] = i == j ? v + load * work.mean[g] : v;
}

extern __shared__ double g_shared[];

// Babai's nearest plane over the inputs [first, last) of `order`, last to first: each is rounded at the value that makes up for
// the errors of those rounded before it.
__global__ void __launch_bounds__(kB) round_block(const Layer layer, Work work, size_t first, int size, int8_t* integers) {
  const size_t g = blockIdx.y, n = layer.inputs;
  if (work.failed[g]) return;
  double *const l = g_shared, *const owed = g_shared + kB * kStride + threadIdx.x;
  for (int e = threadIdx.x; e < size * size; e += kB) {
    const int i = e / size, j = e % size;
    l[i * kStride + j] = work.factor.at[g * n * n + (first + i) * n + first + j];
  }
  __syncthreads();
  const size_t o = size_t{blockIdx.x} * kB + threadIdx.x;
  if (o >= layer.outputs) return;
  const size_t at = g * n * layer.outputs + first * layer.outputs + o;
  for (int k = 0; k < size; ++k) owed[k * kStride] = work.owed.at[at + k * layer.outputs];
  for (int k = size - 1; k >= 0; --k) {
    const size_t input = work.order[g * n + first + k];
    const double scale = layer.scale(g, o, input), target = work.target.at[at + k * layer.outputs];
    const int8_t q = layer.nearest(target + owed[k * kStride] / l[k * kStride + k], scale);
    integers[(g * layer.outputs + o) * n + input] = q;
    const double error = target - q * scale;
    work.errors.at[at + k * layer.outputs] = error;
    for (int j = 0; j < k; ++j) owed[j * kStride] += l[k * kStride + j] * error;
  }
}

__global__ void __launch_bounds__(kThreads) round_failed(const Layer layer, const int* failed, int8_t* integers) {
  const size_t g = blockIdx.y, e = size_t{blockIdx.x} * kThreads + threadIdx.x;
  if (e >= layer.inputs * layer.outputs || !failed[g]) return;
  const size_t o = e / layer.inputs, k = e % layer.inputs, at = g * layer.inputs * layer.outputs + e;
  integers[at] = layer.nearest(layer.weights[at], layer.scale(g, o, k));
}

// Grids over the groups from g on of launches that take a Layer and a Work.
Layer from_group(Layer layer, size_t g) {
  const size_t k1 = layer.inputs + 1;
  layer.gram += g * k1 * k1;
  if (layer.cross != nullptr) layer.cross += g * layer.outputs * k1;
  if (layer.weights != nullptr) layer.weights += g * layer.outputs * layer.inputs;
  layer.scales += g * layer.outputs * layer.spans();
  return layer;
}

Batch from_group(Batch batch, size_t g) {
  batch.at += g * batch.each();
  return batch;
}

Work from_group(Work work, size_t g, size_t inputs) {
  work.variance += g * inputs;
  work.mean += g;
  work.order += g * inputs;
  work.failed += g;
  for (Batch* each : {&work.factor, &work.target, &work.errors, &work.owed}) *each = from_group(*each, g);
  return work;
}

void find_factor(const Layer& layer, const Work& work, double load, cudaStream_t stream) {
  each_groups(layer.groups, [&](size_t g, unsigned count) {
    const dim3 grid(blocks_for(layer.inputs * layer.inputs, kThreads), count);
    start_factor<<<grid, kThreads, 0, stream>>>(from_group(layer, g), from_group(work, g, layer.inputs), load);
  });
  factorize(work.factor, work.failed, stream);
}

void round_with_feedback(const Layer& layer, const Work& work, int8_t* integers, cudaStream_t stream) {
  const size_t n = layer.inputs;
  constexpr int kBytes = 2 * sizeof(double) * kB * kStride;
  check(cudaFuncSetAttribute(round_block, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes), "asking for shared memory");
  check(cudaMemsetAsync(work.owed.at, 0, layer.groups * work.owed.each() * sizeof(double), stream), "clearing sums");
  for (size_t last = n; last > 0;) {
    const size_t first = (last - 1) / kB * kB;
    each_groups(layer.groups, [&](size_t g, unsigned count) {
      const dim3 grid(blocks_for(layer.outputs, kB), count);
      round_block<<<grid, kB, kBytes, stream>>>(from_group(layer, g), from_group(work, g, n), first,
                                                static_cast<int>(last - first), integers + g * layer.outputs * n);
    });
    add_product(work.factor.corner(first, 0), work.errors.corner(first, 0), last - first, first, layer.outputs,
                work.owed.target(0, 0, 1.0), layer.groups, Part::kAll, stream);
    last = first;
  }
}

void reconstruct(const Layer& layer, double ridge, double damping, int8_t* integers, cudaStream_t stream) {
  const size_t groups = layer.groups, n = layer.inputs, outputs = layer.outputs;
  const Scratch<double> variance(groups * n, stream), mean(groups, stream), factor(groups * n * n, stream);
  const Scratch<double> target(groups * n * outputs, stream), errors(groups * n * outputs, stream);
  const Scratch<double> owed(groups * n * outputs, stream);
  const Scratch<int> order(groups * n, stream), failed(groups, stream);
  const auto of_weights = [&](const Scratch<double>& at) { return Batch{at.get(), groups, n, outputs}; };
  const Work work{variance.get(),     mean.get(),         order.get(),        failed.get(),
                  {factor.get(), groups, n, n}, of_weights(target), of_weights(errors), of_weights(owed)};
  find_variance<<<static_cast<unsigned>(groups), kThreads, 0, stream>>>(layer, work);
  each_groups(groups, [&](size_t g, unsigned count) {
    const Layer some = from_group(layer, g);
    const Work its = from_group(work, g, n);
    find_order<<<dim3(blocks_for(n, kThreads), count), kThreads, 0, stream>>>(some, its);
    start_target<<<dim3(blocks_for(n * outputs, kThreads), count), kThreads, 0, stream>>>(some, its, ridge);
  });
  if (ridge >= 0.0) {
    find_factor(layer, work, ridge, stream);
    solve(work.factor, work.target, stream);
  }
  find_factor(layer, work, damping, stream);
  round_with_feedback(layer, work, integers, stream);
  each_groups(groups, [&](size_t g, unsigned count) {
    const dim3 grid(blocks_for(n * outputs, kThreads), count);
    round_failed<<<grid, kThreads, 0, stream>>>(from_group(layer, g), failed.get() + g, integers + g * n * outputs);
  });
}

// ---- Bias and error of integers: a warp an output

__device__ double sum_warp(double v) {
  for (int distance = 16; distance > 0; distance /= 2) v += __shfl_down_sync(0xffffffffu, v, distance);
  return v;
}

__global__ void __launch_bounds__(kThreads) find_bias(const Layer layer, const int8_t* integers, double* bias) {
  const size_t row = (size_t{blockIdx.x} * kThreads + threadIdx.x) / 32;  // group and output
  if (row >= layer.groups * layer.outputs) return;
  const size_t g = row / layer.outputs, o = row % layer.outputs;
  const double* const sums = layer.input_sums(g);
  double sum = 0.0;
  for (size_t k = threadIdx.x % 32; k < layer.inputs; k += 32) {
    sum += integers[row * layer.inputs + k] * layer.scale(g, o, k) * sums[k];
  }
  sum = sum_warp(sum);
  const double count = sums[layer.inputs];
  if (threadIdx.x % 32 == 0) bias[row] = count > 0.0 ? (layer.cross_row(g, o)[layer.inputs] - sum) / count : 0.0;
}

// v[g][k][o] = scale * integer, the bias in the last row.
__global__ void __launch_bounds__(kThreads) fill_layer(const Layer layer, const int8_t* integers, const double* bias, double* v) {
  const size_t e = size_t{blockIdx.x} * kThreads + threadIdx.x, k1 = layer.inputs + 1;
  if (e >= layer.groups * layer.outputs * k1) return;
  const size_t o = e % layer.outputs, k = e / layer.outputs % k1, g = e / layer.outputs / k1;
  const size_t row = g * layer.outputs + o;
  v[e] = k == layer.inputs ? (bias == nullptr ? 0.0 : bias[row])
                           : integers[row * layer.inputs + k] * layer.scale(g, o, k);
}

// power - 2 v c + v G v^T, a quadratic form that only rounding could make negative.
__global__ void __launch_bounds__(kThreads) find_error(const Layer layer, const double* power, const double* v,
                                                       const double* product, double* error) {
  const size_t row = (size_t{blockIdx.x} * kThreads + threadIdx.x) / 32, k1 = layer.inputs + 1;
  if (row >= layer.groups * layer.outputs) return;
  const size_t g = row / layer.outputs, o = row % layer.outputs;
  const double* const cross = layer.cross_row(g, o);
  double sum = 0.0;
  for (size_t k = threadIdx.x % 32; k < k1; k += 32) {
    const size_t at = (g * k1 + k) * layer.outputs + o;
    sum += v[at] * (product[at] - 2.0 * cross[k]);
  }
  sum = sum_warp(sum);
  if (threadIdx.x % 32 == 0) error[row] = fmax(0.0, power[row] + sum);
}

void find_errors(const Layer& layer, const double* power, const int8_t* integers, const double* bias, double* error,
                 cudaStream_t stream) {
  const size_t k1 = layer.inputs + 1, size = layer.groups * k1 * layer.outputs;
  const Scratch<double> v(size, stream), product(size, stream);
  const Batch filled{v.get(), layer.groups, k1, layer.outputs}, result{product.get(), layer.groups, k1, layer.outputs};
  fill_layer<<<blocks_for(size, kThreads), kThreads, 0, stream>>>(layer, integers, bias, v.get());
  Target to = result.target(0, 0, 1.0);
  to.replace = true;
  add_product(Dense{layer.gram, k1, k1 * k1}, filled.corner(0, 0), k1, k1, layer.outputs, to, layer.groups, Part::kAll, stream);
  find_error<<<blocks_for(layer.groups * layer.outputs, kThreads / 32), kThreads, 0, stream>>>(layer, power, v.get(),
                                                                                              product.get(), error);
}

Layer layer_of(const dopt_layer& s, const double* gram, const double* cross, const float* weights, const float* scales) {
  return {static_cast<size_t>(s.groups), static_cast<size_t>(s.outputs), static_cast<size_t>(s.inputs),
          static_cast<size_t>(s.span),   s.qmin,                         s.qmax,
          s.free_bias != 0,              gram,                           cross,
          weights,                       scales};
}

}  // namespace
}  // namespace dopt::cuda

using namespace dopt::cuda;

extern "C" {

dopt_status dopt_cuda_gram_reconstruct(const dopt_layer* layer, const double* gram, const double* cross,
                                       const float* weights, const float* scales, double ridge, double damping,
                                       int8_t* integers, void* stream) {
  if (const dopt_status bad = dopt::check_layer(layer)) return bad;
  DOPT_REQUIRE(gram != nullptr && weights != nullptr && scales != nullptr && integers != nullptr, "an array is NULL");
  DOPT_REQUIRE(cross != nullptr || ridge < 0, "cross is NULL with a ridge of %g", ridge);
  DOPT_REQUIRE(damping > 0 && std::isfinite(damping) && std::isfinite(ridge), "damping is %g and ridge %g", damping, ridge);
  return enqueue({gram, cross, weights, scales, integers}, [&] {
    reconstruct(layer_of(*layer, gram, cross, weights, scales), ridge, damping, integers, stream_of(stream));
  });
}

dopt_status dopt_cuda_gram_bias(const dopt_layer* layer, const double* gram, const double* cross, const int8_t* integers,
                                const float* scales, double* bias, void* stream) {
  if (const dopt_status bad = dopt::check_layer(layer)) return bad;
  DOPT_REQUIRE(gram != nullptr && cross != nullptr && integers != nullptr && scales != nullptr && bias != nullptr,
               "an array is NULL");
  return enqueue({gram, cross, integers, scales, bias}, [&] {
    const Layer all = layer_of(*layer, gram, cross, nullptr, scales);
    find_bias<<<blocks_for(all.groups * all.outputs, kThreads / 32), kThreads, 0, stream_of(stream)>>>(all, integers, bias);
  });
}

dopt_status dopt_cuda_gram_error(const dopt_layer* layer, const double* gram, const double* cross, const double* power,
                                 const int8_t* integers, const float* scales, const double* bias, double* error,
                                 void* stream) {
  if (const dopt_status bad = dopt::check_layer(layer)) return bad;
  DOPT_REQUIRE(gram != nullptr && cross != nullptr && power != nullptr && integers != nullptr && scales != nullptr &&
                   error != nullptr,
               "an array is NULL");
  return enqueue({gram, cross, power, integers, scales, bias, error}, [&] {
    find_errors(layer_of(*layer, gram, cross, nullptr, scales), power, integers, bias, error, stream_of(stream));
  });
}

}  // extern "C"
