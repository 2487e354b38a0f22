// `test_cuda [--small] [GROUP...]`: runs groups of tests, all where none is named, on the first device, or says why it cannot.
// --small: fewer sizes, for compute-sanitizer.
#include <algorithm>
#include <cstring>

#include "tests.h"

namespace tests {

bool g_small = false;

std::vector<size_t> sizes(bool all) {
  if (!all || g_small) return {0, 1, 5, 37, 1031};
  std::vector<size_t> sizes = reference::sizes();
  for (const size_t n : {16383, 16385, 70001}) sizes.push_back(n);
  return sizes;
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double most = 0.0, scale = 0.0;
  for (size_t i = 0; i < b.size(); ++i) {
    most = std::max(most, std::fabs(a[i] - b[i]));
    if (!(std::fabs(a[i] - b[i]) <= 1e300)) return INFINITY;
    scale = std::max(scale, std::fabs(b[i]));
  }
  return scale == 0.0 ? most : most / scale;
}

}  // namespace tests

namespace {

// Needs no device: arguments are refused before one is touched, and without one that is said.
void refuses_bad_arguments() {
  float x[1] = {1.0f};
  uint8_t out[1];
  CHECK(dopt_cuda_abi_version() == DOPT_CUDA_ABI_VERSION);
  CHECK(dopt_cuda_quantize_u8(nullptr, 1, 1.0f, 0, out, nullptr) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_cuda_quantize_u8(x, 1, 0.0f, 0, out, nullptr) == DOPT_ERROR_ARGUMENT);
  CHECK(std::strstr(dopt_cuda_last_error(), "scale is 0") != nullptr);
  CHECK(dopt_cuda_quantize_u8(x, 1, 1.0f, 256, out, nullptr) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_cuda_quantize_u8(nullptr, 0, 1.0f, 0, nullptr, nullptr) == DOPT_OK);
  CHECK(dopt_cuda_min_max(x, 7, 1, x, nullptr) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_cuda_gram_matmul(x, nullptr, DOPT_F32, 1, 1, 1, nullptr, nullptr, nullptr, nullptr) == DOPT_ERROR_ARGUMENT);
  CHECK(dopt_cuda_conv2d_u8s8_s32(nullptr, out, 0, nullptr, nullptr, nullptr, nullptr) == DOPT_ERROR_ARGUMENT);
  // Memory of the host is refused where there is a device, and the missing device named where there is none.
  CHECK(dopt_cuda_quantize_u8(x, 1, 1.0f, 0, out, nullptr) != DOPT_OK);
  CHECK(dopt_cuda_last_error()[0] != '\0');
}

struct Group {
  const char* name;
  void (*run)();
};

}  // namespace

int main(int count, char** arguments) {
  const Group groups[] = {{"elementwise", tests::elementwise}, {"observers", tests::observers}, {"ranges", tests::ranges},
                          {"integers", tests::integers},       {"grams", tests::grams},         {"layers", tests::layers}};
  bool named = false;
  for (int i = 1; i < count; ++i) {
    if (std::strcmp(arguments[i], "--small") == 0) {
      tests::g_small = true;
    } else {
      named = true;
    }
  }
  const auto wanted = [&](const Group& group) {
    return !named || std::any_of(arguments + 1, arguments + count, [&](char* a) { return std::strcmp(a, group.name) == 0; });
  };
  refuses_bad_arguments();
  std::printf("%s test_cuda (arguments)\n", check::failures == 0 ? "ok    " : "FAILED");
  int32_t devices = 0;
  const dopt_status found = dopt_cuda_device_count(&devices);
  char info[256] = "";
  if (found != DOPT_OK || devices == 0 || dopt_cuda_device_info(0, info, sizeof info) != DOPT_OK) {
    for (const Group& group : groups) std::printf("skipped test_cuda (%s): %s\n", group.name, dopt_cuda_last_error());
    return check::result("test_cuda");
  }
  std::printf("%s\n", info);
  for (const Group& group : groups) {
    if (!wanted(group)) continue;
    const int before = check::failures;
    group.run();
    std::printf("%s test_cuda (%s)\n", check::failures == before ? "ok    " : "FAILED", group.name);
    std::fflush(stdout);
  }
  return check::result("test_cuda");
}
