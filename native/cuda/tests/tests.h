// Groups of tests of the CUDA core, each against the CPU core.
#ifndef DOPT_CUDA_TESTS_TESTS_H_
#define DOPT_CUDA_TESTS_TESTS_H_

#include <random>
#include <vector>

#include "../../tests/check.h"
#include "../../tests/reference.h"
#include "device_array.h"

namespace tests {

void elementwise();
void observers();
void ranges();
void integers();
void grams();
void layers();

// Sizes around the borders of vectors, blocks and launches; a few of them, or all.
std::vector<size_t> sizes(bool all);

// Equal to the last bit.
template <typename T>
bool same(const DeviceArray<T>& there, const std::vector<T>& expected) {
  return there.size() == expected.size() && check::same_bits(there.copy().data(), expected.data(), expected.size());
}

// Largest |a - b| over the largest |b|.
double distance(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace tests

#endif  // DOPT_CUDA_TESTS_TESTS_H_
