// Observers: extremes, and the histogram that widens, in one pass over memory.
//
// A histogram update takes three kernels on the stream, and no word from the host:
//   tally   reads x once: extremes, sums, and counts on the bins that the state has now
//   settle  one block a tensor: adds the sums up, widens the bins where the extremes ask for it, moves the counts
//   recount reads x again for the values that lay beyond the old bins, and ends at once where there were none
// After the first batches of a calibration the bins seldom widen, so that an update costs one read of x.
//
// Counting: a table a block in shared memory, whose increments the hardware joins for lanes of a warp that meet in a counter.
// Exact zeros, most of what a ReLU gives, are counted in registers. More bins than fit go to global memory. What limits is the
// number of instructions a value: see Slots.
#include <cfloat>
#include <cmath>

#include "bin_grid.h"
#include "values.h"

namespace dopt::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kBatch = 16;  // values that a thread checks together for NaN and infinities
constexpr int kTensors = 32;  // of one launch: their tasks are passed as an argument
constexpr size_t kWorthBlock = size_t{kThreads} * kBatch * 4;

using Count = unsigned long long;

// Of one thread N is 32 bits wide, to save registers, of more 64.
template <typename N>
struct Stats {
  double sum = 0.0, sum_squares = 0.0;
  float min = INFINITY, max = -INFINITY;
  N zeros = 0, nans = 0, infinities = 0;
};

__device__ Stats<Count> join(const Stats<Count>& a, const Stats<Count>& b) {
  return {a.sum + b.sum,     a.sum_squares + b.sum_squares, fminf(a.min, b.min),        fmaxf(a.max, b.max),
          a.zeros + b.zeros, a.nans + b.nans,               a.infinities + b.infinities};
}

__device__ bool finite(float v) { return (__float_as_uint(v) & 0x7fffffffu) < 0x7f800000u; }

// Stats of a few values. A sum of squares of floats cannot overflow a double, so that it tells whether all are finite.
template <int kCount>
__device__ void add_values(const float (&v)[kCount], Stats<unsigned>& s) {
  double sum = 0.0, squares = 0.0;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const double d = v[i];
    sum += d;
    squares = fma(d, d, squares);
  }
  if (squares <= DBL_MAX) {
    s.sum += sum;
    s.sum_squares += squares;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      s.min = fminf(s.min, v[i]);
      s.max = fmaxf(s.max, v[i]);
    }
    return;
  }
  for (int i = 0; i < kCount; ++i) {
    if (!finite(v[i])) {
      ++(isnan(v[i]) ? s.nans : s.infinities);
      continue;
    }
    s.sum += static_cast<double>(v[i]);
    s.sum_squares += static_cast<double>(v[i]) * v[i];
    s.min = fminf(s.min, v[i]);
    s.max = fmaxf(s.max, v[i]);
  }
}

// The bins as a thread needs them: of(v) is the bin of a value, at least `bins` for what lies beyond, NaN and infinities.
//
// floor(v / width) - base in two instructions: an exact product plus 2^23 - base, rounded down, has the bin in its lowest bits
// where its unit is 1, from 2^23 to 2^24. What is smaller, negative, greater or no number has other bits, further away than
// there are bins. A tiny negative value is rounded down to bin -1 as it must be.
struct Slots {
  float inverse, shift;
  uint32_t bins;
  static constexpr uint32_t kOrigin = 0x4b000000u;  // bits of 2^23
  __device__ Slots(const BinGrid& grid, int64_t count)
      : inverse(grid.width > 0.0 ? static_cast<float>(1.0 / grid.width) : 0.0f),
        shift(static_cast<float>((int64_t{1} << 23) - grid.base)),
        bins(grid.width > 0.0 ? static_cast<uint32_t>(count) : 0u) {}
  __device__ uint32_t of(float v) const { return __float_as_uint(__fmaf_rd(v, inverse, shift)) - kOrigin; }
};

// A tensor that is added to a state.
struct Task {
  const void* x;
  size_t n;
  dopt_histogram* state;
  Count* counts;
  Stats<Count>* parts;  // one a block
  Count* fresh;  // bins of what `tally` counted, zero before; then of what `settle` moves
  BinGrid* before;  // the bins that `tally` used; width -1 when nothing lies beyond them
  int blocks;
};

struct Tasks {
  Task each[kTensors];
};

// Counts of one block: in shared memory where `shared`, else straight in `to`.
class Table {
 public:
  __device__ Table(uint32_t* memory, bool shared, int64_t bins, Count* to)
      : table_(memory), shared_(shared), bins_(bins), to_(to) {
    if (!shared) return;
    for (int64_t k = threadIdx.x; k < bins; k += kThreads) memory[k] = 0;
    __syncthreads();
  }
  __device__ void add(uint32_t slot) {
    if (shared_) {
      atomicAdd(table_ + slot, 1u);
    } else {
      atomicAdd(to_ + slot, Count{1});
    }
  }
  __device__ void flush() {
    if (!shared_) return;
    __syncthreads();
    for (int64_t k = threadIdx.x; k < bins_; k += kThreads) {
      if (table_[k] != 0) atomicAdd(to_ + k, Count{table_[k]});
    }
  }

 private:
  uint32_t* table_;
  bool shared_;
  int64_t bins_;
  Count* to_;
};

// body(values) for kBatch values at a time of the block's share of x, and rest(value) for the single ones around them.
template <typename T, typename Body, typename Rest>
__device__ void each_batch(const T* x, size_t n, int blocks, const Body& body, const Rest& rest) {
  constexpr int kVectors = kBatch / Vector<T>::kCount;
  const size_t lead = min(n, (16 - reinterpret_cast<uintptr_t>(x) % 16) % 16 / sizeof(T));
  const auto* const vectors = reinterpret_cast<const Vector<T>*>(x + lead);
  const size_t total = (n - lead) / Vector<T>::kCount, tile = size_t{kThreads} * kVectors;
  const size_t whole = total / tile;
  for (size_t t = blockIdx.x; t < whole; t += blocks) {
    Vector<T> loaded[kVectors];
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      loaded[i] = vectors[t * tile + static_cast<size_t>(i) * kThreads + threadIdx.x];
    }
    float v[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) v[i] = to_float(loaded[i / Vector<T>::kCount].v[i % Vector<T>::kCount]);
    body(v);
  }
  if (blockIdx.x != blocks - 1) return;
  const size_t done = lead + whole * tile * Vector<T>::kCount;
  if (threadIdx.x < lead) rest(to_float(x[threadIdx.x]));
  for (size_t i = done + threadIdx.x; i < n; i += kThreads) rest(to_float(x[i]));
}

extern __shared__ uint32_t g_table[];

template <typename T>
__global__ void __launch_bounds__(kThreads, 2) tally(const __grid_constant__ Tasks tasks, int64_t bins, bool shared) {
  const Task& task = tasks.each[blockIdx.y];
  if (static_cast<int>(blockIdx.x) >= task.blocks) return;
  const Slots slots({task.state->width, task.state->base}, bins);
  Table table(g_table, shared && slots.bins != 0, bins, task.fresh);
  Stats<unsigned> stats;
  const auto count = [&](float v) {
    const uint32_t slot = slots.of(v);
    stats.zeros += v == 0.0f;
    if (v != 0.0f && slot < slots.bins) table.add(slot);
  };
  each_batch(
      static_cast<const T*>(task.x), task.n, task.blocks,
      [&](const float(&v)[kBatch]) {
        add_values(v, stats);
#pragma unroll
        for (int i = 0; i < kBatch; ++i) count(v[i]);
      },
      [&](float v) {
        const float one[1] = {v};
        add_values(one, stats);
        count(v);
      });
  if (slots.bins != 0) table.flush();
  const Stats<Count> mine{stats.sum, stats.sum_squares, stats.min, stats.max, stats.zeros, stats.nans, stats.infinities};
  const Stats<Count> all = join_block<kThreads>(mine, join);
  if (threadIdx.x == 0) task.parts[blockIdx.x] = all;
}

constexpr int kSettleThreads = 1024;

__device__ Stats<Count> sum_parts(const Task& task) {
  Stats<Count> stats;
  for (int b = threadIdx.x; b < task.blocks; b += kSettleThreads) stats = join(stats, task.parts[b]);
  return join_block<kSettleThreads>(stats, join);
}

// Brings a state up to date with what was seen; thread 0 alone. Gives the bins it had and those it has now.
__device__ void add_to_state(dopt_histogram* s, const Stats<Count>& seen, size_t n, BinGrid* from, BinGrid* to) {
  *from = *to = {s->width, s->base};
  s->nans += seen.nans;
  s->infinities += seen.infinities;
  const Count finite = n - seen.nans - seen.infinities;
  if (finite == 0) return;
  const bool first = s->count == 0;
  s->min = (first ? seen.min : fminf(s->min, seen.min)) + 0.0f;  // no -0
  s->max = (first ? seen.max : fmaxf(s->max, seen.max)) + 0.0f;
  s->count += finite;
  s->zeros += seen.zeros;
  s->sum += seen.sum;
  s->sum_squares += seen.sum_squares;
  *to = fit_grid(s->min, s->max, s->bins);
  s->width = to->width;
  s->base = to->base;
}

// Whether a value seen lies beyond bins, which its extremes tell.
__device__ bool beyond(const Stats<Count>& seen, const BinGrid& grid, int64_t bins) {
  if (seen.min > seen.max || (seen.min == 0.0f && seen.max == 0.0f)) return false;
  if (grid.width == 0.0) return true;
  const double first = floor(seen.min / grid.width) - static_cast<double>(grid.base);
  const double last = floor(seen.max / grid.width) - static_cast<double>(grid.base);
  return first < 0.0 || last >= static_cast<double>(bins);
}

__global__ void __launch_bounds__(kSettleThreads) settle(const __grid_constant__ Tasks tasks, int64_t bins, Count* moved) {
  const Task& task = tasks.each[blockIdx.y];
  __shared__ BinGrid from, to;
  const Stats<Count> seen = sum_parts(task);
  if (threadIdx.x == 0) {
    add_to_state(task.state, seen, task.n, &from, &to);
    *task.before = beyond(seen, from, bins) ? from : BinGrid{-1.0, 0};
  }
  __syncthreads();
  if (from.width == 0.0) return;
  Count* const fresh = task.fresh;
  if (from.width == to.width && from.base == to.base) {
    for (int64_t k = threadIdx.x; k < bins; k += kSettleThreads) task.counts[k] += fresh[k];
    return;
  }
  moved += blockIdx.y * bins;
  for (int64_t k = threadIdx.x; k < bins; k += kSettleThreads) moved[k] = 0;
  __syncthreads();
  const int shift = doublings(from.width, to.width);
  for (int64_t k = threadIdx.x; k < bins; k += kSettleThreads) {
    const Count sum = task.counts[k] + fresh[k];
    if (sum != 0) atomicAdd(moved + moved_bin(k, from, to, shift, bins), sum);
  }
  __syncthreads();
  for (int64_t k = threadIdx.x; k < bins; k += kSettleThreads) task.counts[k] = moved[k];
}

template <typename T>
__global__ void __launch_bounds__(kThreads) recount(const __grid_constant__ Tasks tasks, int64_t bins, bool shared) {
  const Task& task = tasks.each[blockIdx.y];
  if (static_cast<int>(blockIdx.x) >= task.blocks || task.before->width < 0.0) return;
  const Slots old(*task.before, bins), slots({task.state->width, task.state->base}, bins);
  Table table(g_table, shared, bins, task.counts);
  const auto count = [&](float v) {
    if (v == 0.0f || !finite(v) || old.of(v) < old.bins) return;
    table.add(slots.of(v));
  };
  each_batch(
      static_cast<const T*>(task.x), task.n, task.blocks,
      [&](const float(&v)[kBatch]) {
#pragma unroll
        for (int i = 0; i < kBatch; ++i) count(v[i]);
      },
      count);
  table.flush();
}

// Where the blocks of a launch put what they found.
struct Workspace {
  Workspace(size_t tensors, int most_blocks, int64_t bins, cudaStream_t stream)
      : parts(tensors * most_blocks, stream),
        before(tensors, stream),
        fresh(tensors * bins, stream),
        moved(tensors * bins, stream) {}
  Scratch<Stats<Count>> parts;
  Scratch<BinGrid> before;
  Scratch<Count> fresh, moved;
};

template <typename T>
void update(const Tasks& tasks, unsigned tensors, unsigned blocks, int64_t bins, Count* moved, cudaStream_t stream) {
  const size_t table = static_cast<size_t>(bins) * sizeof(uint32_t);
  const bool shared = table <= static_cast<size_t>(limits().shared_memory);
  const size_t bytes = shared ? table : 0;
  for (const auto kernel : {tally<T>, recount<T>}) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
          "asking for shared memory");
  }
  const dim3 grid(blocks, tensors);
  tally<T><<<grid, kThreads, bytes, stream>>>(tasks, bins, shared);
  settle<<<dim3(1, tensors), kSettleThreads, 0, stream>>>(tasks, bins, moved);
  recount<T><<<grid, kThreads, bytes, stream>>>(tasks, bins, shared);
}

// Up to kTensors tensors, all of n > 0.
void update_some(dopt_histogram* const* states, uint64_t* const* counts, const void* const* x, const size_t* n,
                 size_t tensors, int64_t bins, int32_t type, cudaStream_t stream) {
  const int most_blocks = limits().multiprocessors * 2;
  const Workspace work(tensors, most_blocks, bins, stream);
  check(cudaMemsetAsync(work.fresh.get(), 0, tensors * bins * sizeof(Count), stream), "clearing counts");
  Tasks tasks{};
  int blocks = 1;
  for (size_t i = 0; i < tensors; ++i) {
    const int wanted = static_cast<int>(std::min<size_t>(most_blocks, (n[i] + kWorthBlock - 1) / kWorthBlock));
    tasks.each[i] = {x[i],
                     n[i],
                     states[i],
                     reinterpret_cast<Count*>(counts[i]),
                     work.parts.get() + i * most_blocks,
                     work.fresh.get() + i * bins,
                     work.before.get() + i,
                     wanted};
    blocks = std::max(blocks, wanted);
  }
  with_type(type, nullptr, [&](auto element) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(element)>>;
    update<T>(tasks, static_cast<unsigned>(tensors), static_cast<unsigned>(blocks), bins, work.moved.get(), stream);
  });
}

dopt_status check_bins(int64_t bins) noexcept {
  DOPT_REQUIRE(bins >= 8 && bins <= int64_t{1} << 20, "bins is %lld, expected 8 to 1048576",
               static_cast<long long>(bins));
  return DOPT_OK;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) extremes_of(const T* x, size_t n, int blocks, float2* parts) {
  float2 e = make_float2(INFINITY, -INFINITY);
  const auto take = [&](float v) {
    e.x = fminf(e.x, finite(v) ? v : INFINITY);
    e.y = fmaxf(e.y, finite(v) ? v : -INFINITY);
  };
  each_batch(
      x, n, blocks,
      [&](const float(&v)[kBatch]) {
        // fminf and fmaxf leave NaN out; infinities show in the result.
        float low = INFINITY, high = -INFINITY;
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
          low = fminf(low, v[i]);
          high = fmaxf(high, v[i]);
        }
        if (finite(low) && finite(high)) {
          e = make_float2(fminf(e.x, low), fmaxf(e.y, high));
        } else {
          for (int i = 0; i < kBatch; ++i) take(v[i]);
        }
      },
      take);
  e = join_block<kThreads>(e, [](float2 a, float2 b) { return make_float2(fminf(a.x, b.x), fmaxf(a.y, b.y)); });
  if (threadIdx.x == 0) parts[blockIdx.x] = e;
}

__global__ void __launch_bounds__(kThreads) join_extremes(const float2* parts, int blocks, float* extremes) {
  float2 e = make_float2(INFINITY, -INFINITY);
  for (int b = threadIdx.x; b < blocks; b += kThreads) {
    e = make_float2(fminf(e.x, parts[b].x), fmaxf(e.y, parts[b].y));
  }
  e = join_block<kThreads>(e, [](float2 a, float2 b) { return make_float2(fminf(a.x, b.x), fmaxf(a.y, b.y)); });
  if (threadIdx.x != 0) return;
  extremes[0] = e.x;
  extremes[1] = e.y;
}

__global__ void start_state(dopt_histogram* state, int64_t bins) {
  *state = dopt_histogram{sizeof(dopt_histogram), bins, 0, 0.0, 0, 0, 0, 0, 0.0f, 0.0f, 0.0, 0.0};
}

// ---- Largest magnitude of each channel: blocks of a channel joined as integers, which order like magnitudes.

// `across` threads go along inner, a power of two; the others take rows of outer side by side.
__global__ void __launch_bounds__(kThreads) absmax_of(const float* w, size_t outer, size_t channels, size_t inner, unsigned across,
                                                      unsigned* largest) {
  const size_t c = blockIdx.x, down = kThreads / across;
  unsigned top = 0;
  // Blocks of a channel share its rows where there are several, else the row itself.
  const bool by_rows = outer > 1;
  const size_t o_step = by_rows ? down * gridDim.y : down, i_step = by_rows ? across : size_t{across} * gridDim.y;
  for (size_t o = (by_rows ? blockIdx.y * down : 0) + threadIdx.x / across; o < outer; o += o_step) {
    const float* const row = w + (o * channels + c) * inner;
#pragma unroll 8
    for (size_t i = (by_rows ? 0 : size_t{blockIdx.y} * across) + threadIdx.x % across; i < inner; i += i_step) {
      const unsigned m = __float_as_uint(row[i]) & 0x7fffffffu;
      top = m < 0x7f800000u ? max(top, m) : top;
    }
  }
  top = join_block<kThreads>(top, [](unsigned a, unsigned b) { return max(a, b); });
  if (threadIdx.x == 0 && top != 0) atomicMax(largest + c, top);
}

// ---- Sums that compare two tensors

struct Errors {
  double signal, noise, dot, power;
};

__device__ Errors add_errors(const Errors& a, const Errors& b) {
  return {a.signal + b.signal, a.noise + b.noise, a.dot + b.dot, a.power + b.power};
}

__global__ void __launch_bounds__(kThreads) sum_errors(const float* a, const float* b, size_t n, Errors* parts) {
  Errors e{};
  for (size_t i = size_t{blockIdx.x} * kThreads + threadIdx.x; i < n; i += size_t{gridDim.x} * kThreads) {
    const double va = a[i], vb = b[i];
    const double d = va - vb;
    e = {fma(va, va, e.signal), fma(d, d, e.noise), fma(va, vb, e.dot), fma(vb, vb, e.power)};
  }
  e = join_block<kThreads>(e, add_errors);
  if (threadIdx.x == 0) parts[blockIdx.x] = e;
}

__global__ void __launch_bounds__(kThreads) join_errors(const Errors* parts, int blocks, double* sums) {
  Errors e{};
  for (int b = threadIdx.x; b < blocks; b += kThreads) e = add_errors(e, parts[b]);
  e = join_block<kThreads>(e, add_errors);
  if (threadIdx.x != 0) return;
  sums[0] = e.signal;
  sums[1] = e.noise;
  sums[2] = e.dot;
  sums[3] = e.power;
}

}  // namespace
}  // namespace dopt::cuda

using namespace dopt::cuda;

extern "C" {

dopt_status dopt_cuda_min_max(const void* x, int32_t type, size_t n, float* extremes, void* stream) {
  if (const dopt_status bad = check_type(type)) return bad;
  DOPT_REQUIRE(extremes != nullptr && (x != nullptr || n == 0), "x or extremes is NULL with %zu values", n);
  return enqueue({extremes, x}, [&] {
    const cudaStream_t s = stream_of(stream);
    const int most = limits().multiprocessors * 4;
    const int blocks = static_cast<int>(std::min<size_t>(most, 1 + n / kWorthBlock));
    const Scratch<float2> parts(blocks, s);
    with_type(type, x, [&](auto* values) {
      extremes_of<<<blocks, kThreads, 0, s>>>(values, n, blocks, parts.get());
    });
    join_extremes<<<1, kThreads, 0, s>>>(parts.get(), blocks, extremes);
  });
}

dopt_status dopt_cuda_histogram_init(dopt_histogram* state, uint64_t* counts, int64_t bins, void* stream) {
  DOPT_REQUIRE(state != nullptr && counts != nullptr, "state or counts is NULL");
  if (const dopt_status bad = check_bins(bins)) return bad;
  return enqueue({state, counts}, [&] {
    check(cudaMemsetAsync(counts, 0, bins * sizeof *counts, stream_of(stream)), "clearing counts");
    start_state<<<1, 1, 0, stream_of(stream)>>>(state, bins);
  });
}

dopt_status dopt_cuda_histogram_update(dopt_histogram* state, uint64_t* counts, int64_t bins, const void* x,
                                       int32_t type, size_t n, void* stream) {
  return dopt_cuda_histogram_update_many(state, counts, bins, &x, type, &n, 1, stream);
}

dopt_status dopt_cuda_histogram_update_many(dopt_histogram* states, uint64_t* counts, int64_t bins,
                                            const void* const* x, int32_t type, const size_t* n, size_t tensors,
                                            void* stream) {
  if (const dopt_status bad = check_type(type)) return bad;
  if (const dopt_status bad = check_bins(bins)) return bad;
  if (tensors == 0) return DOPT_OK;
  DOPT_REQUIRE(states != nullptr && counts != nullptr && x != nullptr && n != nullptr, "an array of %zu tensors is NULL",
               tensors);
  for (size_t i = 0; i < tensors; ++i) DOPT_REQUIRE(x[i] != nullptr || n[i] == 0, "tensor %zu: x is NULL", i);
  return enqueue({states, counts}, [&] {
    dopt_histogram* some_states[kTensors];
    uint64_t* some_counts[kTensors];
    const void* some_x[kTensors];
    size_t some_n[kTensors], filled = 0;
    for (size_t i = 0; i <= tensors; ++i) {
      if (filled == kTensors || (i == tensors && filled > 0)) {
        update_some(some_states, some_counts, some_x, some_n, filled, bins, type, stream_of(stream));
        filled = 0;
      }
      if (i == tensors || n[i] == 0) continue;
      some_states[filled] = states + i;
      some_counts[filled] = counts + i * bins;
      some_x[filled] = x[i];
      some_n[filled++] = n[i];
    }
  });
}

dopt_status dopt_cuda_channel_absmax(const float* w, size_t outer, size_t channels, size_t inner, float* absmax,
                                     void* stream) {
  size_t rows = 0, n = 0;
  DOPT_REQUIRE(!__builtin_mul_overflow(outer, channels, &rows) && !__builtin_mul_overflow(rows, inner, &n),
               "%zu x %zu x %zu values are too many", outer, channels, inner);
  DOPT_REQUIRE((w != nullptr || n == 0) && (absmax != nullptr || channels == 0), "an array is NULL with %zu values", n);
  DOPT_REQUIRE(channels <= INT32_MAX, "%zu channels are too many", channels);
  if (channels == 0) return DOPT_OK;
  return enqueue({absmax, w}, [&] {
    check(cudaMemsetAsync(absmax, 0, channels * sizeof *absmax, stream_of(stream)), "clearing magnitudes");
    if (n == 0) return;
    const unsigned slices = std::min(64u, blocks_for(outer * inner, size_t{kThreads} * 32));
    const dim3 grid(static_cast<unsigned>(channels), slices);
    unsigned across = 1;
    while (across < kThreads && across < inner) across *= 2;
    absmax_of<<<grid, kThreads, 0, stream_of(stream)>>>(w, outer, channels, inner, across,
                                                        reinterpret_cast<unsigned*>(absmax));
  });
}

dopt_status dopt_cuda_error_sums(const float* a, const float* b, size_t n, double* sums, void* stream) {
  DOPT_REQUIRE((a != nullptr && b != nullptr) || n == 0, "a or b is NULL with %zu values", n);
  DOPT_REQUIRE(sums != nullptr, "sums is NULL");
  return enqueue({sums, a, b}, [&] {
    const cudaStream_t s = stream_of(stream);
    const int blocks = static_cast<int>(std::min<size_t>(limits().multiprocessors * 4, 1 + n / kWorthBlock));
    const Scratch<Errors> parts(blocks, s);
    sum_errors<<<blocks, kThreads, 0, s>>>(a, b, n, parts.get());
    join_errors<<<1, kThreads, 0, s>>>(parts.get(), blocks, sums);
  });
}

}  // extern "C"
