// Slow, obvious versions of the kernels, and the inputs they are compared on.
#ifndef DOPT_TESTS_REFERENCE_H_
#define DOPT_TESTS_REFERENCE_H_

#include <cstdint>
#include <random>
#include <vector>

#include "dopt.h"

namespace reference {

// What a histogram of `bins` bins over `values` must hold, straight from the description in dopt.h.
struct Histogram {
  dopt_histogram state;
  std::vector<uint64_t> counts;
};
Histogram histogram(const std::vector<float>& values, int64_t bins);

// One value of ONNX QuantizeLinear.
int32_t quantize(float x, float scale, int32_t zero_point, int32_t qmin, int32_t qmax);

// Mean squared error of quantizing, by summing over many points of every bin.
double range_error(const dopt_histogram& state, const std::vector<uint64_t>& counts, float scale, int32_t zero_point,
                   int32_t qmin, int32_t qmax);

// Kullback-Leibler divergence of a clip, written with whole arrays for P and Q as in NVIDIA's slides, the tails folded
// on both sides. Infinity where Q is 0 under P.
double divergence(const dopt_histogram& state, const std::vector<uint64_t>& counts, float scale, int32_t lowest,
                  int32_t highest, bool whole);

// Sizes around the borders of lanes, blocks and tables.
std::vector<size_t> sizes();

enum class Kind { kNormal, kRelu, kWide, kSpecial, kDenormal, kZeros, kConstant, kNarrow };
constexpr Kind kKinds[] = {Kind::kNormal,   Kind::kRelu,  Kind::kWide,     Kind::kSpecial,
                           Kind::kDenormal, Kind::kZeros, Kind::kConstant, Kind::kNarrow};

// n floats of a kind: kSpecial has NaN, infinities, -0 and the largest and smallest floats among ordinary ones.
std::vector<float> values(Kind kind, size_t n, std::mt19937& random);

}  // namespace reference

#endif  // DOPT_TESTS_REFERENCE_H_
