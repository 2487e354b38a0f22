// The widening histogram and checks shared by the observers and the sweeps.
#ifndef DOPT_SRC_HISTOGRAM_H_
#define DOPT_SRC_HISTOGRAM_H_

#include <vector>

#include "bin_grid.h"
#include "dopt.h"

namespace dopt {

constexpr int64_t kMinBins = 8, kMaxBins = int64_t{1} << 20;

// Whether a state came out of dopt_histogram_init and has not been damaged since; fails with the reason.
dopt_status check_state(const dopt_histogram* state, const char* name) noexcept;

// Gives a state and its counts the canonical grid of [min, max], which contains its own range. `moved` is working
// memory. Throws std::bad_alloc.
void widen(dopt_histogram* state, uint64_t* counts, float min, float max, std::vector<uint64_t>* moved);

}  // namespace dopt

#endif  // DOPT_SRC_HISTOGRAM_H_
