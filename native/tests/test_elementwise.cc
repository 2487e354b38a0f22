// Quantize, dequantize, requantize, per-channel forms and error sums against their definitions.
#include <cfloat>
#include <climits>
#include <limits>
#include <type_traits>

#include "check.h"
#include "kernels.h"
#include "reference.h"

namespace {

constexpr float kScales[] = {1.0f, 0.1f, 0.0123f, 3.0f, FLT_MIN, FLT_TRUE_MIN, 1e30f};

template <typename T>
void quantizes(dopt_status (*quantize)(const float*, size_t, float, int32_t, T*),
               dopt_status (*dequantize)(const T*, size_t, float, int32_t, float*), int32_t zero_point) {
  constexpr int32_t kMin = std::numeric_limits<T>::min(), kMax = std::numeric_limits<T>::max();
  std::mt19937 random(5);
  for (const reference::Kind kind : reference::kKinds) {
    for (const float scale : kScales) {
      for (const size_t n : reference::sizes()) {
        if (n > 300 && scale != 0.1f) continue;
        // One element in, so that no address is aligned to a vector.
        std::vector<float> x = reference::values(kind, n + 1, random), back(n + 1), expected_back(n);
        std::vector<T> q(n + 1), expected(n);
        CHECK(quantize(x.data() + 1, n, scale, zero_point, q.data() + 1) == DOPT_OK);
        for (size_t i = 0; i < n; ++i) {
          expected[i] = static_cast<T>(reference::quantize(x[i + 1], scale, zero_point, kMin, kMax));
        }
        CHECK(check::same_bits(q.data() + 1, expected.data(), n));
        CHECK(dequantize(q.data() + 1, n, scale, zero_point, back.data() + 1) == DOPT_OK);
        for (size_t i = 0; i < n; ++i) expected_back[i] = static_cast<float>(int32_t{expected[i]} - zero_point) * scale;
        CHECK(check::same_bits(back.data() + 1, expected_back.data(), n));
        // Fake quantization is the two in one, also in place.
        CHECK(dopt_fake_quantize(x.data() + 1, n, scale, zero_point, kMin, kMax, x.data() + 1) == DOPT_OK);
        CHECK(check::same_bits(x.data() + 1, expected_back.data(), n));
      }
    }
  }
}

void rounds_ties_to_even() {
  const float x[] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f, 127.5f, -128.5f};
  const int8_t expected[] = {0, 2, 2, 0, -2, -2, 126, 127, -128};
  int8_t q[9];
  CHECK(dopt_quantize_i8(x, 9, 1.0f, 0, q) == DOPT_OK);
  CHECK(check::same_bits(q, expected, 9));
}

void requantizes() {
  std::mt19937 random(6);
  std::uniform_int_distribution<int32_t> any(INT32_MIN, INT32_MAX);
  for (const double multiplier : {0.5, 1e-9, 0.00123, -0.25, 0.0, 1e300}) {
    for (const size_t n : reference::sizes()) {
      std::vector<int32_t> acc(n);
      for (int32_t& a : acc) a = random() % 4 == 0 ? any(random) : static_cast<int32_t>(random() % 2000) - 1000;
      std::vector<uint8_t> u(n);
      std::vector<int8_t> s(n);
      CHECK(dopt_requantize_i32_u8(acc.data(), n, multiplier, 7, u.data()) == DOPT_OK);
      CHECK(dopt_requantize_i32_i8(acc.data(), n, multiplier, -5, s.data()) == DOPT_OK);
      for (size_t i = 0; i < n; ++i) {
        const double v = std::nearbyint(acc[i] * multiplier);
        CHECK(u[i] == static_cast<uint8_t>(std::fmin(std::fmax(v + 7, 0), 255)));
        CHECK(s[i] == static_cast<int8_t>(std::fmin(std::fmax(v - 5, -128), 127)));
      }
    }
  }
}

void dequantizes_accumulators() {
  const int32_t q[] = {INT32_MIN, -1, 0, 1, INT32_MAX, 16777217};
  float out[6];
  CHECK(dopt_dequantize_i32(q, 6, 0.5f, 1, out) == DOPT_OK);
  for (int i = 0; i < 6; ++i) CHECK(out[i] == static_cast<float>(static_cast<double>(int64_t{q[i]} - 1)) * 0.5f);
}

void per_channel() {
  std::mt19937 random(7);
  for (const size_t inner : {0, 1, 3, 16, 33}) {
    for (const size_t channels : {1, 5}) {
      for (const size_t outer : {0, 1, 4}) {
        const size_t n = outer * channels * inner;
        const std::vector<float> w = reference::values(reference::Kind::kSpecial, n, random);
        std::vector<float> absmax(channels, -1.0f), expected(channels, 0.0f), back(n), fake(n), scales(channels);
        for (size_t i = 0; i < n; ++i) {
          float& best = expected[i / inner % channels];
          if (std::isfinite(w[i])) best = std::fmax(best, std::fabs(w[i]));
        }
        CHECK(dopt_channel_absmax(w.data(), outer, channels, inner, absmax.data()) == DOPT_OK);
        CHECK(check::same_bits(absmax.data(), expected.data(), channels));
        for (size_t c = 0; c < channels; ++c) scales[c] = 0.01f * static_cast<float>(c + 1);
        std::vector<int8_t> q(n);
        std::vector<int32_t> zero_points(channels, 3);
        CHECK(dopt_quantize_i8_channels(w.data(), outer, channels, inner, scales.data(), q.data()) == DOPT_OK);
        CHECK(dopt_dequantize_i8_channels(q.data(), outer, channels, inner, scales.data(), back.data()) == DOPT_OK);
        CHECK(dopt_fake_quantize_channels(w.data(), outer, channels, inner, scales.data(), zero_points.data(), 0, 255,
                                          fake.data()) == DOPT_OK);
        for (size_t i = 0; i < n; ++i) {
          const float scale = scales[i / inner % channels];
          const int32_t expected_q = reference::quantize(w[i], scale, 0, -127, 127);
          CHECK(q[i] == expected_q);
          CHECK(back[i] == static_cast<float>(expected_q) * scale);
          CHECK(fake[i] == static_cast<float>(reference::quantize(w[i], scale, 3, 0, 255) - 3) * scale);
        }
      }
    }
  }
}

void error_sums() {
  std::mt19937 random(8);
  size_t sets = 0;
  const dopt::Kernels* const* tables = dopt::runnable_kernels(&sets);
  for (const size_t n : reference::sizes()) {
    const std::vector<float> a = reference::values(reference::Kind::kWide, n, random);
    const std::vector<float> b = reference::values(reference::Kind::kNormal, n, random);
    long double expected[4] = {};
    long double magnitude = 0;
    for (size_t i = 0; i < n; ++i) {
      const long double x = a[i], y = b[i], d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      expected[0] += x * x;
      expected[1] += d * d;
      expected[2] += x * y;
      expected[3] += y * y;
      magnitude += std::fabs(x * y);
    }
    double sums[4];
    CHECK(dopt_error_sums(a.data(), b.data(), n, &sums[0], &sums[1], &sums[2], &sums[3]) == DOPT_OK);
    CHECK_NEAR(sums[0], double(expected[0]), 1e-12);
    CHECK_NEAR(sums[1], double(expected[1]), 1e-12);
    CHECK(std::fabs(sums[2] - double(expected[2])) <= 1e-12 * double(magnitude));
    CHECK_NEAR(sums[3], double(expected[3]), 1e-12);
    if (n > dopt::kBlock) continue;
    dopt::ErrorSums first, other;
    tables[0]->error_sums(a.data(), b.data(), n, &first);
    for (size_t s = 1; s < sets; ++s) {
      tables[s]->error_sums(a.data(), b.data(), n, &other);
      CHECK(check::same_bits(&first, &other, 1));
    }
  }
  const float bad[] = {1.0f, NAN}, good[] = {1.0f, 2.0f};
  double sums[4];
  CHECK(dopt_error_sums(bad, good, 2, &sums[0], &sums[1], &sums[2], &sums[3]) == DOPT_OK);
  CHECK(std::isnan(sums[0]) && std::isnan(sums[1]) && std::isnan(sums[2]) && sums[3] == 5.0);
}

void refuses_bad_arguments() {
  const float x[] = {1.0f};
  uint8_t q[1];
  float out[1];
  CHECK(dopt_quantize_u8(x, 1, 0.0f, 0, q) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_quantize_u8(x, 1, -1.0f, 0, q) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_quantize_u8(x, 1, NAN, 0, q) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_quantize_u8(x, 1, INFINITY, 0, q) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_quantize_u8(x, 1, 1.0f, 256, q) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_quantize_u8(nullptr, 1, 1.0f, 0, q) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_quantize_u8(nullptr, 0, 1.0f, 0, nullptr) == DOPT_OK);
  CHECK(dopt_fake_quantize(x, 1, 1.0f, 0, 1, 5, out) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_fake_quantize(x, 1, 1.0f, 0, -70000, 5, out) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_channel_absmax(x, SIZE_MAX, 2, 2, out) == DOPT_ERROR_ARGUMENT);
  const float zero_scale[] = {0.0f};
  CHECK(dopt_quantize_i8_channels(x, 1, 1, 1, zero_scale, reinterpret_cast<int8_t*>(q)) == DOPT_ERROR_ARGUMENT);
}

}  // namespace

int main() {
  quantizes<uint8_t>(dopt_quantize_u8, dopt_dequantize_u8, 0);
  quantizes<uint8_t>(dopt_quantize_u8, dopt_dequantize_u8, 113);
  quantizes<int8_t>(dopt_quantize_i8, dopt_dequantize_i8, -128);
  quantizes<int8_t>(dopt_quantize_i8, dopt_dequantize_i8, 0);
  quantizes<uint16_t>(dopt_quantize_u16, dopt_dequantize_u16, 65535);
  quantizes<int16_t>(dopt_quantize_i16, dopt_dequantize_i16, -32768);
  rounds_ties_to_even();
  requantizes();
  dequantizes_accumulators();
  per_channel();
  error_sums();
  refuses_bad_arguments();
  return check::result("test_elementwise");
}
