// Weights in groups: scales, rounding and refinement of rows, against direct formulations.
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "check.h"
#include "dopt.h"
#include "kernels.h"
#include "matrix.h"

namespace {

using Doubles = std::vector<double>;
using Floats = std::vector<float>;
using Integers = std::vector<int8_t>;

constexpr int kMin = -8, kMax = 7;

// A linear with correlated inputs.
struct Problem {
  size_t outputs, inputs, span, groups;
  dopt_layer layer;
  Floats weights;
  Doubles gram, target, factor, importance;
  std::vector<int64_t> order;

  Problem(size_t o, size_t k, size_t s, std::mt19937& random) : outputs(o), inputs(k), span(s), groups((k + s - 1) / s) {
    std::normal_distribution<double> draw;
    layer = {sizeof(dopt_layer), 1, int64_t(o), int64_t(k), int64_t(s), kMin, kMax, 0};
    weights.resize(o * k);
    for (float& w : weights) w = float(draw(random));
    target.assign(weights.begin(), weights.end());
    Doubles mix(k * k), x(3 * k * k, 0.0);
    for (double& v : mix) v = draw(random);
    for (size_t t = 0; t < 3 * k; ++t) {
      for (size_t j = 0; j < k; ++j) {
        const double z = draw(random);
        for (size_t i = 0; i < k; ++i) x[t * k + i] += z * mix[j * k + i];
      }
    }
    gram.assign(k * k, 0.0);
    for (size_t t = 0; t < 3 * k; ++t) {
      for (size_t i = 0; i < k; ++i) {
        for (size_t j = 0; j < k; ++j) gram[i * k + j] += x[t * k + i] * x[t * k + j];
      }
    }
    for (size_t i = 0; i < k; ++i) {
      order.push_back(int64_t(i));
      importance.push_back(gram[i * k + i]);
    }
    std::shuffle(order.begin(), order.end(), random);
    dopt::Matrix m(k, k);
    for (size_t i = 0; i < k; ++i) {
      for (size_t j = 0; j < k; ++j) m[i][j] = gram[size_t(order[i]) * k + size_t(order[j])];
      m[i][i] *= 1.02;
    }
    CHECK(dopt::factorize(m));
    for (size_t i = 0; i < k; ++i) factor.insert(factor.end(), m[i], m[i] + k);
  }

  Floats scales(int candidates = 40) const {
    Floats found(outputs * groups);
    CHECK(dopt_group_scales(&layer, weights.data(), importance.data(), candidates, 0.4, found.data()) == DOPT_OK);
    return found;
  }
  double scale(const Floats& s, size_t o, size_t k) const { return double(s[o * groups + k / span]); }

  Integers rounded(const Floats& s) const {
    Integers q(outputs * inputs);
    CHECK(dopt_gram_round(&layer, order.data(), factor.data(), target.data(), s.data(), nullptr, 1, q.data()) == DOPT_OK);
    return q;
  }

  double loss(const Floats& s, const Integers& q) const {
    double sum = 0;
    for (size_t o = 0; o < outputs; ++o) {
      Doubles off(inputs);
      for (size_t k = 0; k < inputs; ++k) off[k] = target[o * inputs + k] - q[o * inputs + k] * scale(s, o, k);
      for (size_t i = 0; i < inputs; ++i) {
        for (size_t j = 0; j < inputs; ++j) sum += off[i] * gram[i * inputs + j] * off[j];
      }
    }
    return sum;
  }
};

double nearest(double value, double scale) { return std::min<double>(kMax, std::max<double>(kMin, std::nearbyint(value / scale))); }

void sums() {
  std::mt19937 random(1);
  size_t count = 0;
  const dopt::Kernels* const* const tables = dopt::runnable_kernels(&count);
  for (const size_t n : {16, 32, 112}) {
    Doubles w(n), power(n);
    for (size_t i = 0; i < n; ++i) {
      w[i] = std::generate_canonical<double, 53>(random) - 0.5;
      power[i] = i % 5 == 0 ? 0.0 : std::generate_canonical<double, 53>(random);
    }
    double tried[dopt::kTries], first[3 * dopt::kTries];
    for (size_t i = 0; i < dopt::kTries; ++i) tried[i] = 0.02 + 0.01 * double(i);
    for (size_t t = 0; t < count; ++t) {
      double errors[dopt::kTries], fast[3 * dopt::kTries];
      tables[t]->scale_errors(w.data(), power.data(), n, tried, kMin, kMax, errors);
      for (size_t i = 0; i < dopt::kTries; ++i) {
        double slow[3] = {0, 0, 0};
        for (size_t k = 0; k < n; ++k) {
          const double q = nearest(w[k], tried[i]), off = w[k] - q * tried[i];
          slow[0] += power[k] * off * off;
          slow[1] += power[k] * q * w[k];
          slow[2] += power[k] * q * q;
        }
        tables[t]->scale_sums(w.data(), power.data(), n, tried[i], kMin, kMax, fast + 3 * i);
        for (size_t s = 0; s < 3; ++s) CHECK_NEAR(fast[3 * i + s], slow[s], 1e-9);
        CHECK(check::same_bits(fast + 3 * i, errors + i, 1));
      }
      if (t == 0) std::copy_n(fast, 3 * dopt::kTries, first);
      CHECK(check::same_bits(fast, first, 3 * dopt::kTries));
    }
  }
}

void scales() {
  std::mt19937 random(2);
  const Problem p(70, 37, 8, random);  // a short last group
  const Floats whole = p.scales(1), best = p.scales();
  const auto error = [&](const Floats& s, size_t o, size_t g) {
    double sum = 0;
    for (size_t k = g * p.span; k < std::min(p.inputs, (g + 1) * p.span); ++k) {
      const double w = double(p.weights[o * p.inputs + k]), off = w - nearest(w, p.scale(s, o, k)) * p.scale(s, o, k);
      sum += p.importance[k] * off * off;
    }
    return sum;
  };
  for (size_t o = 0; o < p.outputs; ++o) {
    for (size_t g = 0; g < p.groups; ++g) CHECK(error(best, o, g) <= error(whole, o, g) * (1 + 1e-12));
  }
  Integers q(p.outputs * p.inputs);
  CHECK(dopt_group_nearest(&p.layer, p.target.data(), best.data(), q.data()) == DOPT_OK);
  for (size_t i = 0; i < q.size(); ++i) {
    CHECK(q[i] == nearest(p.target[i], p.scale(best, i / p.inputs, i % p.inputs)));
  }
}

void rounding() {
  std::mt19937 random(3);
  for (const size_t inputs : {1, 5, 8, 9, 40, 130}) {
    const Problem p(67, inputs, std::max<size_t>(1, inputs / 3), random);
    const Floats s = p.scales();
    const Integers q = p.rounded(s);
    size_t differing = 0;
    for (size_t o = 0; o < p.outputs; ++o) {
      Doubles errors(inputs, 0.0);
      for (size_t k = inputs; k-- > 0;) {
        const size_t at = size_t(p.order[k]);
        double owed = 0;
        for (size_t j = k + 1; j < inputs; ++j) owed += p.factor[j * inputs + k] * errors[j];
        const double scale = p.scale(s, o, at), v = p.target[o * inputs + at];
        const double taken = nearest(v + owed / p.factor[k * inputs + k], scale);
        differing += taken != q[o * inputs + at];
        errors[k] = v - q[o * inputs + at] * scale;
      }
    }
    CHECK(differing == 0);
  }
}

// Sum over runs of tr(G E gram E^T) with G = L L^T, the factors L of `forms`.
double joint_loss(const Problem& p, const Doubles& factors, size_t run, const Floats& s, const Integers& q) {
  double sum = 0;
  for (size_t first = 0; first < p.outputs; first += run) {
    const double* const own = factors.data() + first * run;
    for (size_t c = 0; c < run; ++c) {  // row c of L^T E
      Doubles off(p.inputs, 0.0);
      for (size_t i = c; i < run; ++i) {
        const size_t o = first + i;
        for (size_t k = 0; k < p.inputs; ++k) {
          off[k] += own[i * run + c] * (p.target[o * p.inputs + k] - q[o * p.inputs + k] * p.scale(s, o, k));
        }
      }
      for (size_t i = 0; i < p.inputs; ++i) {
        for (size_t j = 0; j < p.inputs; ++j) sum += off[i] * p.gram[i * p.inputs + j] * off[j];
      }
    }
  }
  return sum;
}

void together() {
  std::mt19937 random(7);
  for (const size_t run : {1, 3, 8, 96}) {  // 96: more than the rows that go through a matrix together
    const Problem p(run * (run > 8 ? 2 : 25), 40, 16, random);
    const Floats s = p.scales();
    std::normal_distribution<double> draw;
    Doubles factors(p.outputs * run, 0.0);
    for (size_t o = 0; o < p.outputs; ++o) {
      const size_t i = o % run;
      for (size_t j = 0; j < i; ++j) factors[o * run + j] = draw(random) / std::sqrt(double(run));
      factors[o * run + i] = 0.3 + std::fabs(draw(random));
    }
    Integers q(p.outputs * p.inputs);
    CHECK(dopt_gram_round(&p.layer, p.order.data(), p.factor.data(), p.target.data(), s.data(), factors.data(),
                          int64_t(run), q.data()) == DOPT_OK);
    const double alone = joint_loss(p, factors, run, s, p.rounded(s));
    CHECK(run == 1 ? q == p.rounded(s) : joint_loss(p, factors, run, s, q) < 0.9 * alone);
    CHECK(dopt_gram_round(&p.layer, p.order.data(), p.factor.data(), p.target.data(), s.data(), factors.data(), 7,
                          q.data()) == DOPT_ERROR_ARGUMENT);
  }
}

void refinement() {
  std::mt19937 random(4);
  const Problem p(70, 96, 16, random);
  Floats s = p.scales();
  Integers q = p.rounded(s);
  double before = p.loss(s, q);
  for (const int refit : {1, 0, 1}) {
    for (const int sweeps : {0, 1, 2}) {
      CHECK(dopt_gram_refine(&p.layer, p.gram.data(), p.target.data(), refit, sweeps, s.data(), q.data()) == DOPT_OK);
      const double after = p.loss(s, q);
      CHECK(after <= before * (1 + 1e-9));
      before = after;
    }
  }
}

void threads() {
  std::mt19937 random(5);
  const Problem p(200, 90, 32, random);
  std::vector<Floats> scales;
  std::vector<Integers> integers;
  for (const int count : {1, 3}) {
    dopt_set_threads(count);
    scales.push_back(p.scales());
    integers.push_back(p.rounded(scales.back()));
    CHECK(dopt_gram_refine(&p.layer, p.gram.data(), p.target.data(), 1, 2, scales.back().data(),
                           integers.back().data()) == DOPT_OK);
  }
  CHECK(check::same_bits(scales[0].data(), scales[1].data(), scales[0].size()));
  CHECK(integers[0] == integers[1]);
}

void refused() {
  std::mt19937 random(6);
  Problem p(4, 6, 3, random);
  Floats s = p.scales();
  Integers q(24);
  p.order[0] = p.order[1];
  CHECK(dopt_gram_round(&p.layer, p.order.data(), p.factor.data(), p.target.data(), s.data(), nullptr, 1, q.data()) ==
        DOPT_ERROR_ARGUMENT);
  dopt_layer grouped = p.layer;
  grouped.groups = 2;
  CHECK(dopt_group_nearest(&grouped, p.target.data(), s.data(), q.data()) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_group_scales(&p.layer, p.weights.data(), nullptr, 0, 0.5, s.data()) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_group_scales(&p.layer, nullptr, nullptr, 1, 0.5, s.data()) == DOPT_ERROR_ARGUMENT);
  std::fill(p.weights.begin(), p.weights.end(), 0.0f);
  CHECK(dopt_group_scales(&p.layer, p.weights.data(), nullptr, 10, 0.5, s.data()) == DOPT_OK);
  CHECK(std::all_of(s.begin(), s.end(), [](float v) { return v == 1.0f; }));
}

}  // namespace

int main() {
  dopt_set_threads(2);
  sums();
  scales();
  rounding();
  together();
  refinement();
  threads();
  refused();
  return check::result("test_rows");
}
