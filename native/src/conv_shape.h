// Geometry of a convolution, shared by what computes with one.
#ifndef DOPT_SRC_CONV_SHAPE_H_
#define DOPT_SRC_CONV_SHAPE_H_

#include "both.h"
#include "dopt.h"

namespace dopt {

// DOPT_OK, or the failure: sizes, strides and dilations of at least 1, pads of at least 0, groups that divide channels.
dopt_status check_conv(const dopt_conv2d_shape* shape) noexcept;

// One output dimension of a convolution, or 0 where the kernel does not fit.
DOPT_BOTH int64_t output_size(int64_t in, int64_t before, int64_t after, int64_t kernel, int64_t stride,
                              int64_t dilation) {
  const int64_t room = in + before + after - dilation * (kernel - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

// Input coordinate below `size` that a tap of the kernel reads for an output coordinate, or -1.
DOPT_BOTH int64_t input_of(bool transposed, int64_t out, int64_t tap, int64_t stride, int64_t dilation, int64_t pad,
                           int64_t size) {
  int64_t in;
  if (transposed) {
    const int64_t at = out + pad - tap * dilation;
    if (at < 0 || at % stride != 0) return -1;
    in = at / stride;
  } else {
    in = out * stride - pad + tap * dilation;
  }
  return in >= 0 && in < size ? in : -1;
}

// Distance of evenly spread positions below `total`, at most about `wanted`. It has no common divisor with the width, so
// that the columns of a picture take turns.
int64_t spread_step(int64_t total, int64_t wanted, int64_t width) noexcept;

}  // namespace dopt

#endif  // DOPT_SRC_CONV_SHAPE_H_
