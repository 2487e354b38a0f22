// Integer products, Gram sums and what is solved from them, against the CPU core.
#include <algorithm>
#include <cmath>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "gram.h"
#include "tests.h"

namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

Floats normal(size_t n, std::mt19937& random, float scale = 1.0f) {
  std::normal_distribution<float> draw(0.0f, scale);
  Floats all(n);
  for (float& v : all) v = draw(random);
  return all;
}

// A convolution of random sizes, or its transpose.
struct Conv {
  dopt_conv2d_shape s{};
  bool transposed;
  int64_t height, width;

  Conv(std::mt19937& random, bool transpose, int64_t batch) : transposed(transpose) {
    const auto draw = [&](int64_t low, int64_t high) { return low + int64_t(random() % uint64_t(high - low + 1)); };
    s = {sizeof s,   batch,      0,          draw(5, 19), draw(5, 19), 0,          draw(1, 3), draw(1, 3), draw(1, 4),
         draw(1, 2), draw(1, 2), draw(1, 2), draw(1, 2),  draw(0, 1),  draw(0, 1), draw(0, 1), draw(0, 1)};
    s.in_channels = s.groups * draw(1, 12);
    s.out_channels = s.groups * draw(1, 12);
    height = size(s.in_height, s.kernel_height, s.dilation_height, s.stride_height, s.pad_top + s.pad_bottom);
    width = size(s.in_width, s.kernel_width, s.dilation_width, s.stride_width, s.pad_left + s.pad_right);
  }
  int64_t size(int64_t in, int64_t k, int64_t d, int64_t stride, int64_t pads) const {
    return transposed ? (in - 1) * stride + d * (k - 1) + 1 - pads : (in + pads - d * (k - 1) - 1) / stride + 1;
  }
  size_t in_size() const { return size_t(s.in_channels * s.in_height * s.in_width); }
  size_t out_size() const { return size_t(s.out_channels * height * width); }
  size_t k1() const { return size_t(s.in_channels / s.groups * s.kernel_height * s.kernel_width) + 1; }
  size_t outputs() const { return size_t(s.out_channels / s.groups); }
};

void convolves() {
  std::mt19937 random(21);
  for (int round = 0; round < 60; ++round) {
    const Conv conv(random, false, 1 + round % 3);
    const size_t weights = conv.outputs() * size_t(conv.s.groups) * (conv.k1() - 1), out = conv.out_size() * size_t(conv.s.batch);
    std::vector<uint8_t> x(conv.in_size() * size_t(conv.s.batch));
    std::vector<int8_t> w(weights);
    std::vector<int32_t> bias(size_t(conv.s.out_channels)), cpu(out);
    for (auto& v : x) v = uint8_t(random());
    for (auto& v : w) v = int8_t(random());
    for (auto& v : bias) v = int32_t(random());
    const DeviceArray<uint8_t> its_x(x);
    const DeviceArray<int8_t> its_w(w);
    const DeviceArray<int32_t> its_bias(bias), its_out(out);
    for (const bool biased : {true, false}) {
      dopt_conv2d_u8s8_s32(&conv.s, x.data(), 117, w.data(), biased ? bias.data() : nullptr, cpu.data());
      CHECK(dopt_cuda_conv2d_u8s8_s32(&conv.s, its_x.get(), 117, its_w.get(), biased ? its_bias.get() : nullptr,
                                      its_out.get(), nullptr) == DOPT_OK);
      CHECK(tests::same(its_out, cpu));
    }
  }
}

void multiplies() {
  std::mt19937 random(22);
  for (const size_t size : {1, 2, 7, 31, 33, 64, 65, 130}) {
    const size_t m = size, n = size + random() % 5, k = 1 + random() % 200;
    std::vector<uint8_t> x(m * k);
    std::vector<int8_t> w(k * n);
    std::vector<int32_t> bias(n), cpu(m * n);
    for (auto& v : x) v = uint8_t(random());
    for (auto& v : w) v = int8_t(random());
    for (auto& v : bias) v = int32_t(random());
    const DeviceArray<uint8_t> its_x(x);
    const DeviceArray<int8_t> its_w(w);
    const DeviceArray<int32_t> its_bias(bias), its_out(m * n);
    dopt_matmul_u8s8_s32(x.data(), 200, w.data(), bias.data(), m, k, n, cpu.data());
    CHECK(dopt_cuda_matmul_u8s8_s32(its_x.get(), 200, its_w.get(), its_bias.get(), m, k, n, its_out.get(), nullptr) == DOPT_OK);
    CHECK(tests::same(its_out, cpu));
  }
}

// What the CPU core adds to sums, beside what the CUDA core does. Both start from the same values, as a second batch would.
struct Sums {
  Doubles gram, cross, power;
  DeviceArray<double> its_gram, its_cross, its_power;
  Sums(size_t groups, size_t k1, size_t outputs)
      : gram(groups * k1 * k1, 0.25), cross(groups * outputs * k1, -0.5), power(groups * outputs, 0.125),
        its_gram(gram), its_cross(cross), its_power(power) {}
  double distance() const {
    return std::max({tests::distance(its_gram.copy(), gram), tests::distance(its_cross.copy(), cross),
                     tests::distance(its_power.copy(), power)});
  }
};

void adds_convolutions() {
  std::mt19937 random(23);
  for (int round = 0; round < 60; ++round) {
    const int64_t batch = 1 + round % 3, positions = round % 4 == 0 ? 17 : 1 << 20;
    const Conv conv(random, round % 5 == 4, batch);
    const Floats x = normal(conv.in_size() * size_t(batch), random), y = normal(conv.out_size() * size_t(batch), random);
    Sums sums(size_t(conv.s.groups), conv.k1(), conv.outputs());
    dopt_conv2d_shape one = conv.s;
    one.batch = 1;
    for (int64_t b = 0; b < batch; ++b) {
      CHECK(dopt_gram_conv2d(&one, conv.transposed, conv.height, conv.width, x.data() + size_t(b) * conv.in_size(),
                             y.data() + size_t(b) * conv.out_size(), positions, 5 + b, sums.gram.data(), sums.cross.data(),
                             sums.power.data()) == DOPT_OK);
    }
    const DeviceArray<float> its_x(x), its_y(y);
    CHECK(dopt_cuda_gram_conv2d(&conv.s, conv.transposed, conv.height, conv.width, its_x.get(), its_y.get(), DOPT_F32,
                                positions, 5, sums.its_gram.get(), sums.its_cross.get(), sums.its_power.get(),
                                nullptr) == DOPT_OK);
    CHECK(sums.distance() < 1e-13);
  }
}

// The version for earlier devices runs on later ones too.
void versions_agree(const dopt::cuda::Samples& in, const Sums& sums, double bound) {
  if (!dopt::cuda::fits_tensor_cores(in)) return;
  Doubles gram = sums.gram, cross = sums.cross;
  const DeviceArray<double> its_gram(Doubles(gram.size(), 0.25)), its_cross(Doubles(cross.size(), -0.5));
  dopt::cuda::add_on_tensor_cores(in, its_gram.get(), its_cross.get(), nullptr);
  Doubles mine = its_gram.copy(), mine_cross = its_cross.copy();
  const size_t k1 = in.inputs + 1;
  for (size_t i = 0; i < in.inputs; ++i) {
    mine[i * k1 + in.inputs] = gram[i * k1 + in.inputs];  // the constant's sums are formed elsewhere
    mine[in.inputs * k1 + i] = gram[in.inputs * k1 + i];
  }
  mine.back() = gram.back();
  for (size_t o = 0; o < in.outputs; ++o) mine_cross[o * k1 + in.inputs] = cross[o * k1 + in.inputs];
  CHECK(tests::distance(mine, gram) < bound);
  CHECK(tests::distance(mine_cross, cross) < bound);
}

template <typename T>
void adds_rows(int32_t type, T (*convert)(float), double exact_bound, double tensor_bound) {
  std::mt19937 random(24);
  const size_t shapes[][3] = {{1, 1, 1},      {3, 5, 2},       {70, 64, 64},   {500, 65, 7},     {300, 8, 16},  {1000, 72, 8},
                              {5000, 136, 40}, {9001, 264, 24}, {129, 384, 129}, {1500, 776, 264}, {33001, 72, 40}};
  for (const auto& [rows, inputs, outputs] : shapes) {
    Floats x = normal(rows * inputs, random), y = normal(rows * outputs, random);
    std::vector<T> narrow_x, narrow_y;
    for (float& v : x) {
      narrow_x.push_back(convert(v + 0.5f));  // a mean, so that sums do not hover around zero
      v = static_cast<float>(narrow_x.back());
    }
    for (float& v : y) {
      narrow_y.push_back(convert(v));
      v = static_cast<float>(narrow_y.back());
    }
    Sums sums(1, inputs + 1, outputs);
    CHECK(dopt_gram_matmul(x.data(), y.data(), int64_t(rows), int64_t(inputs), int64_t(outputs), sums.gram.data(),
                           sums.cross.data(), sums.power.data()) == DOPT_OK);
    const DeviceArray<T> its_x(narrow_x), its_y(narrow_y);
    CHECK(dopt_cuda_gram_matmul(its_x.get(), its_y.get(), type, int64_t(rows), int64_t(inputs), int64_t(outputs),
                                sums.its_gram.get(), sums.its_cross.get(), sums.its_power.get(), nullptr) == DOPT_OK);
    if (type != DOPT_F32) versions_agree({its_x.get(), its_y.get(), type, rows, inputs, outputs}, sums, tensor_bound);
    const bool tensor = type != DOPT_F32 && inputs % 8 == 0 && outputs % 8 == 0;
    const double distance = sums.distance();
    if (distance >= (tensor ? tensor_bound : exact_bound)) {
      std::fprintf(stderr, "type %d, %zu x %zu x %zu: distance %g\n", type, rows, inputs, outputs, distance);
    }
    CHECK(distance < (tensor ? tensor_bound : exact_bound));
    // Without targets the Gram matrix is the same.
    const DeviceArray<double> alone(Doubles(sums.gram.size(), 0.25));
    CHECK(dopt_cuda_gram_matmul(its_x.get(), nullptr, type, int64_t(rows), int64_t(inputs), 1, alone.get(), nullptr, nullptr,
                                nullptr) == DOPT_OK);
    const bool as_before = type == DOPT_F32 || inputs % 8 != 0 || tensor;
    CHECK(!as_before || tests::same(alone, sums.its_gram.copy()));
  }
}

// A layer whose inputs depend on one another, so that rounding with feedback has something to do.
struct Problem {
  size_t groups, outputs, inputs, span;
  Floats weights, scales;
  Doubles gram, cross, power;

  Problem(size_t g, size_t o, size_t k, size_t s, std::mt19937& random)
      : groups(g), outputs(o), inputs(k), span(s), weights(normal(g * o * k, random)), scales(g * o * ((k + s - 1) / s)),
        gram(g * (k + 1) * (k + 1)), cross(g * o * (k + 1)), power(g * o) {
    for (float& v : scales) v = 0.1f + 0.01f * static_cast<float>(random() % 10);
    const size_t rows = 2 * k + 10;
    for (size_t i = 0; i < g; ++i) {
      Floats x = normal(rows * k, random), y(rows * o);
      for (size_t t = 0; t < rows; ++t) {
        for (size_t c = 1; c < k; ++c) x[t * k + c] = 0.8f * x[t * k + c - 1] + x[t * k + c] + 0.1f;
        for (size_t out = 0; out < o; ++out) {
          double sum = 0.3;
          for (size_t c = 0; c < k; ++c) sum += double(weights[(i * o + out) * k + c]) * double(x[t * k + c]);
          y[t * o + out] = float(sum) + 0.01f * normal(1, random)[0];
        }
      }
      dopt_gram_matmul(x.data(), y.data(), int64_t(rows), int64_t(k), int64_t(o), gram.data() + i * (k + 1) * (k + 1),
                       cross.data() + i * o * (k + 1), power.data() + i * o);
    }
  }
};

double sum_of(const Doubles& v) {
  double sum = 0;
  for (const double each : v) sum += each;
  return sum;
}

void solves(const Problem& p, double ridge, bool free_bias) {
  const dopt_layer layer{sizeof layer,      int64_t(p.groups), int64_t(p.outputs), int64_t(p.inputs), int64_t(p.span), -7, 7,
                         int32_t(free_bias)};
  const size_t n = p.groups * p.outputs * p.inputs, rows = p.groups * p.outputs;
  std::vector<int8_t> cpu(n);
  Doubles bias(rows), error(rows), error_of_mine(rows);
  CHECK(dopt_gram_reconstruct(&layer, p.gram.data(), p.cross.data(), p.weights.data(), p.scales.data(), ridge, 0.01,
                              cpu.data()) == DOPT_OK);
  const DeviceArray<double> gram(p.gram), cross(p.cross), power(p.power), its_bias(rows), its_error(rows);
  const DeviceArray<float> weights(p.weights), scales(p.scales);
  const DeviceArray<int8_t> integers(n);
  CHECK(dopt_cuda_gram_reconstruct(&layer, gram.get(), cross.get(), weights.get(), scales.get(), ridge, 0.01, integers.get(),
                                   nullptr) == DOPT_OK);
  const std::vector<int8_t> mine = integers.copy();
  size_t differ = 0;
  for (size_t i = 0; i < n; ++i) differ += mine[i] != cpu[i];
  // Sums in another order move a value across a border now and then, and what follows in its row with it.
  CHECK(differ * 1000 <= n + 2000);
  const double* const given = free_bias ? bias.data() : nullptr;
  dopt_gram_bias(&layer, p.gram.data(), p.cross.data(), mine.data(), p.scales.data(), bias.data());
  dopt_gram_error(&layer, p.gram.data(), p.cross.data(), p.power.data(), mine.data(), p.scales.data(), given,
                  error_of_mine.data());
  CHECK(dopt_cuda_gram_bias(&layer, gram.get(), cross.get(), integers.get(), scales.get(), its_bias.get(), nullptr) == DOPT_OK);
  CHECK(tests::distance(its_bias.copy(), bias) < 1e-10);
  CHECK(dopt_cuda_gram_error(&layer, gram.get(), cross.get(), power.get(), integers.get(), scales.get(),
                             free_bias ? its_bias.get() : nullptr, its_error.get(), nullptr) == DOPT_OK);
  CHECK(tests::distance(its_error.copy(), error_of_mine) < 1e-9);
  dopt_gram_bias(&layer, p.gram.data(), p.cross.data(), cpu.data(), p.scales.data(), bias.data());
  dopt_gram_error(&layer, p.gram.data(), p.cross.data(), p.power.data(), cpu.data(), p.scales.data(), given, error.data());
  CHECK(check::near(sum_of(error_of_mine), sum_of(error), 1e-3));
}

// Groups without variance, or with NaN, keep nearest rounding, and the others are solved all the same.
void keeps_nearest_where_there_is_nothing_to_solve() {
  std::mt19937 random(26);
  Problem p(3, 5, 70, 70, random);
  const size_t k1 = p.inputs + 1;
  std::fill_n(p.gram.begin(), k1 * k1, 0.0);
  std::fill_n(p.gram.begin() + 2 * k1 * k1, k1 * k1, NAN);
  const dopt_layer layer{sizeof layer, 3, 5, 70, 70, -7, 7, 0};
  std::vector<int8_t> cpu(p.weights.size());
  CHECK(dopt_gram_reconstruct(&layer, p.gram.data(), p.cross.data(), p.weights.data(), p.scales.data(), -1.0, 0.01,
                              cpu.data()) == DOPT_OK);
  const DeviceArray<double> gram(p.gram), cross(p.cross);
  const DeviceArray<float> weights(p.weights), scales(p.scales);
  const DeviceArray<int8_t> integers(cpu.size());
  CHECK(dopt_cuda_gram_reconstruct(&layer, gram.get(), cross.get(), weights.get(), scales.get(), -1.0, 0.01, integers.get(),
                                   nullptr) == DOPT_OK);
  const std::vector<int8_t> mine = integers.copy();
  CHECK(check::same_bits(mine.data(), cpu.data(), p.outputs * p.inputs));
  const size_t third = 2 * p.outputs * p.inputs;
  CHECK(check::same_bits(mine.data() + third, cpu.data() + third, p.outputs * p.inputs));
}

}  // namespace

void tests::integers() {
  convolves();
  multiplies();
}

void tests::grams() {
  adds_convolutions();
  adds_rows<float>(DOPT_F32, [](float v) { return v; }, 1e-13, 0.0);
  adds_rows<__half>(DOPT_F16, [](float v) { return __float2half(v); }, 1e-13, 5e-5);
  adds_rows<__nv_bfloat16>(DOPT_BF16, [](float v) { return __float2bfloat16(v); }, 1e-13, 5e-5);
}

void tests::layers() {
  std::mt19937 random(25);
  const size_t shapes[][4] = {{1, 1, 1, 1}, {1, 3, 7, 7}, {40, 1, 9, 9}, {2, 70, 64, 64}, {1, 33, 65, 16}, {1, 100, 200, 32}, {1, 64, 300, 300}};
  for (const auto& [groups, outputs, inputs, span] : shapes) {
    const Problem p(groups, outputs, inputs, span, random);
    for (const double ridge : {-1.0, 0.001, 0.1}) {
      for (const bool free_bias : {false, true}) solves(p, ridge, free_bias);
    }
  }
  keeps_nearest_where_there_is_nothing_to_solve();
}
