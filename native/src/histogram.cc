// States of the widening histogram: checks, moving counts to wider bins, merging.
#include "histogram.h"

#include <algorithm>
#include <cmath>

#include "status.h"

namespace dopt {
namespace {

// Adds the counts of grid `from` to those of grid `to`.
void add_counts(uint64_t* into, const BinGrid& to, const uint64_t* counts, const BinGrid& from, int64_t bins) {
  const int shift = doublings(from.width, to.width);
  for (int64_t k = 0; k < bins; ++k) {
    if (counts[k] != 0) into[moved_bin(k, from, to, shift, bins)] += counts[k];
  }
}

}  // namespace

dopt_status check_state(const dopt_histogram* state, const char* name) noexcept {
  DOPT_REQUIRE(state != nullptr, "%s is NULL", name);
  DOPT_REQUIRE(state->struct_size == sizeof(dopt_histogram),
               "%s: struct_size is %zu, expected %zu: call dopt_histogram_init", name, state->struct_size,
               sizeof(dopt_histogram));
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

void widen(dopt_histogram* s, uint64_t* counts, float min, float max, std::vector<uint64_t>* moved) {
  const BinGrid to = fit_grid(min, max, s->bins);
  if (s->width != 0.0 && (to.width != s->width || to.base != s->base)) {
    moved->assign(static_cast<size_t>(s->bins), 0);
    add_counts(moved->data(), to, counts, {s->width, s->base}, s->bins);
    std::copy(moved->begin(), moved->end(), counts);
  }
  s->width = to.width;
  s->base = to.base;
  s->min = min + 0.0f;  // no -0
  s->max = max + 0.0f;
}

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
    std::vector<uint64_t> moved;
    const bool first = into->count == 0;
    dopt::widen(into, into_counts, first ? from->min : std::min(into->min, from->min),
                first ? from->max : std::max(into->max, from->max), &moved);
    into->count += from->count;
    into->zeros += from->zeros;
    into->sum += from->sum;
    into->sum_squares += from->sum_squares;
    if (from->width == 0.0) return DOPT_OK;
    dopt::add_counts(into_counts, {into->width, into->base}, from_counts, {from->width, from->base}, into->bins);
    return DOPT_OK;
  });
}

}  // extern "C"
