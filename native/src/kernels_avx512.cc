// Kernels for AVX-512 F, BW, DQ, VL; the flags come from CMakeLists.txt and scripts/build-native.js.
#define DOPT_SET avx512
#include "kernels.inc"
