// Reference integer arithmetic and packing: written to be read, not to be fast.
#include <cstdint>

#include "conv_shape.h"
#include "dopt.h"
#include "status.h"

namespace dopt {
namespace {

// Sum of one window. (n, o) choose sample and output channel, (top, left) the window's corner in the input.
uint32_t window_sum(const dopt_conv2d_shape& s, const uint8_t* x, int32_t x_zero_point, const int8_t* w, int64_t n,
                    int64_t o, int64_t top, int64_t left) {
  const int64_t per_group = s.in_channels / s.groups;
  const int64_t first = o / (s.out_channels / s.groups) * per_group;
  uint32_t sum = 0;
  for (int64_t i = 0; i < per_group; ++i) {
    for (int64_t kh = 0; kh < s.kernel_height; ++kh) {
      const int64_t h = top + kh * s.dilation_height;
      if (h < 0 || h >= s.in_height) continue;
      for (int64_t kw = 0; kw < s.kernel_width; ++kw) {
        const int64_t v = left + kw * s.dilation_width;
        if (v < 0 || v >= s.in_width) continue;
        const int32_t value = x[((n * s.in_channels + first + i) * s.in_height + h) * s.in_width + v] - x_zero_point;
        const int32_t weight = w[((o * per_group + i) * s.kernel_height + kh) * s.kernel_width + kw];
        sum += static_cast<uint32_t>(value * weight);
      }
    }
  }
  return sum;
}

}  // namespace

}  // namespace dopt

extern "C" {

dopt_status dopt_conv2d_u8s8_s32(const dopt_conv2d_shape* shape, const uint8_t* x, int32_t x_zero_point,
                                 const int8_t* w, const int32_t* bias, int32_t* out) {
  return dopt::guarded([&]() -> dopt_status {
    if (const dopt_status bad = dopt::check_conv(shape)) return bad;
    DOPT_REQUIRE(x != nullptr && w != nullptr && out != nullptr, "x, w or out is NULL");
    DOPT_REQUIRE(x_zero_point >= 0 && x_zero_point <= 255, "zero point %d is outside 0..255", x_zero_point);
    const dopt_conv2d_shape& s = *shape;
    const int64_t rows =
        dopt::output_size(s.in_height, s.pad_top, s.pad_bottom, s.kernel_height, s.stride_height, s.dilation_height);
    const int64_t columns =
        dopt::output_size(s.in_width, s.pad_left, s.pad_right, s.kernel_width, s.stride_width, s.dilation_width);
    DOPT_REQUIRE(rows > 0 && columns > 0, "the kernel does not fit into the padded input");
    for (int64_t n = 0; n < s.batch; ++n) {
      for (int64_t o = 0; o < s.out_channels; ++o) {
        for (int64_t h = 0; h < rows; ++h) {
          for (int64_t v = 0; v < columns; ++v) {
            const uint32_t sum = dopt::window_sum(s, x, x_zero_point, w, n, o, h * s.stride_height - s.pad_top,
                                                  v * s.stride_width - s.pad_left);
            *out++ = static_cast<int32_t>(sum + static_cast<uint32_t>(bias == nullptr ? 0 : bias[o]));
          }
        }
      }
    }
    return DOPT_OK;
  });
}

dopt_status dopt_matmul_u8s8_s32(const uint8_t* x, int32_t x_zero_point, const int8_t* w, const int32_t* bias, size_t m,
                                 size_t k, size_t n, int32_t* out) {
  return dopt::guarded([&]() -> dopt_status {
    DOPT_REQUIRE(x_zero_point >= 0 && x_zero_point <= 255, "zero point %d is outside 0..255", x_zero_point);
    DOPT_REQUIRE(m == 0 || n == 0 || (out != nullptr && (k == 0 || (x != nullptr && w != nullptr))),
                 "x, w or out is NULL");
    for (size_t row = 0; row < m; ++row) {
      for (size_t column = 0; column < n; ++column) {
        uint32_t sum = static_cast<uint32_t>(bias == nullptr ? 0 : bias[column]);
        for (size_t i = 0; i < k; ++i) {
          sum += static_cast<uint32_t>((x[row * k + i] - x_zero_point) * w[i * n + column]);
        }
        out[row * n + column] = static_cast<int32_t>(sum);
      }
    }
    return DOPT_OK;
  });
}

dopt_status dopt_pack_int4(const int8_t* x, size_t n, uint8_t* out) {
  DOPT_REQUIRE((x != nullptr && out != nullptr) || n == 0, "input or output is NULL with %zu values", n);
  for (size_t i = 0; i < n; ++i) {
    DOPT_REQUIRE(x[i] >= -8 && x[i] <= 7, "value %d at %zu is outside -8..7", x[i], i);
  }
  for (size_t i = 0; i < n; i += 2) {
    const unsigned low = static_cast<unsigned>(x[i]) & 15u;
    const unsigned high = i + 1 < n ? static_cast<unsigned>(x[i + 1]) & 15u : 0u;
    out[i / 2] = static_cast<uint8_t>(low | high << 4);
  }
  return DOPT_OK;
}

dopt_status dopt_unpack_int4(const uint8_t* packed, size_t n, int8_t* out) {
  DOPT_REQUIRE((packed != nullptr && out != nullptr) || n == 0, "input or output is NULL with %zu values", n);
  for (size_t i = 0; i < n; ++i) {
    const int nibble = i % 2 == 0 ? packed[i / 2] & 15 : packed[i / 2] >> 4;
    out[i] = static_cast<int8_t>(nibble < 8 ? nibble : nibble - 16);
  }
  return DOPT_OK;
}

}  // extern "C"
