// What the ways to form Gram sums share: gram.cu in double, gram_tensor.cu and gram_hopper.cu by tensor cores in 16 bits.
#ifndef DOPT_CUDA_SRC_GRAM_H_
#define DOPT_CUDA_SRC_GRAM_H_

#include "device.h"

namespace dopt::cuda {

// Row-major matrices x[rows, inputs] and y[rows, outputs] (NULL: none) of one type.
struct Samples {
  const void *x, *y;
  int32_t type;
  size_t rows, inputs, outputs;
};

// Whether the tensor cores can read them: 16 bits, sizes in multiples of 8, addresses of 16.
bool fits_tensor_cores(const Samples& in);

// Adds sum x x^T to the leading inputs x inputs of gram[inputs + 1, inputs + 1], sum y x^T likewise to cross[outputs, inputs +
// 1]. What the constant takes part in is left out.
void add_on_tensor_cores(const Samples& in, double* gram, double* cross, cudaStream_t stream);
// The same for devices of compute capability 9.0.
void add_on_hopper(const Samples& in, double* gram, double* cross, cudaStream_t stream);

// c[g][i][j] += the sum of parts[slice, g, i, j] over the slices, in their order; mirror: of the elements at and below the
// diagonal, to c[g][j][i] as well. Rows of c are `stride` apart, groups m rows.
void add_slices(const double* parts, size_t m, size_t n, size_t groups, int slices, bool mirror, double* c, size_t stride,
                cudaStream_t stream);

}  // namespace dopt::cuda

#endif  // DOPT_CUDA_SRC_GRAM_H_
