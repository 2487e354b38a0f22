#include "layer.h"

#include <initializer_list>

#include "status.h"

namespace dopt {

dopt_status check_layer(const dopt_layer* s) noexcept {
  DOPT_REQUIRE(s != nullptr, "layer is NULL");
  DOPT_REQUIRE(s->struct_size == sizeof(dopt_layer), "layer: struct_size is %zu, expected %zu", s->struct_size,
               sizeof(dopt_layer));
  constexpr int64_t kMost = 1 << 24;
  for (const int64_t size : {s->groups, s->outputs, s->inputs, s->span}) {
    DOPT_REQUIRE(size >= 1 && size <= kMost, "a size of the layer is %lld, expected 1 to %lld",
                 static_cast<long long>(size), static_cast<long long>(kMost));
  }
  DOPT_REQUIRE(s->qmin >= -128 && s->qmax <= 127 && s->qmin < s->qmax, "integers from %d to %d do not fit int8",
               s->qmin, s->qmax);
  return DOPT_OK;
}

}  // namespace dopt
