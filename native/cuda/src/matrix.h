// Dense matrices in double on the device, a batch of them at a time: Cholesky factors and triangular systems.
#ifndef DOPT_CUDA_SRC_MATRIX_H_
#define DOPT_CUDA_SRC_MATRIX_H_

#include "product.h"

namespace dopt::cuda {

constexpr int kBlockRows = 64;  // of a step of the blocked algorithms

// Matrices [groups, rows, columns], row-major without padding.
struct Batch {
  double* at;
  size_t groups, rows, columns;

  __host__ __device__ size_t each() const { return rows * columns; }
  // Rows from `row` on, columns from `column` on.
  Dense corner(size_t row, size_t column) const { return {at + row * columns + column, columns, each()}; }
  Target target(size_t row, size_t column, double sign) const {
    return {at + row * columns + column, columns, each(), 0, sign, false};
  }
};

// Cholesky factors of symmetric positive definite matrices of which the lower triangles are read: L in the lower triangle,
// its transpose in the upper one. failed[g] becomes 1 where a matrix is not positive definite.
void factorize(const Batch& m, int* failed, cudaStream_t stream);

// x := (L L^T)^-1 x for x[groups, rows, columns].
void solve(const Batch& factor, const Batch& x, cudaStream_t stream);

// Grid of blocks with a y dimension of groups, which ends at 65535; body(first group, groups of this launch).
template <typename Body>
void each_groups(size_t groups, Body&& body) {
  constexpr size_t kMost = 65535;
  for (size_t g = 0; g < groups; g += kMost) body(g, static_cast<unsigned>(std::min(kMost, groups - g)));
}

}  // namespace dopt::cuda

#endif  // DOPT_CUDA_SRC_MATRIX_H_
