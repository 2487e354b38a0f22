// Kernels for AVX2; the flags come from CMakeLists.txt and scripts/build-native.js.
#define DOPT_SET avx2
#include "kernels.inc"
