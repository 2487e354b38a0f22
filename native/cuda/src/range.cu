// The range with the least expected squared error, one block a histogram.
//
// The search is that of the CPU core, phase by phase, and so are its bits: a thread takes a candidate and goes over the
// bins in their order with the CPU's own text (quantizer.h; -fmad=false). All threads read the same bin at a time, which
// shared memory hands to a warp in one go. A search depends on its last phase, so one histogram keeps one multiprocessor
// busy for a few milliseconds; a model's histograms fill the others.
#include <cmath>

#include "bin_grid.h"
#include "device.h"
#include "quantizer.h"
#include "range.h"

namespace dopt::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kChunk = 1024;  // bins in shared memory at a time

struct Candidate {
  double low, high;
};

struct Best {
  double low, high, cost;
};

// Bins of a histogram other than empty ones at both ends.
struct Bins {
  const dopt_histogram* state;
  const uint64_t* counts;
  int64_t first, last;

  // Border k of the bins, kept within the extremes.
  __device__ double edge(int64_t k) const {
    return clamp(static_cast<double>(state->base + k) * state->width, state->min, state->max);
  }
};

class Sweep {
 public:
  __device__ Sweep(const Bins& bins, const Format& format, Best* best, double* edges, double* counts)
      : bins_(bins), format_(format), best_(best), edges_(edges), counts_(counts) {}

  // Tries candidate(i) for i < n; the first of the cheapest stays when it is cheaper than the best so far. n <= kThreads.
  template <typename At>
  __device__ void attempt(int n, const At& candidate) {
    const bool mine = static_cast<int>(threadIdx.x) < n;
    const Candidate c = mine ? candidate(static_cast<int>(threadIdx.x)) : Candidate{0.0, 0.0};
    const double cost = cost_of(c);
    __shared__ double costs[kThreads];
    costs[threadIdx.x] = mine ? cost : INFINITY;
    __syncthreads();
    __shared__ int chosen;
    if (threadIdx.x == 0) {
      chosen = -1;
      double least = best_->cost;
      for (int i = 0; i < n; ++i) {
        if (costs[i] < least) {
          least = costs[i];
          chosen = i;
        }
      }
    }
    __syncthreads();
    if (static_cast<int>(threadIdx.x) == chosen) *best_ = {c.low, c.high, cost};
    __syncthreads();
  }

  // Every thread calls: the bins are read together.
  __device__ double cost_of(const Candidate& c) {
    SpanError span(quantizer_of(c.low, c.high, format_), bins_.edge(bins_.first));
    double sum = 0.0;
    for (int64_t begin = bins_.first; begin < bins_.last; begin += kChunk) {
      const int here = static_cast<int>(min(int64_t{kChunk}, bins_.last - begin));
      __syncthreads();
      for (int i = threadIdx.x; i < here; i += kThreads) {
        edges_[i] = bins_.edge(begin + i + 1);
        counts_[i] = static_cast<double>(bins_.counts[begin + i]);
      }
      __syncthreads();
      for (int i = 0; i < here; ++i) sum += counts_[i] * span.mean_to(edges_[i]);
    }
    return sum / static_cast<double>(bins_.state->count);
  }

 private:
  const Bins& bins_;
  Format format_;
  Best* best_;
  double *edges_, *counts_;
};

// start * step^i as the CPU forms it, by multiplying up.
__device__ double multiplied_up(double start, double step, int i) {
  for (int j = 0; j < i; ++j) start *= step;
  return start;
}

__device__ void search(Sweep& sweep, double min, double max, bool symmetric, const Best* best) {
  using S = SearchSteps;
  sweep.attempt(S::kCandidates - 1, [&](int i) {
    const double ratio = multiplied_up(1.0, S::kStep, i + 1);
    return Candidate{min * ratio, max * ratio};
  });
  if (!symmetric && min < 0.0 && max > 0.0) {
    constexpr int kEnds = S::kCoarse + 1;
    sweep.attempt(kEnds * kEnds, [&](int i) {
      const int low = i / kEnds, high = i % kEnds;
      return Candidate{low < S::kCoarse ? multiplied_up(min, S::kCoarseStep, low) : 0.0,
                       high < S::kCoarse ? multiplied_up(max, S::kCoarseStep, high) : 0.0};
    });
    for (int round = 0; round < S::kRounds; ++round) {
      const double before = best->cost, low = best->low;
      sweep.attempt(S::kCandidates + 1, [&](int i) {
        return Candidate{low, i < S::kCandidates ? max * multiplied_up(1.0, S::kStep, i) : 0.0};
      });
      const double high = best->high;
      sweep.attempt(S::kCandidates + 1, [&](int i) {
        return Candidate{i < S::kCandidates ? min * multiplied_up(1.0, S::kStep, i) : 0.0, high};
      });
      if (!(best->cost < before)) break;
    }
  }
  double step = 1.0 / S::kStep - 1.0;
  for (int pass = 0; pass < 2; ++pass, step /= S::kFiner) {
    const double finer = step / S::kFiner, high = best->high, low = best->low;
    sweep.attempt(2 * S::kFiner + 1, [&](int i) {
      const double scaled = high * (1.0 + (i - S::kFiner) * finer);
      const double end = max < scaled ? max : scaled;
      return Candidate{symmetric ? -end : low, end};
    });
    if (symmetric) continue;
    const double taken = best->high;
    sweep.attempt(2 * S::kFiner + 1, [&](int i) {
      const double scaled = low * (1.0 + (i - S::kFiner) * finer);
      return Candidate{scaled < min ? min : scaled, taken};
    });
  }
}

__global__ void __launch_bounds__(kThreads) search_ranges(const dopt_histogram* states, const uint64_t* counts,
                                                          int64_t most_bins, Format format, double* low, double* high,
                                                          double* error) {
  const dopt_histogram* const state = states + blockIdx.x;
  __shared__ Bins bins;
  __shared__ Best best;
  __shared__ double edges[kChunk], values[kChunk];
  if (threadIdx.x == 0) {
    bins = {state, counts + blockIdx.x * most_bins, 0, most_bins};
    while (bins.first < bins.last && bins.counts[bins.first] == 0) ++bins.first;
    while (bins.last > bins.first && bins.counts[bins.last - 1] == 0) --bins.last;
  }
  __syncthreads();
  double min = state->min < 0.0f ? state->min : 0.0, max = state->max > 0.0f ? state->max : 0.0;
  if (format.symmetric) {
    max = -min > max ? -min : max;
    min = -max;
  }
  Sweep sweep(bins, format, &best, edges, values);
  const bool empty = bins.first == bins.last;
  const double whole = empty ? 0.0 : sweep.cost_of({min, max});
  if (threadIdx.x == 0) best = {min, max, whole};
  __syncthreads();
  if (!empty && min != max) search(sweep, min, max, format.symmetric != 0, &best);
  if (threadIdx.x != 0) return;
  low[blockIdx.x] = best.low + 0.0;  // no -0
  high[blockIdx.x] = best.high + 0.0;
  error[blockIdx.x] = best.cost;
}

}  // namespace
}  // namespace dopt::cuda

using namespace dopt::cuda;

extern "C" dopt_status dopt_cuda_range_mse(const dopt_histogram* states, const uint64_t* counts, int64_t bins,
                                           size_t tensors, int32_t bits, int32_t is_signed, int32_t symmetric,
                                           double* low, double* high, double* error, void* stream) {
  const dopt::Format format{bits, is_signed, symmetric};
  if (const dopt_status bad = dopt::check_format(format)) return bad;
  DOPT_REQUIRE(bins >= 8 && bins <= int64_t{1} << 20, "bins is %lld, expected 8 to 1048576",
               static_cast<long long>(bins));
  if (tensors == 0) return DOPT_OK;
  DOPT_REQUIRE(tensors <= INT32_MAX, "%zu tensors are too many", tensors);
  DOPT_REQUIRE(states != nullptr && counts != nullptr && low != nullptr && high != nullptr && error != nullptr,
               "an array is NULL");
  return enqueue({states, counts, low, high, error}, [&] {
    search_ranges<<<static_cast<unsigned>(tensors), kThreads, 0, stream_of(stream)>>>(states, counts, bins, format, low,
                                                                                      high, error);
  });
}
