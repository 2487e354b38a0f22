// Sums of layers and what is solved from them, against direct formulations.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "check.h"
#include "dopt.h"
#include "kernels.h"
#include "matrix.h"

namespace {

using Doubles = std::vector<double>;
using Floats = std::vector<float>;

constexpr int kMost = 31;  // integers of the test problems: a coarse grid, so that rounding matters

Floats normal(size_t n, std::mt19937& random, float scale = 1.0f) {
  std::normal_distribution<float> draw(0.0f, scale);
  Floats all(n);
  for (float& v : all) v = draw(random);
  return all;
}

void products() {
  std::mt19937 random(1);
  size_t count = 0;
  const dopt::Kernels* const* const tables = dopt::runnable_kernels(&count);
  for (const size_t size : {1, 2, 7, 8, 9, 15, 16, 17, 33, 70}) {
    const size_t m = size, n = size + random() % 5, depth = 1 + random() % 40, stride = n + dopt::kProductPad + 3;
    Doubles a(depth * stride + 32), b(depth * stride + 32), start(m * stride);
    for (Doubles* each : {&a, &b, &start}) {
      for (double& v : *each) v = std::generate_canonical<double, 53>(random) - 0.5;
    }
    Doubles slow = start;
    for (size_t i = 0; i < m; ++i) {
      for (size_t j = 0; j < n; ++j) {
        double sum = 0;
        for (size_t d = 0; d < depth; ++d) sum += a[d * stride + i] * b[d * stride + j];
        slow[i * stride + j] += -1.0 * sum;
      }
    }
    for (size_t t = 0; t < count; ++t) {
      Doubles c = start;
      tables[t]->add_product(a.data(), stride, b.data(), stride, depth, m, n, -1.0, c.data(), stride);
      CHECK(check::same_bits(c.data(), slow.data(), c.size()));
    }
  }
}

void factors() {
  std::mt19937 random(2);
  for (const size_t n : {1, 2, 5, 63, 64, 65, 130, 200}) {
    const Floats rows = normal(2 * n * n, random);
    dopt::Matrix m(n, n), x(n, 3);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) {
        for (size_t d = 0; d < 2 * n; ++d) m[i][j] += double(rows[d * n + i]) * double(rows[d * n + j]);
      }
      for (size_t j = 0; j < 3; ++j) x[i][j] = double(rows[3 * i + j]);
    }
    const dopt::Matrix original = m, wanted = x;
    CHECK(dopt::factorize(m));
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) CHECK(m[i][j] == m[j][i]);
    }
    dopt::solve(m, x);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < 3; ++j) {
        double sum = 0;
        for (size_t k = 0; k < n; ++k) sum += original[i][k] * x[k][j];
        CHECK(std::fabs(sum - wanted[i][j]) < 1e-8 * (1 + std::fabs(wanted[i][j])) * double(n));
      }
    }
  }
  dopt::Matrix singular(3, 3), nan(2, 2);
  CHECK(!dopt::factorize(singular));
  nan[0][0] = NAN;
  CHECK(!dopt::factorize(nan));
}

// A convolution (or its transpose) as a list of (output position, patch), straight from the definition in ONNX.
struct Conv {
  dopt_conv2d_shape s{};
  bool transposed = false;
  int64_t height = 0, width = 0;

  double input(const Floats& x, int64_t c, int64_t out_h, int64_t out_w, int64_t kh, int64_t kw) const {
    int64_t h = out_h * s.stride_height - s.pad_top + kh * s.dilation_height;
    int64_t v = out_w * s.stride_width - s.pad_left + kw * s.dilation_width;
    if (transposed) {
      h = out_h + s.pad_top - kh * s.dilation_height;
      v = out_w + s.pad_left - kw * s.dilation_width;
      if (h < 0 || v < 0 || h % s.stride_height || v % s.stride_width) return 0;
      h /= s.stride_height;
      v /= s.stride_width;
    }
    if (h < 0 || v < 0 || h >= s.in_height || v >= s.in_width) return 0;
    return double(x[size_t((c * s.in_height + h) * s.in_width + v)]);
  }
};

Conv draw_conv(std::mt19937& random, bool transposed) {
  const auto draw = [&](int64_t low, int64_t high) { return low + int64_t(random() % uint64_t(high - low + 1)); };
  Conv conv;
  dopt_conv2d_shape& s = conv.s;
  s = {sizeof s,   1,          0,          draw(3, 9), draw(3, 9), 0,          draw(1, 3), draw(1, 3), draw(1, 3),
       draw(1, 2), draw(1, 2), draw(1, 2), draw(1, 2), draw(0, 1), draw(0, 1), draw(0, 1), draw(0, 1)};
  s.in_channels = s.groups * draw(1, 3);
  s.out_channels = s.groups * draw(1, 3);
  conv.transposed = transposed;
  const auto size = [&](int64_t in, int64_t k, int64_t d, int64_t stride, int64_t pads) {
    return transposed ? (in - 1) * stride + d * (k - 1) + 1 - pads : (in + pads - d * (k - 1) - 1) / stride + 1;
  };
  conv.height = size(s.in_height, s.kernel_height, s.dilation_height, s.stride_height, s.pad_top + s.pad_bottom);
  conv.width = size(s.in_width, s.kernel_width, s.dilation_width, s.stride_width, s.pad_left + s.pad_right);
  return conv;
}

void convolutions() {
  std::mt19937 random(3);
  for (int trial = 0; trial < 120; ++trial) {
    const Conv conv = draw_conv(random, trial % 3 == 0);
    const dopt_conv2d_shape& s = conv.s;
    if (conv.height < 1 || conv.width < 1) continue;
    const int64_t inputs = s.in_channels / s.groups, outputs = s.out_channels / s.groups, area = conv.height * conv.width;
    const int64_t taps = s.kernel_height * s.kernel_width, k = inputs * taps + 1;
    const Floats x = normal(size_t(s.in_channels * s.in_height * s.in_width), random);
    const Floats y = normal(size_t(s.out_channels * area), random);
    Doubles gram(size_t(s.groups * k * k)), cross(size_t(s.groups * outputs * k)), power(size_t(s.groups * outputs));
    Doubles slow_gram(gram), slow_cross(cross), slow_power(power);
    for (int64_t g = 0; g < s.groups; ++g) {
      for (int64_t p = 0; p < area; ++p) {
        Doubles patch;
        for (int64_t c = 0; c < inputs; ++c) {
          for (int64_t t = 0; t < taps; ++t) {
            patch.push_back(conv.input(x, g * inputs + c, p / conv.width, p % conv.width, t / s.kernel_width,
                                       t % s.kernel_width));
          }
        }
        patch.push_back(1.0);
        for (int64_t i = 0; i < k; ++i) {
          for (int64_t j = 0; j < k; ++j) slow_gram[size_t((g * k + i) * k + j)] += patch[size_t(i)] * patch[size_t(j)];
        }
        for (int64_t o = 0; o < outputs; ++o) {
          const double v = double(y[size_t((g * outputs + o) * area + p)]);
          for (int64_t i = 0; i < k; ++i) slow_cross[size_t((g * outputs + o) * k + i)] += v * patch[size_t(i)];
          slow_power[size_t(g * outputs + o)] += v * v;
        }
      }
    }
    // Half of the positions and then the other half are all of them, whatever the step.
    CHECK(dopt_gram_conv2d(&s, conv.transposed, conv.height, conv.width, x.data(), y.data(), area, 0, gram.data(),
                           cross.data(), power.data()) == DOPT_OK);
    for (size_t i = 0; i < gram.size(); ++i) CHECK(check::near(gram[i], slow_gram[i], 1e-10, 1e-9));
    for (size_t i = 0; i < cross.size(); ++i) CHECK(check::near(cross[i], slow_cross[i], 1e-10, 1e-9));
    for (size_t i = 0; i < power.size(); ++i) CHECK(check::near(power[i], slow_power[i], 1e-10, 1e-9));
    // A share of the positions: the constant's own element counts them.
    Doubles part(gram.size());
    CHECK(dopt_gram_conv2d(&s, conv.transposed, conv.height, conv.width, x.data(), y.data(), 5, 1, part.data(),
                           cross.data(), power.data()) == DOPT_OK);
    CHECK(part[size_t(k * k - 1)] >= 1 && part[size_t(k * k - 1)] <= 5);
  }
}

// A layer with data: x of correlated channels, y = w x + b plus a little noise.
struct Problem {
  size_t rows, inputs, outputs;
  Floats x, y, weights, scales;
  Doubles gram, cross, power;
  dopt_layer layer;

  Problem(size_t n, size_t k, size_t o, bool free_bias, std::mt19937& random, size_t span = 0)
      : rows(n), inputs(k), outputs(o), weights(normal(k * o, random)), gram((k + 1) * (k + 1)), cross(o * (k + 1)),
        power(o) {
    span = span == 0 ? k : span;
    const Floats mix = normal(k * k, random), raw = normal(n * k, random), noise = normal(n * o, random, 0.05f);
    for (size_t r = 0; r < n; ++r) {
      for (size_t i = 0; i < k; ++i) {
        float v = 0.5f + raw[r * k + i] * std::sqrt(float(k)) / 2;
        for (size_t j = 0; j < k; ++j) v += raw[r * k + j] * mix[j * k + i];
        x.push_back(v);
      }
      for (size_t c = 0; c < o; ++c) {
        float v = 0.25f + noise[r * o + c];
        for (size_t i = 0; i < k; ++i) v += x[r * k + i] * weights[c * k + i];
        y.push_back(v);
      }
    }
    for (size_t c = 0; c < o; ++c) {
      for (size_t first = 0; first < k; first += span) {
        float most = 0;
        for (size_t i = first; i < std::min(k, first + span); ++i) most = std::max(most, std::fabs(weights[c * k + i]));
        scales.push_back(most / 16);  // room for what error feedback adds
      }
    }
    layer = {sizeof layer, 1, int64_t(o), int64_t(k), int64_t(span), -kMost, kMost, free_bias};
    CHECK(dopt_gram_matmul(x.data(), y.data(), int64_t(n), int64_t(k), int64_t(o), gram.data(), cross.data(),
                           power.data()) == DOPT_OK);
  }

  float scale(size_t o, size_t k) const {
    const size_t span = size_t(layer.span);
    return scales[o * ((inputs + span - 1) / span) + k / span];
  }

  std::vector<int8_t> solve(double ridge, double damping = 1e-6) const {
    std::vector<int8_t> integers(weights.size());
    CHECK(dopt_gram_reconstruct(&layer, gram.data(), cross.data(), weights.data(), scales.data(), ridge, damping,
                                integers.data()) == DOPT_OK);
    return integers;
  }

  std::vector<int8_t> nearest() const {
    std::vector<int8_t> integers;
    for (size_t o = 0; o < outputs; ++o) {
      for (size_t k = 0; k < inputs; ++k) {
        const float q = std::nearbyint(weights[o * inputs + k] / scale(o, k));
        integers.push_back(int8_t(std::min(float(kMost), std::max(-float(kMost), q))));
      }
    }
    return integers;
  }

  // Sum of squares straight from the data, for each output.
  Doubles error(const std::vector<int8_t>& integers, const Doubles& bias) const {
    Doubles sums(outputs);
    for (size_t r = 0; r < rows; ++r) {
      for (size_t o = 0; o < outputs; ++o) {
        double e = double(y[r * outputs + o]) - bias[o];
        for (size_t k = 0; k < inputs; ++k) {
          e -= double(x[r * inputs + k]) * double(scale(o, k)) * integers[o * inputs + k];
        }
        sums[o] += e * e;
      }
    }
    return sums;
  }

  double total(const std::vector<int8_t>& integers) const {
    Doubles bias(outputs), found(outputs);
    if (layer.free_bias) {
      CHECK(dopt_gram_bias(&layer, gram.data(), cross.data(), integers.data(), scales.data(), bias.data()) == DOPT_OK);
    }
    CHECK(dopt_gram_error(&layer, gram.data(), cross.data(), power.data(), integers.data(), scales.data(), bias.data(),
                          found.data()) == DOPT_OK);
    const Doubles slow = error(integers, bias);
    for (size_t o = 0; o < outputs; ++o) CHECK(check::near(found[o], slow[o], 1e-6, 1e-6));
    return std::accumulate(found.begin(), found.end(), 0.0);
  }
};

// GPTQ as in the paper: the inverse of the Hessian, updated by elimination after each column.
std::vector<int8_t> gptq(const Problem& p, double damping) {
  const size_t k = p.inputs, k1 = k + 1;
  const double n = p.gram[k1 * k1 - 1];
  Doubles h(k * k);
  double trace = 0;
  for (size_t i = 0; i < k; ++i) {
    for (size_t j = 0; j < k; ++j) {
      const double mean = p.layer.free_bias ? p.gram[k * k1 + i] * p.gram[k * k1 + j] / n : 0.0;
      h[i * k + j] = p.gram[i * k1 + j] - mean;
    }
    trace += h[i * k + i];
  }
  Doubles variance(k);
  for (size_t i = 0; i < k; ++i) {
    variance[i] = h[i * k + i];
    h[i * k + i] += damping * trace / double(k);
  }
  // Inverse by Gauss-Jordan.
  Doubles inverse(k * k);
  for (size_t i = 0; i < k; ++i) inverse[i * k + i] = 1;
  for (size_t c = 0; c < k; ++c) {
    const double pivot = h[c * k + c];
    for (size_t j = 0; j < k; ++j) h[c * k + j] /= pivot, inverse[c * k + j] /= pivot;
    for (size_t i = 0; i < k; ++i) {
      if (i == c) continue;
      const double f = h[i * k + c];
      for (size_t j = 0; j < k; ++j) h[i * k + j] -= f * h[c * k + j], inverse[i * k + j] -= f * inverse[c * k + j];
    }
  }
  std::vector<size_t> order(k);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return variance[a] > variance[b]; });
  Doubles w(p.weights.begin(), p.weights.end());
  std::vector<int8_t> integers(w.size());
  for (const size_t q : order) {
    const double d = inverse[q * k + q];
    for (size_t o = 0; o < p.outputs; ++o) {
      const double s = double(p.scale(o, q));
      const double v = std::min(double(kMost), std::max(-double(kMost), std::nearbyint(w[o * k + q] / s)));
      integers[o * k + q] = int8_t(v);
      const double e = (w[o * k + q] - v * s) / d;
      for (size_t j = 0; j < k; ++j) w[o * k + j] -= e * inverse[q * k + j];
    }
    Doubles column(k);
    for (size_t i = 0; i < k; ++i) column[i] = inverse[i * k + q];
    for (size_t i = 0; i < k; ++i) {
      for (size_t j = 0; j < k; ++j) inverse[i * k + j] -= column[i] * column[j] / d;
    }
    // What was eliminated stays so.
    for (size_t i = 0; i < k; ++i) inverse[i * k + q] = inverse[q * k + i] = 0;
  }
  return integers;
}

void rounding() {
  std::mt19937 random(4);
  for (const size_t k : {1, 3, 8, 20, 65, 130}) {
    for (const bool free_bias : {false, true}) {
      const Problem p(8 * k + 20, k, 5, free_bias, random, k == 20 ? 8 : 0);
      const std::vector<int8_t> fed = p.solve(-1), slow = gptq(p, 1e-6);
      size_t differ = 0;
      for (size_t i = 0; i < fed.size(); ++i) differ += fed[i] != slow[i];
      // Two roads to the same integers, but for values on the border between two of them.
      CHECK(differ <= fed.size() / 100);
      if (k >= 8) CHECK(p.total(fed) < 0.85 * p.total(p.nearest()));
    }
  }
}

void targets() {
  std::mt19937 random(5);
  Problem p(600, 24, 6, true, random);
  // Weights that are off: the least-squares target finds those that made y, a heavy ridge stays with the wrong ones.
  for (float& w : p.weights) w *= 0.8f;
  const double right = p.total(p.solve(1e-9)), wrong = p.total(p.solve(-1)), held = p.total(p.solve(1e9));
  CHECK(right < 0.2 * wrong);
  CHECK_NEAR(held, wrong, 0.05);
}

void degenerate() {
  std::mt19937 random(6);
  Problem p(50, 4, 3, true, random);
  const std::vector<int8_t> nearest = p.nearest();
  std::fill(p.gram.begin(), p.gram.end(), 0.0);
  CHECK(p.solve(-1) == nearest);
  CHECK(p.solve(0.1) == nearest);
  p.gram[0] = NAN;
  CHECK(p.solve(0.1) == nearest);
  // Inputs that repeat one another: singular without damping, solved with it.
  Problem twin(50, 2, 1, false, random);
  twin.gram = {4, 4, 2, 4, 4, 2, 2, 2, 50};
  CHECK(twin.solve(0.01, 0.01).size() == 2);

  std::vector<int8_t> out(12);
  dopt_layer bad = p.layer;
  bad.qmax = 200;
  CHECK(dopt_gram_reconstruct(&bad, p.gram.data(), p.cross.data(), p.weights.data(), p.scales.data(), -1, 0.01,
                              out.data()) == DOPT_ERROR_ARGUMENT);
  bad = p.layer;
  bad.inputs = 0;
  CHECK(dopt_gram_bias(&bad, p.gram.data(), p.cross.data(), out.data(), p.scales.data(), p.power.data()) ==
        DOPT_ERROR_ARGUMENT);
  CHECK(dopt_gram_reconstruct(&p.layer, p.gram.data(), p.cross.data(), p.weights.data(), p.scales.data(), -1, 0,
                              out.data()) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_gram_error(&p.layer, nullptr, p.cross.data(), p.power.data(), out.data(), p.scales.data(), nullptr,
                        p.power.data()) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_gram_matmul(p.x.data(), p.y.data(), -1, 4, 3, p.gram.data(), p.cross.data(), p.power.data()) ==
        DOPT_ERROR_ARGUMENT);
}

void threads() {
  std::mt19937 random(7);
  const Problem p(700, 150, 40, true, random);
  CHECK(dopt_set_threads(1) == DOPT_OK);
  Doubles gram(p.gram.size()), cross(p.cross.size()), power(p.power.size());
  CHECK(dopt_gram_matmul(p.x.data(), p.y.data(), 700, 150, 40, gram.data(), cross.data(), power.data()) == DOPT_OK);
  const std::vector<int8_t> alone = p.solve(0.01);
  CHECK(dopt_set_threads(3) == DOPT_OK);
  CHECK(check::same_bits(gram.data(), p.gram.data(), gram.size()));
  CHECK(check::same_bits(cross.data(), p.cross.data(), cross.size()));
  CHECK(p.solve(0.01) == alone);
}

}  // namespace

int main() {
  dopt_set_threads(3);
  products();
  factors();
  convolutions();
  rounding();
  targets();
  degenerate();
  threads();
  return check::result("test_gram");
}
