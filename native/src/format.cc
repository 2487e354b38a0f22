#include "range.h"
#include "status.h"

namespace dopt {

dopt_status check_format(const Format& f) noexcept {
  DOPT_REQUIRE(f.bits >= 2 && f.bits <= 16, "bits is %d, expected 2 to 16", f.bits);
  DOPT_REQUIRE((f.is_signed == 0 || f.is_signed == 1) && (f.symmetric == 0 || f.symmetric == 1),
               "is_signed %d and symmetric %d must be 0 or 1", f.is_signed, f.symmetric);
  DOPT_REQUIRE(!f.symmetric || f.is_signed, "a symmetric format is signed");
  return DOPT_OK;
}

}  // namespace dopt
