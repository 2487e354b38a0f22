// Range sweeps against numerical integration, a literal divergence and a dense grid of clips.
#include <algorithm>
#include <limits>

#include "check.h"
#include "reference.h"

namespace {

struct Format {
  int32_t bits, is_signed, symmetric;
};
constexpr Format kFormats[] = {{8, 0, 0}, {8, 1, 0}, {8, 1, 1}, {4, 0, 0}, {2, 1, 1}, {16, 1, 1}};

struct Bounds {
  int32_t qmin, qmax;
};

Bounds bounds_of(const Format& f) {
  const int32_t top = (1 << (f.bits - 1)) - 1;
  if (f.symmetric) return {-top, top};
  return f.is_signed ? Bounds{-top - 1, top} : Bounds{0, 2 * top + 1};
}

double error_of(const reference::Histogram& h, double low, double high, const Format& f) {
  double error = -1.0;
  CHECK(dopt_range_error(&h.state, h.counts.data(), low, high, f.bits, f.is_signed, f.symmetric, &error) == DOPT_OK);
  return error;
}

std::vector<reference::Histogram> histograms() {
  std::mt19937 random(9);
  std::vector<reference::Histogram> all;
  for (const reference::Kind kind : {reference::Kind::kNormal, reference::Kind::kRelu, reference::Kind::kNarrow}) {
    all.push_back(reference::histogram(reference::values(kind, 20000, random), 512));
  }
  // Ends that want different clips: an even spread on one side, a few far values on the other.
  std::vector<float> lopsided = reference::values(reference::Kind::kNormal, 20000, random);
  for (float& v : lopsided) v = v < -3.5f ? 10.0f * v : std::fmod(std::fabs(v), 1.0f);
  all.push_back(reference::histogram(lopsided, 1024));
  std::vector<float> silu = reference::values(reference::Kind::kNormal, 20000, random), heavy = silu;
  for (float& v : silu) v = 4.0f * v / (1.0f + std::exp(-4.0f * v));
  for (float& v : heavy) v = v * v * v;
  all.push_back(reference::histogram(silu, 2048));
  all.push_back(reference::histogram(heavy, 2048));
  for (float& v : heavy) v = -std::fabs(v);
  all.push_back(reference::histogram(heavy, 300));
  return all;
}

// Narrower and wider than the data, finer and coarser than a bin.
void error_is_the_integral() {
  for (const reference::Histogram& h : histograms()) {
    for (const Format& f : kFormats) {
      for (const double part : {1.3, 1.0, 0.4, 0.03}) {
        const double low = std::min(0.0, part * h.state.min), high = std::max(0.0, 0.9 * part * h.state.max);
        float scale = 0.0f;
        int32_t zero_point = 0;
        CHECK(dopt_quant_params(low, high, f.bits, f.is_signed, f.symmetric, &scale, &zero_point) == DOPT_OK);
        const Bounds b = bounds_of(f);
        const double expected = reference::range_error(h.state, h.counts, scale, zero_point, b.qmin, b.qmax);
        // With 16 bits the points of the integration are as far apart as the steps.
        CHECK_NEAR(error_of(h, low, high, f), expected, f.bits == 16 ? 0.2 : 2e-3);
      }
    }
  }
}

void mse_is_best_of_a_dense_grid() {
  for (const reference::Histogram& h : histograms()) {
    // Far from zero and narrower than a step, what counts is whether a level happens to fall into the data.
    if (h.state.max - h.state.min < 0.01 * h.state.max) continue;
    for (const Format& f : kFormats) {
      double low = 1.0, high = -1.0, error = -1.0;
      CHECK(dopt_range_mse(&h.state, h.counts.data(), f.bits, f.is_signed, f.symmetric, &low, &high, &error) ==
            DOPT_OK);
      CHECK(low <= 0.0 && high >= 0.0 && (!f.symmetric || low == -high));
      CHECK(error == error_of(h, low, high, f));
      double best = error_of(h, h.state.min, h.state.max, f);
      CHECK(error <= best);
      for (int i = 0; i <= 40; ++i) {
        for (int j = 0; j <= 40; ++j) {
          const double from = std::min(0.0, h.state.min * i / 40.0), to = std::max(0.0, h.state.max * j / 40.0);
          best = std::min(best, error_of(h, from, to, f));
        }
      }
      CHECK(error <= best * 1.001);
    }
  }
}

void entropy_is_the_divergence() {
  for (const reference::Histogram& h : histograms()) {
    for (const Format& f : kFormats) {
      double low = 1.0, high = -1.0, error = -1.0;
      CHECK(dopt_range_entropy(&h.state, h.counts.data(), f.bits, f.is_signed, f.symmetric, &low, &high, &error) ==
            DOPT_OK);
      CHECK(low <= 0.0 && high >= 0.0 && (!f.symmetric || low == -high));
      float scale = 0.0f;
      int32_t zero_point = 0;
      CHECK(dopt_quant_params(low, high, f.bits, f.is_signed, f.symmetric, &scale, &zero_point) == DOPT_OK);
      const Bounds b = bounds_of(f);
      const auto literal = [&](double from, double to) {
        float s = 0.0f;
        int32_t z = 0;
        CHECK(dopt_quant_params(from, to, f.bits, f.is_signed, f.symmetric, &s, &z) == DOPT_OK);
        const bool whole = from <= h.state.min && to >= h.state.max;
        return reference::divergence(h.state, h.counts, s, b.qmin - z, b.qmax - z, whole);
      };
      CHECK(check::near(error, literal(low, high), 1e-9, 1e-12));
      CHECK(error <= literal(f.symmetric ? -std::max(-h.state.min, h.state.max) : double(h.state.min),
                             f.symmetric ? std::max(-h.state.min, h.state.max) : double(h.state.max)) +
                         1e-12);
    }
  }
}

void percentile_matches_sorted_values() {
  std::mt19937 random(10);
  for (const reference::Kind kind : {reference::Kind::kNormal, reference::Kind::kRelu}) {
    std::vector<float> x = reference::values(kind, 50000, random);
    const reference::Histogram h = reference::histogram(x, 2048);
    std::sort(x.begin(), x.end());
    for (const double fraction : {0.9, 0.99, 0.999, 1.0}) {
      double low = 1.0, high = -1.0;
      CHECK(dopt_range_percentile(&h.state, h.counts.data(), fraction, &low, &high) == DOPT_OK);
      const size_t cut = static_cast<size_t>((1.0 - fraction) / 2.0 * static_cast<double>(x.size()));
      CHECK(std::fabs(low - std::min(0.0f, x[cut])) <= h.state.width + 0.02 * (cut == 0 ? 0.0 : 1.0));
      CHECK(std::fabs(high - std::max(0.0f, x[x.size() - 1 - cut])) <= h.state.width + 0.02 * (cut == 0 ? 0.0 : 1.0));
      if (fraction == 1.0) CHECK(low == std::min(0.0f, x.front()) && high == x.back());
    }
  }
}

void params() {
  float scale = 0.0f;
  int32_t zero_point = -1;
  CHECK(dopt_quant_params(-1.0, 3.0, 8, 0, 0, &scale, &zero_point) == DOPT_OK);
  CHECK(scale == static_cast<float>(4.0 / 255.0) && zero_point == 64);
  CHECK(dopt_quant_params(-1.0, 3.0, 8, 1, 0, &scale, &zero_point) == DOPT_OK);
  CHECK(scale == static_cast<float>(4.0 / 255.0) && zero_point == -64);
  CHECK(dopt_quant_params(-1.0, 3.0, 8, 1, 1, &scale, &zero_point) == DOPT_OK);
  CHECK(scale == static_cast<float>(3.0 / 127.0) && zero_point == 0);
  CHECK(dopt_quant_params(2.0, 3.0, 8, 0, 0, &scale, &zero_point) == DOPT_OK);  // extended to zero
  CHECK(scale == static_cast<float>(3.0 / 255.0) && zero_point == 0);
  CHECK(dopt_quant_params(-3.0, -2.0, 8, 0, 0, &scale, &zero_point) == DOPT_OK);
  CHECK(scale == static_cast<float>(3.0 / 255.0) && zero_point == 255);
  CHECK(dopt_quant_params(0.0, 0.0, 8, 0, 0, &scale, &zero_point) == DOPT_OK);
  CHECK(scale == 1.0f && zero_point == 0);
  CHECK(dopt_quant_params(0.0, 1e-44, 8, 0, 0, &scale, &zero_point) == DOPT_OK);
  CHECK(scale == std::numeric_limits<float>::min());
  CHECK(dopt_quant_params(0.0, 1.0, 8, 0, 1, &scale, &zero_point) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_quant_params(0.0, NAN, 8, 0, 0, &scale, &zero_point) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_quant_params(1.0, 0.0, 8, 0, 0, &scale, &zero_point) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_quant_params(0.0, 1.0, 17, 0, 0, &scale, &zero_point) == DOPT_ERROR_ARGUMENT);
}

void empty_and_degenerate() {
  std::mt19937 random(11);
  for (const reference::Kind kind : {reference::Kind::kZeros, reference::Kind::kConstant, reference::Kind::kDenormal}) {
    for (const size_t n : {0, 1, 50}) {
      const reference::Histogram h = reference::histogram(reference::values(kind, n, random), 64);
      for (const Format& f : kFormats) {
        double low = 1.0, high = -1.0, error = -1.0;
        CHECK(dopt_range_mse(&h.state, h.counts.data(), f.bits, f.is_signed, f.symmetric, &low, &high, &error) ==
              DOPT_OK);
        CHECK(low <= 0.0 && high >= 0.0 && std::isfinite(error) && error >= 0.0);
        CHECK(dopt_range_entropy(&h.state, h.counts.data(), f.bits, f.is_signed, f.symmetric, &low, &high, &error) ==
              DOPT_OK);
        CHECK(low <= 0.0 && high >= 0.0 && std::isfinite(error));
        CHECK(dopt_range_percentile(&h.state, h.counts.data(), 0.999, &low, &high) == DOPT_OK);
        CHECK(low <= 0.0 && high >= 0.0 && low >= std::min(0.0f, h.state.min) && high <= std::max(0.0f, h.state.max));
        if (n == 0 || kind == reference::Kind::kZeros) CHECK(low == 0.0 && high == 0.0);
      }
    }
  }
  reference::Histogram h = reference::histogram({1.0f, 2.0f}, 64);
  double low, high;
  CHECK(dopt_range_percentile(&h.state, h.counts.data(), 0.0, &low, &high) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_range_percentile(&h.state, nullptr, 0.9, &low, &high) == DOPT_ERROR_ARGUMENT);
}

}  // namespace

int main() {
  error_is_the_integral();
  mse_is_best_of_a_dense_grid();
  entropy_is_the_divergence();
  percentile_matches_sorted_values();
  params();
  empty_and_degenerate();
  return check::result("test_range");
}
