// The observer: exact extremes, sums and a histogram that widens by merging pairs, in one pass over memory.
#include "histogram.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels.h"
#include "status.h"
#include "thread_pool.h"

namespace dopt {

BinGrid fit_grid(double min, double max, int64_t bins) noexcept {
  const double magnitude = std::max(std::fabs(min), std::fabs(max));
  if (magnitude == 0.0) return {0.0, 0};
  // At most 2^23 bins between zero and the farthest value: bin indices stay exact in float and int32.
  int exponent = std::max(std::ilogb(magnitude) - 22, -126);
  // No smaller width can do: bins * width must exceed max - min.
  const double needed = (max - min) / static_cast<double>(bins);
  if (needed > 0.0) exponent = std::max(exponent, std::ilogb(needed));
  for (;; ++exponent) {
    const double first = std::floor(std::ldexp(min, -exponent));
    const double last = std::floor(std::ldexp(max, -exponent));
    if (last - first < static_cast<double>(bins)) return {std::ldexp(1.0, exponent), static_cast<int64_t>(first)};
  }
}

dopt_status check_state(const dopt_histogram* state, const char* name) noexcept {
  DOPT_REQUIRE(state != nullptr, "%s is NULL", name);
  DOPT_REQUIRE(state->struct_size == sizeof(dopt_histogram), "%s: struct_size is %zu, expected %zu: call dopt_histogram_init",
               name, state->struct_size, sizeof(dopt_histogram));
  DOPT_REQUIRE(state->bins >= kMinBins && state->bins <= kMaxBins, "%s: bins is %lld, expected %lld to %lld", name,
               static_cast<long long>(state->bins), static_cast<long long>(kMinBins), static_cast<long long>(kMaxBins));
  DOPT_REQUIRE(std::isfinite(state->min) && std::isfinite(state->max) && state->min <= state->max,
               "%s: min %g and max %g are not a range", name, static_cast<double>(state->min),
               static_cast<double>(state->max));
  DOPT_REQUIRE(state->zeros <= state->count, "%s: more zeros than values", name);
  const BinGrid grid = state->count == 0 ? BinGrid{0.0, 0} : fit_grid(state->min, state->max, state->bins);
  DOPT_REQUIRE(state->width == grid.width && state->base == grid.base,
               "%s: width %g and base %lld do not belong to min %g, max %g, bins %lld", name, state->width,
               static_cast<long long>(state->base), static_cast<double>(state->min), static_cast<double>(state->max),
               static_cast<long long>(state->bins));
  return DOPT_OK;
}

namespace {

// Doublings from one width to the other; bin indices have fewer than 63 bits, so more shift the same.
int doublings(double from, double to) { return std::min(std::ilogb(to) - std::ilogb(from), 63); }

// Two interleaved tables, so that runs of equal values do not wait for one another's store, of 16 bits, so that they
// and a block stay in the first-level cache.
constexpr size_t kTables = 2;
constexpr uint64_t kFullTables = kTables * 65535 - kBlock;  // pending values from which a cell could overflow

// Working memory of one thread, kept between calls.
struct Scratch {
  std::vector<uint16_t> tables;  // zero between uses; kTables of bins + kLanes
  std::vector<uint64_t> moved;   // bins
  alignas(64) uint32_t slots[kBlock];
  alignas(64) float clean[kBlock];

  void prepare(int64_t bins) {
    const size_t table = kTables * (static_cast<size_t>(bins) + kLanes);
    if (tables.size() < table) tables.resize(table, 0);
    if (moved.size() < static_cast<size_t>(bins)) moved.resize(static_cast<size_t>(bins));
  }
};

Scratch& scratch() {
  thread_local Scratch instance;
  return instance;
}

// Moves counts of grid `from` to the coarser or shifted grid `to`; bins with counts must fall inside it.
void rebin(uint64_t* counts, int64_t bins, const BinGrid& from, const BinGrid& to, uint64_t* moved) {
  const int shift = from.width == 0.0 ? 0 : doublings(from.width, to.width);
  std::fill(moved, moved + bins, uint64_t{0});
  for (int64_t k = 0; k < bins; ++k) {
    if (counts[k] != 0) moved[((from.base + k) >> shift) - to.base] += counts[k];
  }
  std::memcpy(counts, moved, static_cast<size_t>(bins) * sizeof *counts);
}

// Gives the state the canonical grid of [min, max], which contains its own range.
void widen(dopt_histogram* s, uint64_t* counts, float min, float max, uint64_t* moved) {
  const BinGrid to = fit_grid(min, max, s->bins);
  if (s->width != 0.0 && (to.width != s->width || to.base != s->base)) {
    rebin(counts, s->bins, {s->width, s->base}, to, moved);
  }
  s->width = to.width;
  s->base = to.base;
  s->min = min + 0.0f;  // no -0
  s->max = max + 0.0f;
}

// A function of its own: with the tables' address in thread-local storage the compiler would look it up in each round.
[[gnu::noinline]] void tally(const uint32_t* slots, size_t n, uint16_t* even, size_t stride) {
  uint16_t* odd = even + stride;
  size_t i = 0;
  for (; i + 2 <= n; i += 2) {
    ++even[slots[i]];
    ++odd[slots[i + 1]];
  }
  if (i < n) ++even[slots[i]];
}

// One tensor being added to one state.
class Update {
 public:
  Update(dopt_histogram* state, uint64_t* counts, Scratch& scratch)
      : state_(state), counts_(counts), scratch_(scratch), stride_(static_cast<size_t>(state->bins) + kLanes) {}

  // n <= kBlock.
  void block(const float* x, size_t n) {
    BlockStats stats;
    kernels().block_stats(x, n, &stats);
    size_t replaced = 0;
    if (stats.nonfinite) {
      replaced = replace_nonfinite(x, n, &stats);
      x = scratch_.clean;
    }
    if (replaced == n) return;
    const bool first = state_->count == 0;
    state_->count += n - replaced;
    state_->zeros -= replaced;  // they are counted as zeros below
    state_->sum += stats.sum;
    state_->sum_squares += stats.sum_squares;
    if (first || stats.min < state_->min || stats.max > state_->max) {
      flush();
      widen(state_, counts_, first ? stats.min : std::min(stats.min, state_->min),
            first ? stats.max : std::max(stats.max, state_->max), scratch_.moved.data());
    }
    if (state_->width == 0.0) {  // zeros only so far
      state_->zeros += n;
      return;
    }
    kernels().bin_slots(x, n, static_cast<float>(1.0 / state_->width), static_cast<int32_t>(state_->base),
                        static_cast<int32_t>(state_->bins), scratch_.slots);
    tally(scratch_.slots, n, scratch_.tables.data(), stride_);
    pending_ += n;
    if (pending_ > kFullTables) flush();
  }

  // Adds the tables to the counts and empties them.
  void flush() {
    if (pending_ == 0) return;
    uint16_t *even = scratch_.tables.data(), *odd = even + stride_;
    const size_t bins = stride_ - kLanes;
    for (size_t k = 0; k < bins; ++k) counts_[k] += uint32_t{even[k]} + odd[k];
    for (size_t k = bins; k < stride_; ++k) state_->zeros += uint32_t{even[k]} + odd[k];
    std::memset(even, 0, kTables * stride_ * sizeof *even);
    pending_ = 0;
  }

 private:
  // Copies x with 0 for NaN and infinities, counts those, and computes the block's figures again.
  size_t replace_nonfinite(const float* x, size_t n, BlockStats* stats) {
    float min = INFINITY, max = -INFINITY;
    size_t replaced = 0;
    for (size_t i = 0; i < n; ++i) {
      const bool finite = std::isfinite(x[i]);
      scratch_.clean[i] = finite ? x[i] : 0.0f;
      if (finite) {
        min = std::min(min, x[i]);
        max = std::max(max, x[i]);
      } else {
        ++replaced;
        ++(std::isnan(x[i]) ? state_->nans : state_->infinities);
      }
    }
    kernels().block_stats(scratch_.clean, n, stats);
    stats->min = min;
    stats->max = max;
    return replaced;
  }

  dopt_histogram* state_;
  uint64_t* counts_;
  Scratch& scratch_;
  size_t stride_;
  uint64_t pending_ = 0;
};

void update(dopt_histogram* state, uint64_t* counts, const float* x, size_t n) {
  Scratch& work = scratch();
  work.prepare(state->bins);
  Update update(state, counts, work);
  for (size_t i = 0; i < n; i += kBlock) update.block(x + i, std::min(kBlock, n - i));
  update.flush();
}

struct Batch {
  dopt_histogram* states;
  uint64_t* const* counts;
  const float* const* x;
  const size_t* n;
  std::vector<size_t> order;  // largest first, so that no thread is left with a big one at the end
  std::vector<char> failed;
};

void update_job(void* context, size_t job) {
  Batch& batch = *static_cast<Batch*>(context);
  const size_t i = batch.order[job];
  try {
    const FloatEnvironment environment;  // of the worker
    update(&batch.states[i], batch.counts[i], batch.x[i], batch.n[i]);
  } catch (const std::bad_alloc&) {
    batch.failed[i] = 1;
  }
}

}  // namespace
}  // namespace dopt

extern "C" {

dopt_status dopt_histogram_init(dopt_histogram* state, int64_t bins) {
  DOPT_REQUIRE(state != nullptr, "state is NULL");
  DOPT_REQUIRE(bins >= dopt::kMinBins && bins <= dopt::kMaxBins, "bins is %lld, expected %lld to %lld",
               static_cast<long long>(bins), static_cast<long long>(dopt::kMinBins),
               static_cast<long long>(dopt::kMaxBins));
  *state = dopt_histogram{};
  state->struct_size = sizeof *state;
  state->bins = bins;
  return DOPT_OK;
}

dopt_status dopt_histogram_update(dopt_histogram* state, uint64_t* counts, const float* x, size_t n) {
  return dopt::guarded([&]() -> dopt_status {
    if (const dopt_status bad = dopt::check_state(state, "state")) return bad;
    DOPT_REQUIRE(counts != nullptr, "counts is NULL");
    DOPT_REQUIRE(x != nullptr || n == 0, "x is NULL with %zu values", n);
    if (n != 0) dopt::update(state, counts, x, n);
    return DOPT_OK;
  });
}

dopt_status dopt_histogram_update_many(dopt_histogram* states, uint64_t* const* counts, const float* const* x,
                                       const size_t* n, size_t tensors) {
  return dopt::guarded([&]() -> dopt_status {
    if (tensors == 0) return DOPT_OK;
    DOPT_REQUIRE(states != nullptr && counts != nullptr && x != nullptr && n != nullptr, "an array of %zu tensors is NULL",
                 tensors);
    dopt::Batch batch{states, counts, x, n, {}, std::vector<char>(tensors, 0)};
    for (size_t i = 0; i < tensors; ++i) {
      if (n[i] == 0) continue;
      if (const dopt_status bad = dopt::check_state(&states[i], "states[i]")) return bad;
      DOPT_REQUIRE(counts[i] != nullptr && x[i] != nullptr, "tensor %zu: counts or x is NULL", i);
      batch.order.push_back(i);
    }
    std::stable_sort(batch.order.begin(), batch.order.end(), [n](size_t a, size_t b) { return n[a] > n[b]; });
    dopt::parallel_for(batch.order.size(), dopt::update_job, &batch);
    for (size_t i = 0; i < tensors; ++i) {
      if (batch.failed[i]) return dopt::fail(DOPT_ERROR_MEMORY, "tensor %zu: out of memory", i);
    }
    return DOPT_OK;
  });
}

dopt_status dopt_histogram_merge(dopt_histogram* into, uint64_t* into_counts, const dopt_histogram* from,
                                 const uint64_t* from_counts) {
  return dopt::guarded([&]() -> dopt_status {
    if (const dopt_status bad = dopt::check_state(into, "into")) return bad;
    if (const dopt_status bad = dopt::check_state(from, "from")) return bad;
    DOPT_REQUIRE(into_counts != nullptr && from_counts != nullptr, "counts are NULL");
    DOPT_REQUIRE(into != from && into_counts != from_counts, "a histogram cannot be merged into itself");
    DOPT_REQUIRE(into->bins == from->bins, "into has %lld bins and from %lld", static_cast<long long>(into->bins),
                 static_cast<long long>(from->bins));
    into->nans += from->nans;
    into->infinities += from->infinities;
    if (from->count == 0) return DOPT_OK;
    dopt::Scratch& work = dopt::scratch();
    work.prepare(into->bins);
    const bool first = into->count == 0;
    dopt::widen(into, into_counts, first ? from->min : std::min(into->min, from->min),
                first ? from->max : std::max(into->max, from->max), work.moved.data());
    into->count += from->count;
    into->zeros += from->zeros;
    into->sum += from->sum;
    into->sum_squares += from->sum_squares;
    if (from->width == 0.0) return DOPT_OK;
    const int shift = dopt::doublings(from->width, into->width);
    for (int64_t k = 0; k < into->bins; ++k) {
      if (from_counts[k] != 0) into_counts[((from->base + k) >> shift) - into->base] += from_counts[k];
    }
    return DOPT_OK;
  });
}

}  // extern "C"
