// Observers and range sweeps against the CPU core.
#include <cmath>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "tests.h"

namespace {

// A histogram of the CPU core.
struct Observed {
  dopt_histogram state{};
  std::vector<uint64_t> counts;
  explicit Observed(int64_t bins) : counts(static_cast<size_t>(bins)) { dopt_histogram_init(&state, bins); }
  void add(const std::vector<float>& x) { dopt_histogram_update(&state, counts.data(), x.data(), x.size()); }
};

bool same_but_sums(const dopt_histogram& a, const dopt_histogram& b) {
  return a.struct_size == b.struct_size && a.bins == b.bins && a.base == b.base && a.width == b.width && a.count == b.count &&
         a.zeros == b.zeros && a.nans == b.nans && a.infinities == b.infinities && check::same_bits(&a.min, &b.min, 1) &&
         check::same_bits(&a.max, &b.max, 1);
}

bool sums_near(const dopt_histogram& a, const dopt_histogram& b) {
  const double magnitudes = std::sqrt(static_cast<double>(b.count) * b.sum_squares);
  return std::fabs(a.sum - b.sum) <= 1e-12 * magnitudes && check::near(a.sum_squares, b.sum_squares, 1e-12);
}

void histograms(int64_t bins) {
  std::mt19937 random(11);
  for (const reference::Kind first : reference::kKinds) {
    for (const reference::Kind second : reference::kKinds) {
      Observed cpu(bins);
      const DeviceArray<dopt_histogram> state(1);
      const DeviceArray<uint64_t> counts(static_cast<size_t>(bins));
      CHECK(dopt_cuda_histogram_init(state.get(), counts.get(), bins, nullptr) == DOPT_OK);
      for (const size_t n : {size_t{1}, size_t{0}, size_t{77}, size_t{40001}, size_t{5}}) {
        for (const reference::Kind kind : {first, second}) {
          const std::vector<float> x = reference::values(kind, n, random);
          cpu.add(x);
          const DeviceArray<float> there(x, n % 3);
          CHECK(dopt_cuda_histogram_update(state.get(), counts.get(), bins, there.get(), DOPT_F32, n, nullptr) == DOPT_OK);
        }
        const dopt_histogram seen = state.copy()[0];
        CHECK(same_but_sums(seen, cpu.state));
        CHECK(sums_near(seen, cpu.state));
        CHECK(tests::same(counts, cpu.counts));
      }
    }
  }
}

template <typename T, typename Convert>
void half_types(int32_t type, Convert convert) {
  std::mt19937 random(12);
  for (const reference::Kind kind : reference::kKinds) {
    for (const size_t n : {9, 33333}) {
      const std::vector<float> x = reference::values(kind, n, random);
      std::vector<T> rounded;
      std::vector<float> widened;
      for (const float v : x) {
        rounded.push_back(convert(v));
        widened.push_back(static_cast<float>(rounded.back()));
      }
      Observed cpu(512);
      cpu.add(widened);
      const DeviceArray<T> there(rounded, 1);
      const DeviceArray<dopt_histogram> state(1);
      const DeviceArray<uint64_t> counts(512);
      MUST(dopt_cuda_histogram_init(state.get(), counts.get(), 512, nullptr));
      CHECK(dopt_cuda_histogram_update(state.get(), counts.get(), 512, there.get(), type, n, nullptr) == DOPT_OK);
      CHECK(same_but_sums(state.copy()[0], cpu.state));
      CHECK(tests::same(counts, cpu.counts));
    }
  }
}

// More tensors than a launch takes, of all sizes, some empty.
void many() {
  std::mt19937 random(13);
  constexpr size_t kTensors = 71;
  constexpr int64_t kBins = 256;
  const DeviceArray<dopt_histogram> states(kTensors);
  const DeviceArray<uint64_t> counts(kTensors * kBins);
  std::vector<Observed> cpu(kTensors, Observed(kBins));
  for (size_t i = 0; i < kTensors; ++i) {
    MUST(dopt_cuda_histogram_init(states.get() + i, counts.get() + i * kBins, kBins, nullptr));
  }
  for (int batch = 0; batch < 3; ++batch) {
    std::vector<std::vector<float>> x;
    std::vector<size_t> n;
    size_t total = 0;
    for (size_t i = 0; i < kTensors; ++i) {
      n.push_back(i % 5 == 0 ? 0 : random() % 70000);
      x.push_back(reference::values(reference::kKinds[i % 8], n.back(), random));
      cpu[i].add(x.back());
      total += n.back();
    }
    std::vector<float> all;
    for (const auto& each : x) all.insert(all.end(), each.begin(), each.end());
    const DeviceArray<float> there(all);
    std::vector<const void*> addresses;
    size_t at = 0;
    for (const size_t each : n) {
      addresses.push_back(there.get() + at);
      at += each;
    }
    CHECK(dopt_cuda_histogram_update_many(states.get(), counts.get(), kBins, addresses.data(), DOPT_F32, n.data(), kTensors,
                                          nullptr) == DOPT_OK);
    MUST(cudaDeviceSynchronize());
  }
  const std::vector<dopt_histogram> seen = states.copy();
  const std::vector<uint64_t> seen_counts = counts.copy();
  for (size_t i = 0; i < kTensors; ++i) {
    CHECK(same_but_sums(seen[i], cpu[i].state));
    CHECK(check::same_bits(seen_counts.data() + i * kBins, cpu[i].counts.data(), kBins));
  }
}

void extremes_and_sums() {
  std::mt19937 random(14);
  for (const reference::Kind kind : reference::kKinds) {
    for (const size_t n : tests::sizes(true)) {
      const std::vector<float> a = reference::values(kind, n, random);
      std::vector<float> expected{INFINITY, -INFINITY};
      for (const float v : a) {
        if (!std::isfinite(v)) continue;
        expected = {std::fmin(expected[0], v), std::fmax(expected[1], v)};
      }
      const DeviceArray<float> there(a, n % 2), extremes(2);
      CHECK(dopt_cuda_min_max(there.get(), DOPT_F32, n, extremes.get(), nullptr) == DOPT_OK);
      const std::vector<float> found = extremes.copy();
      CHECK(found[0] == expected[0] && found[1] == expected[1]);
      if (kind == reference::Kind::kSpecial) continue;
      const std::vector<float> b = reference::values(reference::Kind::kNormal, n, random);
      double cpu[4];
      dopt_error_sums(a.data(), b.data(), n, &cpu[0], &cpu[1], &cpu[2], &cpu[3]);
      const DeviceArray<float> other(b);
      const DeviceArray<double> sums(4);
      CHECK(dopt_cuda_error_sums(there.get(), other.get(), n, sums.get(), nullptr) == DOPT_OK);
      const std::vector<double> mine = sums.copy();
      for (int i = 0; i < 4; ++i) {
        const double magnitudes = i == 2 ? std::sqrt(cpu[0] * cpu[3]) : cpu[i];
        CHECK(std::fabs(mine[i] - cpu[i]) <= 1e-12 * magnitudes);
      }
    }
  }
}

}  // namespace

void tests::observers() {
  for (const int64_t bins : {8, 100, 2048, 40000}) histograms(bins);
  half_types<__half>(DOPT_F16, [](float v) { return __float2half(v); });
  half_types<__nv_bfloat16>(DOPT_BF16, [](float v) { return __float2bfloat16(v); });
  many();
  extremes_and_sums();
}

void tests::ranges() {
  std::mt19937 random(15);
  constexpr int64_t kBins = 600;
  std::vector<Observed> cpu;
  std::vector<dopt_histogram> states;
  std::vector<uint64_t> counts;
  for (const reference::Kind kind : reference::kKinds) {
    for (const size_t n : {0, 3, 5000}) {
      std::vector<float> x = reference::values(kind, n, random);
      if (n == 5000 && kind == reference::Kind::kNormal) {
        for (float& v : x) v = 4.0f * v / (1.0f + std::exp(-4.0f * v));  // both ends want a clip of their own
      }
      cpu.emplace_back(kBins);
      cpu.back().add(x);
      states.push_back(cpu.back().state);
      counts.insert(counts.end(), cpu.back().counts.begin(), cpu.back().counts.end());
    }
  }
  const size_t tensors = cpu.size();
  const DeviceArray<dopt_histogram> its_states(states);
  const DeviceArray<uint64_t> its_counts(counts);
  const int32_t formats[][3] = {{8, 0, 0}, {8, 1, 1}, {4, 0, 0}, {4, 1, 1}, {16, 1, 0}, {2, 0, 0}};
  for (const auto& f : formats) {
    std::vector<double> low(tensors), high(tensors), error(tensors);
    for (size_t i = 0; i < tensors; ++i) {
      dopt_range_mse(&cpu[i].state, cpu[i].counts.data(), f[0], f[1], f[2], &low[i], &high[i], &error[i]);
    }
    const DeviceArray<double> its_low(tensors), its_high(tensors), its_error(tensors);
    CHECK(dopt_cuda_range_mse(its_states.get(), its_counts.get(), kBins, tensors, f[0], f[1], f[2], its_low.get(),
                              its_high.get(), its_error.get(), nullptr) == DOPT_OK);
    const std::vector<double> found_low = its_low.copy(), found_high = its_high.copy();
    for (size_t i = 0; i < tensors; ++i) {
      if (check::same_bits(&found_low[i], &low[i], 1) && check::same_bits(&found_high[i], &high[i], 1)) continue;
      std::fprintf(stderr, "%d bits, signed %d, symmetric %d, histogram %zu: [%a, %a], expected [%a, %a], error %a\n", f[0], f[1],
                   f[2], i, found_low[i], found_high[i], low[i], high[i], error[i]);
    }
    CHECK(tests::same(its_low, low));
    CHECK(tests::same(its_high, high));
    CHECK(tests::same(its_error, error));
  }
}
