// A layer on Gram matrices: checks of its sizes.
#ifndef DOPT_SRC_LAYER_H_
#define DOPT_SRC_LAYER_H_

#include "dopt.h"

namespace dopt {

// DOPT_OK, or the failure: sizes of at least 1, integers that fit int8.
dopt_status check_layer(const dopt_layer* layer) noexcept;

}  // namespace dopt

#endif  // DOPT_SRC_LAYER_H_
