// Speed of the observers and the sweeps on this machine, beside what memory and a bare min/max pass allow.
// Not a test: figures depend on the machine and its neighbours. Each is the best of several runs.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "dopt.h"
#include "kernels.h"

namespace {

template <typename Work>
double best_seconds(int runs, Work&& work) {
  double best = 1e30;
  for (int i = 0; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

std::vector<float> sample(size_t n, const char* shape) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& v : x) {
    v = normal(random);
    if (std::strcmp(shape, "relu") == 0) v = std::max(v, 0.0f);
    if (std::strcmp(shape, "relu6") == 0) v = std::min(std::max(3.0f * v, 0.0f), 6.0f);
    if (std::strcmp(shape, "constant") == 0) v = 1.5f;
  }
  return x;
}

struct Set {
  std::vector<dopt_histogram> states;
  std::vector<std::vector<uint64_t>> rows;
  std::vector<uint64_t*> counts;
  std::vector<const float*> x;
  std::vector<size_t> n;

  Set(const std::vector<float>& data, size_t tensors, int64_t bins)
      : states(tensors), rows(tensors, std::vector<uint64_t>(static_cast<size_t>(bins))), n(tensors) {
    for (size_t i = 0; i < tensors; ++i) {
      dopt_histogram_init(&states[i], bins);
      counts.push_back(rows[i].data());
      n[i] = data.size() / tensors;
      x.push_back(data.data() + i * n[i]);
    }
  }
  void update() { dopt_histogram_update_many(states.data(), counts.data(), x.data(), n.data(), states.size()); }
};

void observers() {
  constexpr size_t kValues = size_t{1} << 24;
  std::vector<float> copy(kValues);
  for (const char* shape : {"normal", "relu", "relu6", "constant"}) {
    const std::vector<float> x = sample(kValues, shape);
    const double gigabytes = static_cast<double>(kValues) * sizeof(float) / 1e9;
    std::printf("%-9s memcpy %5.1f GB/s", shape,
                gigabytes / best_seconds(7, [&] { std::memcpy(copy.data(), x.data(), kValues * sizeof(float)); }));
    std::printf(", min/max and sums %5.1f", gigabytes / best_seconds(7, [&] {
                                              dopt::BlockStats stats;
                                              for (size_t i = 0; i < kValues; i += dopt::kBlock) {
                                                dopt::kernels().block_stats(x.data() + i, dopt::kBlock, &stats);
                                                copy[0] = stats.max;
                                              }
                                            }));
    for (const int32_t threads : {1, 2}) {
      dopt_set_threads(threads);
      Set set(x, 64, 2048);
      std::printf(", histogram x%d %5.1f", threads, gigabytes / best_seconds(7, [&] { set.update(); }));
    }
    std::printf("\n");
  }
  // Many small tensors: what a call costs beside its values.
  const std::vector<float> x = sample(100 * 1000, "normal");
  Set set(x, 100, 2048);
  for (const int32_t threads : {1, 2}) {
    dopt_set_threads(threads);
    std::printf("100 tensors of 1000 values, %d threads: %.1f us\n", threads,
                1e6 * best_seconds(200, [&] { set.update(); }));
  }
}

void sweeps() {
  std::vector<float> x = sample(size_t{1} << 20, "normal");
  for (float& v : x) v = 4.0f * v / (1.0f + std::exp(-4.0f * v));
  Set set(x, 1, 2048);
  set.update();
  double low = 0.0, high = 0.0, error = 0.0;
  const auto timed = [&](const char* name, auto&& work) {
    const double seconds = best_seconds(7, work);
    std::printf("%-12s %6.2f ms  [%g, %g]\n", name, 1e3 * seconds, low, high);
  };
  for (const int32_t bits : {4, 8, 16}) {
    std::printf("%d bits, asymmetric, 2048 bins\n", bits);
    timed("  mse", [&] { dopt_range_mse(&set.states[0], set.counts[0], bits, 0, 0, &low, &high, &error); });
    timed("  entropy", [&] { dopt_range_entropy(&set.states[0], set.counts[0], bits, 0, 0, &low, &high, &error); });
  }
  timed("percentile", [&] { dopt_range_percentile(&set.states[0], set.counts[0], 0.9999, &low, &high); });
}

void elementwise() {
  const std::vector<float> x = sample(size_t{1} << 22, "normal");
  std::vector<uint8_t> q(x.size());
  std::vector<float> back(x.size());
  const double gigabytes = static_cast<double>(x.size()) * sizeof(float) / 1e9;
  double sums[4];
  std::printf(
      "quantize u8 %.1f GB/s of floats, dequantize %.1f, fake quantize %.1f, error sums %.1f\n",
      gigabytes / best_seconds(9, [&] { dopt_quantize_u8(x.data(), x.size(), 0.02f, 128, q.data()); }),
      gigabytes / best_seconds(9, [&] { dopt_dequantize_u8(q.data(), x.size(), 0.02f, 128, back.data()); }),
      gigabytes / best_seconds(9, [&] { dopt_fake_quantize(x.data(), x.size(), 0.02f, 128, 0, 255, back.data()); }),
      gigabytes / best_seconds(9, [&] {
        dopt_error_sums(x.data(), back.data(), x.size(), &sums[0], &sums[1], &sums[2], &sums[3]);
      }));
}

}  // namespace

int main() {
  std::printf("%s\n", dopt_build_info());
  observers();
  sweeps();
  elementwise();
  return 0;
}
