// Kernels for whatever every processor of the architecture has; the flags come from CMakeLists.txt and
// scripts/build-native.js.
#define DOPT_SET baseline
#include "kernels.inc"
