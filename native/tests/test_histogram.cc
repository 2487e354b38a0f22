// The observer against its description: any batches, any order, any merge, any number of threads.
#include <algorithm>
#include <string>

#include "check.h"
#include "kernels.h"
#include "reference.h"

namespace {

using reference::Histogram;

Histogram empty(int64_t bins) {
  Histogram h{{}, std::vector<uint64_t>(static_cast<size_t>(bins), 0)};
  CHECK(dopt_histogram_init(&h.state, bins) == DOPT_OK);
  return h;
}

bool equal(const Histogram& a, const Histogram& b) {
  const dopt_histogram &x = a.state, &y = b.state;
  return x.bins == y.bins && x.base == y.base && x.width == y.width && x.count == y.count && x.zeros == y.zeros &&
         x.nans == y.nans && x.infinities == y.infinities && check::same_bits(&x.min, &y.min, 1) &&
         check::same_bits(&x.max, &y.max, 1) && check::near(x.sum_squares, y.sum_squares, 1e-12) &&
         // The sum may cancel: its error is relative to the sum of magnitudes, which sqrt(n * squares) bounds.
         check::near(x.sum, y.sum, 0.0, 1e-12 * std::sqrt(double(x.count) * x.sum_squares)) && a.counts == b.counts;
}

void against_reference() {
  std::mt19937 random(1);
  for (const reference::Kind kind : reference::kKinds) {
    for (const size_t n : reference::sizes()) {
      for (const int64_t bins : {8, 61, 2048}) {
        const std::vector<float> x = reference::values(kind, n, random);
        Histogram h = empty(bins);
        CHECK(dopt_histogram_update(&h.state, h.counts.data(), x.data(), n) == DOPT_OK);
        CHECK(equal(h, reference::histogram(x, bins)));
      }
    }
  }
}

// Batches of different scales, split at random and read from addresses of every alignment a float may have.
void widens_in_batches_and_merges() {
  std::mt19937 random(2);
  for (int trial = 0; trial < 200; ++trial) {
    const int64_t bins = 8 + static_cast<int64_t>(random() % 300);
    Histogram in_turn = empty(bins), left = empty(bins), right = empty(bins);
    std::vector<float> all;
    for (int batch = 0; batch < 4; ++batch) {
      const reference::Kind kind = reference::kKinds[random() % std::size(reference::kKinds)];
      std::vector<float> x = reference::values(kind, random() % 5000, random);
      const float factor = std::ldexp(1.0f, static_cast<int>(random() % 40) - 20);
      for (float& v : x) v *= factor;
      const size_t skip = std::min<size_t>(x.size(), random() % 16);
      const float* from = x.data() + skip;
      const size_t n = x.size() - skip;
      CHECK(dopt_histogram_update(&in_turn.state, in_turn.counts.data(), from, n) == DOPT_OK);
      Histogram& side = batch % 2 == 0 ? left : right;
      CHECK(dopt_histogram_update(&side.state, side.counts.data(), from, n) == DOPT_OK);
      all.insert(all.end(), from, from + n);
    }
    const Histogram expected = reference::histogram(all, bins);
    CHECK(equal(in_turn, expected));
    CHECK(dopt_histogram_merge(&left.state, left.counts.data(), &right.state, right.counts.data()) == DOPT_OK);
    CHECK(equal(left, expected));
  }
}

// More equal values than a 16-bit table cell holds.
void many_equal_values() {
  const std::vector<float> x(400001, 2.5f);
  Histogram h = empty(64);
  CHECK(dopt_histogram_update(&h.state, h.counts.data(), x.data(), x.size()) == DOPT_OK);
  CHECK(equal(h, reference::histogram(x, 64)));
}

void threads_do_not_change_results() {
  std::mt19937 random(3);
  constexpr size_t kTensors = 37;
  std::vector<std::vector<float>> x;
  for (size_t i = 0; i < kTensors; ++i) {
    x.push_back(reference::values(reference::kKinds[i % 8], i == 5 ? 300000 : random() % 20000, random));
  }
  std::vector<std::vector<Histogram>> results;
  // Fewer again at the end: workers beyond the number must sit still.
  for (const int32_t threads : {1, 7, 2}) {
    CHECK(dopt_set_threads(threads) == DOPT_OK);
    std::vector<Histogram> set;
    std::vector<dopt_histogram> states;
    for (size_t i = 0; i < kTensors; ++i) set.push_back(empty(128));
    for (const Histogram& h : set) states.push_back(h.state);
    std::vector<uint64_t*> counts;
    std::vector<const float*> data;
    std::vector<size_t> n;
    for (size_t i = 0; i < kTensors; ++i) {
      counts.push_back(set[i].counts.data());
      data.push_back(x[i].data());
      n.push_back(i == 9 ? 0 : x[i].size());
    }
    for (int repeat = 0; repeat < 20; ++repeat) {
      CHECK(dopt_histogram_update_many(states.data(), counts.data(), data.data(), n.data(), kTensors) == DOPT_OK);
    }
    for (size_t i = 0; i < kTensors; ++i) set[i].state = states[i];
    CHECK(set[9].state.count == 0);
    results.push_back(std::move(set));
  }
  for (size_t i = 0; i < kTensors; ++i) {
    for (size_t t = 1; t < results.size(); ++t) {
      CHECK(check::same_bits(&results[0][i].state, &results[t][i].state, 1));
      CHECK(results[0][i].counts == results[t][i].counts);
    }
  }
  CHECK(dopt_set_threads(0) == DOPT_OK);
}

void kernels_agree_between_sets() {
  std::mt19937 random(4);
  size_t sets = 0;
  const dopt::Kernels* const* tables = dopt::runnable_kernels(&sets);
  for (const reference::Kind kind : reference::kKinds) {
    for (const size_t n : reference::sizes()) {
      if (n == 0 || n > dopt::kBlock) continue;
      const std::vector<float> x = reference::values(kind, n, random);
      dopt::BlockStats first;
      tables[0]->block_stats(x.data(), n, &first);
      std::vector<uint32_t> slots(n), other(n);
      const bool finite = std::all_of(x.begin(), x.end(), [](float v) { return std::fabs(v) < 1e6f; });
      if (finite) tables[0]->bin_slots(x.data(), n, 0.25f, -3, 5, slots.data());
      for (size_t s = 1; s < sets; ++s) {
        dopt::BlockStats stats;
        tables[s]->block_stats(x.data(), n, &stats);
        CHECK(stats.nonfinite == first.nonfinite);
        if (!first.nonfinite) {
          CHECK(stats.min == first.min && stats.max == first.max);
          CHECK(check::same_bits(&stats.sum, &first.sum, 1));
          CHECK(check::same_bits(&stats.sum_squares, &first.sum_squares, 1));
        }
        if (!finite) continue;
        tables[s]->bin_slots(x.data(), n, 0.25f, -3, 5, other.data());
        CHECK(slots == other);
      }
    }
  }
}

void refuses_bad_arguments() {
  Histogram h = empty(16);
  dopt_histogram other;
  const float x[] = {1.0f};
  uint64_t counts[16] = {};
  CHECK(dopt_histogram_init(nullptr, 16) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_histogram_init(&other, 7) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_histogram_init(&other, (1 << 20) + 1) == DOPT_ERROR_ARGUMENT);
  CHECK(std::string(dopt_last_error()).find("expected 8 to 1048576") != std::string::npos);
  CHECK(dopt_histogram_update(&h.state, nullptr, x, 1) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_histogram_update(&h.state, counts, nullptr, 1) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_histogram_update(&h.state, counts, nullptr, 0) == DOPT_OK);
  other = h.state;
  other.struct_size = 8;
  CHECK(dopt_histogram_update(&other, counts, x, 1) == DOPT_ERROR_ARGUMENT);
  other = h.state;
  other.count = 3;
  other.max = 5.0f;  // width and base do not fit
  CHECK(dopt_histogram_update(&other, counts, x, 1) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_histogram_merge(&h.state, h.counts.data(), &h.state, h.counts.data()) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_histogram_init(&other, 32) == DOPT_OK);
  std::vector<uint64_t> wide(32);
  CHECK(dopt_histogram_merge(&h.state, h.counts.data(), &other, wide.data()) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_set_threads(-1) == DOPT_ERROR_ARGUMENT && dopt_set_threads(257) == DOPT_ERROR_ARGUMENT);
}

}  // namespace

int main() {
  against_reference();
  widens_in_batches_and_merges();
  many_equal_values();
  threads_do_not_change_results();
  kernels_agree_between_sets();
  refuses_bad_arguments();
  return check::result("test_histogram");
}
