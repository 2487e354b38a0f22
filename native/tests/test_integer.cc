// Integer convolution and product against an independent formulation, and packing.
#include <random>
#include <vector>

#include "check.h"
#include "dopt.h"

namespace {

// The convolution as a scatter: every input value is added to the outputs that see it.
std::vector<int32_t> scatter(const dopt_conv2d_shape& s, const std::vector<uint8_t>& x, int32_t zero_point,
                             const std::vector<int8_t>& w, const int32_t* bias, int64_t rows, int64_t columns) {
  std::vector<int32_t> out(static_cast<size_t>(s.batch * s.out_channels * rows * columns), 0);
  const int64_t in_group = s.in_channels / s.groups, out_group = s.out_channels / s.groups;
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t c = 0; c < s.in_channels; ++c)
      for (int64_t h = 0; h < s.in_height; ++h)
        for (int64_t v = 0; v < s.in_width; ++v)
          for (int64_t kh = 0; kh < s.kernel_height; ++kh)
            for (int64_t kw = 0; kw < s.kernel_width; ++kw) {
              const int64_t top = h + s.pad_top - kh * s.dilation_height;
              const int64_t left = v + s.pad_left - kw * s.dilation_width;
              if (top < 0 || left < 0 || top % s.stride_height != 0 || left % s.stride_width != 0) continue;
              const int64_t row = top / s.stride_height, column = left / s.stride_width;
              if (row >= rows || column >= columns) continue;
              const int32_t value =
                  x[static_cast<size_t>(((n * s.in_channels + c) * s.in_height + h) * s.in_width + v)];
              for (int64_t g = 0; g < out_group; ++g) {
                const int64_t o = c / in_group * out_group + g;
                const size_t at =
                    static_cast<size_t>(((o * in_group + c % in_group) * s.kernel_height + kh) * s.kernel_width + kw);
                out[static_cast<size_t>(((n * s.out_channels + o) * rows + row) * columns + column)] +=
                    (value - zero_point) * w[at];
              }
            }
  for (size_t i = 0; i < out.size() && bias != nullptr; ++i) {
    out[i] += bias[i / static_cast<size_t>(rows * columns) % static_cast<size_t>(s.out_channels)];
  }
  return out;
}

template <typename T>
std::vector<T> bytes(int64_t n, std::mt19937& random) {
  std::vector<T> all(static_cast<size_t>(n));
  for (T& v : all) v = static_cast<T>(random());
  return all;
}

void convolutions() {
  std::mt19937 random(12);
  for (int trial = 0; trial < 300; ++trial) {
    const auto draw = [&](int64_t low, int64_t high) { return low + int64_t(random() % uint64_t(high - low + 1)); };
    dopt_conv2d_shape s{};
    s.struct_size = sizeof s;
    s.groups = draw(1, 3);
    s.batch = draw(1, 2);
    s.in_channels = s.groups * draw(1, 3);
    s.out_channels = s.groups * draw(1, 3);
    s.in_height = draw(1, 7);
    s.in_width = draw(1, 7);
    s.kernel_height = draw(1, 3);
    s.kernel_width = draw(1, 3);
    s.stride_height = draw(1, 3);
    s.stride_width = draw(1, 3);
    s.dilation_height = draw(1, 2);
    s.dilation_width = draw(1, 2);
    s.pad_top = draw(0, 2);
    s.pad_left = draw(0, 2);
    s.pad_bottom = draw(0, 2);
    s.pad_right = draw(0, 2);
    const int64_t tall = s.in_height + s.pad_top + s.pad_bottom - s.dilation_height * (s.kernel_height - 1) - 1;
    const int64_t wide = s.in_width + s.pad_left + s.pad_right - s.dilation_width * (s.kernel_width - 1) - 1;
    const auto x = bytes<uint8_t>(s.batch * s.in_channels * s.in_height * s.in_width, random);
    const auto w = bytes<int8_t>(s.out_channels * s.in_channels / s.groups * s.kernel_height * s.kernel_width, random);
    std::vector<int32_t> bias(static_cast<size_t>(s.out_channels));
    for (int32_t& b : bias) b = static_cast<int32_t>(random() % 2000) - 1000;
    const int32_t* const b = trial % 2 == 0 ? bias.data() : nullptr;
    const int32_t zero_point = static_cast<int32_t>(random() % 256);
    if (tall < 0 || wide < 0) {
      int32_t unused;
      CHECK(dopt_conv2d_u8s8_s32(&s, x.data(), zero_point, w.data(), b, &unused) == DOPT_ERROR_ARGUMENT);
      continue;
    }
    const int64_t rows = tall / s.stride_height + 1, columns = wide / s.stride_width + 1;
    const std::vector<int32_t> expected = scatter(s, x, zero_point, w, b, rows, columns);
    std::vector<int32_t> out(expected.size());
    CHECK(dopt_conv2d_u8s8_s32(&s, x.data(), zero_point, w.data(), b, out.data()) == DOPT_OK);
    CHECK(out == expected);
  }
}

// A 1x1 convolution is a matrix product.
void products() {
  std::mt19937 random(13);
  for (const size_t m : {1, 4}) {
    for (const size_t k : {0, 1, 9}) {
      for (const size_t n : {1, 5}) {
        const auto x = bytes<uint8_t>(int64_t(m * k), random);
        const auto w = bytes<int8_t>(int64_t(k * n), random);
        std::vector<int32_t> bias(n, 17), out(m * n);
        CHECK(dopt_matmul_u8s8_s32(x.data(), 100, w.data(), bias.data(), m, k, n, out.data()) == DOPT_OK);
        for (size_t row = 0; row < m; ++row) {
          for (size_t column = 0; column < n; ++column) {
            int64_t sum = 17;
            for (size_t i = 0; i < k; ++i) sum += (int64_t{x[row * k + i]} - 100) * w[i * n + column];
            CHECK(out[row * n + column] == sum);
          }
        }
      }
    }
  }
  // Sums wrap instead of being undefined.
  const uint8_t x[] = {255};
  const int8_t w[] = {127};
  const int32_t bias[] = {INT32_MAX};
  int32_t out[1];
  CHECK(dopt_matmul_u8s8_s32(x, 0, w, bias, 1, 1, 1, out) == DOPT_OK);
  CHECK(out[0] == static_cast<int32_t>(uint32_t{INT32_MAX} + 255u * 127u));
}

void packing() {
  const int8_t x[] = {-8, 7, 0, -1, 3};
  const uint8_t expected[] = {0x78, 0xf0, 0x03};
  uint8_t packed[3];
  int8_t back[5];
  CHECK(dopt_pack_int4(x, 5, packed) == DOPT_OK);
  CHECK(check::same_bits(packed, expected, 3));
  CHECK(dopt_unpack_int4(packed, 5, back) == DOPT_OK);
  CHECK(check::same_bits(back, x, 5));
  const int8_t bad[] = {8};
  CHECK(dopt_pack_int4(bad, 1, packed) == DOPT_ERROR_ARGUMENT);
}

void refuses_bad_arguments() {
  dopt_conv2d_shape s{};
  const uint8_t x[] = {1};
  const int8_t w[] = {1};
  int32_t out[1];
  CHECK(dopt_conv2d_u8s8_s32(&s, x, 0, w, nullptr, out) == DOPT_ERROR_ARGUMENT);
  s = {sizeof s, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0};
  CHECK(dopt_conv2d_u8s8_s32(&s, x, 0, w, nullptr, out) == DOPT_OK && out[0] == 1);
  CHECK(dopt_conv2d_u8s8_s32(&s, x, 256, w, nullptr, out) == DOPT_ERROR_ARGUMENT);
  s.groups = 2;
  CHECK(dopt_conv2d_u8s8_s32(&s, x, 0, w, nullptr, out) == DOPT_ERROR_ARGUMENT);
}

}  // namespace

int main() {
  convolutions();
  products();
  packing();
  refuses_bad_arguments();
  return check::result("test_integer");
}
