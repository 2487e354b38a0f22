// The observer: exact extremes, sums and counts in one pass over memory.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "histogram.h"
#include "kernels.h"
#include "status.h"
#include "thread_pool.h"

namespace dopt {
namespace {

// Two interleaved tables, so that runs of equal values do not wait for one another's store, of 16 bits, so that they
// and a block stay in the first-level cache.
constexpr size_t kTables = 2;
constexpr uint64_t kFullTables = kTables * 65535 - kBlock;  // pending values from which a cell could overflow

// Working memory of one thread, kept between calls.
struct Scratch {
  std::vector<uint16_t> tables;  // zero between uses; kTables of bins + kLanes
  std::vector<uint64_t> moved;   // for widen()
  alignas(64) uint32_t slots[kBlock];
  alignas(64) float clean[kBlock];

  void prepare(int64_t bins) {
    const size_t table = kTables * (static_cast<size_t>(bins) + kLanes);
    if (tables.size() < table) tables.resize(table, 0);
  }
};

Scratch& scratch() {
  thread_local Scratch instance;
  return instance;
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

constexpr size_t kWorthThreads = 64 * 1024;  // values in all; waking a thread takes as long as about this many

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
            first ? stats.max : std::max(stats.max, state_->max), &scratch_.moved);
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
    DOPT_REQUIRE(states != nullptr && counts != nullptr && x != nullptr && n != nullptr,
                 "an array of %zu tensors is NULL", tensors);
    dopt::Batch batch{states, counts, x, n, {}, std::vector<char>(tensors, 0)};
    for (size_t i = 0; i < tensors; ++i) {
      if (n[i] == 0) continue;
      if (const dopt_status bad = dopt::check_state(&states[i], "states[i]")) return bad;
      DOPT_REQUIRE(counts[i] != nullptr && x[i] != nullptr, "tensor %zu: counts or x is NULL", i);
      batch.order.push_back(i);
    }
    size_t total = 0;
    for (const size_t i : batch.order) total += n[i];
    std::stable_sort(batch.order.begin(), batch.order.end(), [n](size_t a, size_t b) { return n[a] > n[b]; });
    if (total < dopt::kWorthThreads) {
      for (size_t job = 0; job < batch.order.size(); ++job) dopt::update_job(&batch, job);
    } else {
      dopt::parallel_for(batch.order.size(), dopt::update_job, &batch);
    }
    for (size_t i = 0; i < tensors; ++i) {
      if (batch.failed[i]) return dopt::fail(DOPT_ERROR_MEMORY, "tensor %zu: out of memory", i);
    }
    return DOPT_OK;
  });
}

}  // extern "C"
