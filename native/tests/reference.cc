#include "reference.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>

namespace reference {

Histogram histogram(const std::vector<float>& values, int64_t bins) {
  Histogram h{{}, std::vector<uint64_t>(static_cast<size_t>(bins), 0)};
  dopt_histogram& s = h.state;
  s.struct_size = sizeof s;
  s.bins = bins;
  for (const float v : values) {
    if (std::isnan(v)) {
      ++s.nans;
    } else if (std::isinf(v)) {
      ++s.infinities;
    } else {
      s.min = s.count == 0 ? v : std::min(s.min, v);
      s.max = s.count == 0 ? v : std::max(s.max, v);
      ++s.count;
      s.zeros += v == 0.0f;
      s.sum += v;
      s.sum_squares += static_cast<double>(v) * v;
    }
  }
  s.min += 0.0f;
  s.max += 0.0f;
  const double magnitude = std::max(std::fabs(double(s.min)), std::fabs(double(s.max)));
  if (magnitude == 0.0) return h;
  // Every power of two from the smallest allowed: 2^-126, or 2^-23 of the magnitude rounded down.
  for (int e = -126;; ++e) {
    const double width = std::ldexp(1.0, e);
    if (magnitude / width >= std::ldexp(1.0, 23)) continue;
    if (std::floor(s.max / width) - std::floor(s.min / width) >= static_cast<double>(bins)) continue;
    s.width = width;
    break;
  }
  s.base = static_cast<int64_t>(std::floor(s.min / s.width));
  for (const float v : values) {
    if (!std::isfinite(v) || v == 0.0f) continue;
    ++h.counts[static_cast<size_t>(static_cast<int64_t>(std::floor(v / s.width)) - s.base)];
  }
  return h;
}

int32_t quantize(float x, float scale, int32_t zero_point, int32_t qmin, int32_t qmax) {
  if (std::isnan(x)) return zero_point;
  volatile float quotient = x / scale;
  if (std::isnan(quotient)) return zero_point;
  const double q = std::nearbyint(static_cast<double>(quotient)) + zero_point;
  return static_cast<int32_t>(std::min(std::max(q, double(qmin)), double(qmax)));
}

double range_error(const dopt_histogram& state, const std::vector<uint64_t>& counts, float scale, int32_t zero_point,
                   int32_t qmin, int32_t qmax) {
  constexpr int kPoints = 2000;
  double sum = 0.0;
  for (size_t k = 0; k < counts.size(); ++k) {
    if (counts[k] == 0) continue;
    const double low = std::max(double(state.base + int64_t(k)) * state.width, double(state.min));
    const double high = std::min(double(state.base + int64_t(k) + 1) * state.width, double(state.max));
    double bin = 0.0;
    for (int p = 0; p < kPoints; ++p) {
      const double x = low + (high - low) * (p + 0.5) / kPoints;
      const double q = std::min(std::max(std::nearbyint(x / scale) + zero_point, double(qmin)), double(qmax));
      const double d = x - (q - zero_point) * scale;
      bin += d * d;
    }
    sum += static_cast<double>(counts[k]) * bin / kPoints;
  }
  return state.count == 0 ? 0.0 : sum / static_cast<double>(state.count);
}

double divergence(const dopt_histogram& state, const std::vector<uint64_t>& counts, float scale, int32_t lowest,
                  int32_t highest, bool whole) {
  std::vector<double> p, centres;
  for (size_t k = 0; k < counts.size(); ++k) {
    const double low = std::max(double(state.base + int64_t(k)) * state.width, double(state.min));
    const double high = std::min(double(state.base + int64_t(k) + 1) * state.width, double(state.max));
    p.push_back(static_cast<double>(counts[k]));
    centres.push_back(0.5 * (low + high));
  }
  // Bins without values at the ends are no part of the distribution.
  while (!p.empty() && p.back() == 0.0) p.pop_back();
  size_t start = 0, end = p.size();
  while (start < end && p[start] == 0.0) ++start;
  const size_t first = start;
  if (!whole) {
    while (start < end && centres[start] < (lowest - 0.5) * scale) ++start;
    while (end > start && centres[end - 1] >= (highest + 0.5) * scale) --end;
  }
  if (start == end) return std::numeric_limits<double>::infinity();
  std::vector<double> clipped(p.begin() + static_cast<long>(start), p.begin() + static_cast<long>(end));
  std::vector<double> folded = clipped;
  for (size_t k = first; k < start; ++k) folded.front() += p[k];
  for (size_t k = end; k < p.size(); ++k) folded.back() += p[k];

  std::vector<double> q(clipped.size(), 0.0);
  for (size_t i = 0; i < clipped.size();) {
    const auto level = [&](size_t at) {
      return std::min(std::floor(centres[start + at] / scale + 0.5), double(highest));
    };
    size_t j = i;
    double mass = 0.0, filled = 0.0;
    for (; j < clipped.size() && level(j) == level(i); ++j) {
      mass += clipped[j];
      filled += folded[j] > 0.0 ? 1.0 : 0.0;
    }
    for (size_t t = i; t < j; ++t) q[t] = folded[t] > 0.0 ? mass / filled : 0.0;
    i = j;
  }
  double p_total = 0.0, q_total = 0.0, sum = 0.0;
  for (size_t i = 0; i < q.size(); ++i) {
    p_total += folded[i];
    q_total += q[i];
  }
  for (size_t i = 0; i < q.size(); ++i) {
    if (folded[i] > 0.0) sum += folded[i] / p_total * std::log((folded[i] / p_total) / (q[i] / q_total));
  }
  return sum;
}

std::vector<size_t> sizes() {
  std::vector<size_t> all;
  for (size_t n = 0; n <= 70; ++n) all.push_back(n);
  for (const size_t n : {127, 128, 129, 2047, 2048, 2049, 2063, 2065, 4096, 6151}) all.push_back(n);
  return all;
}

std::vector<float> values(Kind kind, size_t n, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::uniform_int_distribution<uint32_t> bits;
  std::uniform_int_distribution<int> pick(0, 15);
  constexpr float kSpecials[] = {NAN,      INFINITY,     -INFINITY,     0.0f,    -0.0f,   FLT_MAX,
                                 -FLT_MAX, FLT_TRUE_MIN, -FLT_TRUE_MIN, FLT_MIN, -FLT_MIN};
  std::vector<float> x(n);
  for (float& v : x) {
    const float g = normal(random);
    switch (kind) {
      case Kind::kNormal:
        v = g;
        break;
      case Kind::kRelu:
        v = g > 0.0f ? g : 0.0f;
        break;
      case Kind::kWide:
        v = std::ldexp(g, static_cast<int>(bits(random) % 60) - 30);
        break;
      case Kind::kSpecial:
        v = pick(random) < 11 ? kSpecials[pick(random) % 11] : g;
        break;
      case Kind::kDenormal:
        v = std::ldexp(g, -140);
        break;
      case Kind::kZeros:
        v = pick(random) < 8 ? 0.0f : -0.0f;
        break;
      case Kind::kConstant:
        v = -3.7f;
        break;
      case Kind::kNarrow:
        v = 1000.0f + 1e-3f * g;
        break;
    }
  }
  return x;
}

}  // namespace reference
