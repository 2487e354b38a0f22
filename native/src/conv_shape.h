// Checks of a convolution's shape, shared by what computes with one.
#ifndef DOPT_SRC_CONV_SHAPE_H_
#define DOPT_SRC_CONV_SHAPE_H_

#include "dopt.h"

namespace dopt {

// DOPT_OK, or the failure: sizes, strides and dilations of at least 1, pads of at least 0, groups that divide channels.
dopt_status check_conv(const dopt_conv2d_shape* shape) noexcept;

}  // namespace dopt

#endif  // DOPT_SRC_CONV_SHAPE_H_
