#include "conv_shape.h"

#include <algorithm>
#include <numeric>

#include "status.h"

namespace dopt {

dopt_status check_conv(const dopt_conv2d_shape* s) noexcept {
  DOPT_REQUIRE(s != nullptr, "shape is NULL");
  DOPT_REQUIRE(s->struct_size == sizeof(dopt_conv2d_shape), "shape: struct_size is %zu, expected %zu", s->struct_size,
               sizeof(dopt_conv2d_shape));
  constexpr int64_t kMost = 1 << 24;  // of one dimension, so that offsets stay within 64 bits
  const int64_t sizes[] = {s->batch,         s->in_channels,   s->in_height,       s->in_width,
                           s->out_channels,  s->kernel_height, s->kernel_width,    s->groups,
                           s->stride_height, s->stride_width,  s->dilation_height, s->dilation_width};
  for (const int64_t size : sizes) {
    DOPT_REQUIRE(size >= 1 && size <= kMost, "a size, stride, dilation or group count is %lld, expected 1 to %lld",
                 static_cast<long long>(size), static_cast<long long>(kMost));
  }
  const int64_t pads[] = {s->pad_top, s->pad_left, s->pad_bottom, s->pad_right};
  for (const int64_t pad : pads) {
    DOPT_REQUIRE(pad >= 0 && pad <= kMost, "a padding is %lld, expected 0 to %lld", static_cast<long long>(pad),
                 static_cast<long long>(kMost));
  }
  DOPT_REQUIRE(s->in_channels % s->groups == 0 && s->out_channels % s->groups == 0,
               "%lld groups do not divide %lld input and %lld output channels", static_cast<long long>(s->groups),
               static_cast<long long>(s->in_channels), static_cast<long long>(s->out_channels));
  return DOPT_OK;
}

int64_t spread_step(int64_t total, int64_t wanted, int64_t width) noexcept {
  int64_t step = std::max<int64_t>(1, (total + wanted - 1) / wanted);
  while (step > 1 && std::gcd(step, width) != 1) ++step;
  return step;
}

}  // namespace dopt
