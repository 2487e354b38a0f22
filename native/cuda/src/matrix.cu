// Blocked algorithms as in Golub and Van Loan, Matrix Computations, sections 3.1.4 and 4.2.6, right-looking: after each block
// of 64 rows all that is left is brought up to date with one product, where nearly all the work lies.
#include "matrix.h"

namespace dopt::cuda {
namespace {

constexpr int kB = kBlockRows;
constexpr int kStride = kB + 1;  // of a block in shared memory: a column lies in all banks
constexpr size_t kBlockBytes = sizeof(double) * kB * kStride;
constexpr int kFactorThreads = 256;

// Factor of the diagonal block [first, last) of each matrix, one block each.
__global__ void __launch_bounds__(kFactorThreads) factorize_block(double* at, size_t n, size_t first, int size, int* failed) {
  __shared__ double block[kB * kStride];
  double* const m = at + blockIdx.y * n * n + first * n + first;
  for (int e = threadIdx.x; e < size * size; e += kFactorThreads) {
    const int i = e / size, j = e % size;
    block[i * kStride + j] = m[i * n + j];
  }
  __syncthreads();
  for (int j = 0; j < size; ++j) {
    const double pivot = block[j * kStride + j];
    __syncthreads();
    if (!(pivot > 0.0) || isinf(pivot)) {
      if (threadIdx.x == 0) failed[blockIdx.y] = 1;
      return;
    }
    const double root = sqrt(pivot);
    for (int i = j + threadIdx.x; i < size; i += kFactorThreads) {
      block[i * kStride + j] = i == j ? root : block[i * kStride + j] / root;
    }
    __syncthreads();
    const int left = size - j - 1;
    for (int e = threadIdx.x; e < left * left; e += kFactorThreads) {
      const int i = j + 1 + e / left, k = j + 1 + e % left;
      if (k <= i) block[i * kStride + k] -= block[i * kStride + j] * block[k * kStride + j];
    }
    __syncthreads();
  }
  for (int e = threadIdx.x; e < size * size; e += kFactorThreads) {
    const int i = e / size, j = e % size;
    if (j > i) continue;
    m[i * n + j] = block[i * kStride + j];
    m[j * n + i] = block[i * kStride + j];
  }
}

// Copies the block of `size` rows and columns at (first, first) of a factor to shared memory.
__device__ void load_factor(double* block, const double* factor, size_t n, size_t first, int size) {
  for (int e = threadIdx.x; e < size * size; e += blockDim.x) {
    const int i = e / size, j = e % size;
    block[i * kStride + j] = factor[(first + i) * n + first + j];
  }
}

extern __shared__ double g_blocks[];  // the factor's block, then one that a thread has a row or column of

// Rows below a factored block: row := row L^-T, and its transpose above the diagonal. A thread a row.
__global__ void __launch_bounds__(kB) solve_below(double* at, size_t n, size_t first, const int* failed) {
  if (failed[blockIdx.y]) return;
  double* const m = at + blockIdx.y * n * n;
  double *const l = g_blocks, *const rows = g_blocks + kB * kStride;
  load_factor(l, m, n, first, kB);
  const size_t top = first + kB + size_t{blockIdx.x} * kB;
  const int count = static_cast<int>(min(size_t{kB}, n - top));
  for (int i = 0; i < count; ++i) rows[i * kStride + threadIdx.x] = m[(top + i) * n + first + threadIdx.x];
  __syncthreads();
  double* const row = rows + threadIdx.x * kStride;
  if (static_cast<int>(threadIdx.x) < count) {
    for (int p = 0; p < kB; ++p) {
      const double value = row[p] / l[p * kStride + p];
      row[p] = value;
      for (int j = p + 1; j < kB; ++j) row[j] -= value * l[j * kStride + p];
      m[(first + p) * n + top + threadIdx.x] = value;
    }
  }
  __syncthreads();
  for (int i = 0; i < count; ++i) m[(top + i) * n + first + threadIdx.x] = rows[i * kStride + threadIdx.x];
}

// x := L^-1 x (or L^-T x) for the rows of a block. A thread a column of x.
template <bool kTransposed>
__global__ void __launch_bounds__(kB) solve_block(const double* factors, size_t n, double* at, size_t columns, size_t first,
                                                  int size) {
  double *const l = g_blocks, *const mine = g_blocks + kB * kStride + threadIdx.x;
  load_factor(l, factors + blockIdx.y * n * n, n, first, size);
  const size_t column = size_t{blockIdx.x} * kB + threadIdx.x;
  double* const x = at + blockIdx.y * n * columns + first * columns + column;
  __syncthreads();
  if (column >= columns) return;
  for (int k = 0; k < size; ++k) mine[k * kStride] = x[k * columns];
  for (int step = 0; step < size; ++step) {
    const int p = kTransposed ? size - 1 - step : step;
    const double value = mine[p * kStride] / l[p * kStride + p];
    x[p * columns] = value;
    if (kTransposed) {
      for (int k = 0; k < p; ++k) mine[k * kStride] -= value * l[p * kStride + k];
    } else {
      for (int k = p + 1; k < size; ++k) mine[k * kStride] -= value * l[k * kStride + p];
    }
  }
}

template <bool kTransposed>
void start_solve_block(const Batch& factor, const Batch& x, size_t first, int size, cudaStream_t stream) {
  check(cudaFuncSetAttribute(solve_block<kTransposed>, cudaFuncAttributeMaxDynamicSharedMemorySize, 2 * kBlockBytes),
        "asking for shared memory");
  each_groups(x.groups, [&](size_t g, unsigned count) {
    const dim3 grid(blocks_for(x.columns, kB), count);
    solve_block<kTransposed><<<grid, kB, 2 * kBlockBytes, stream>>>(factor.at + g * factor.each(), factor.rows,
                                                                    x.at + g * x.each(), x.columns, first, size);
  });
}

}  // namespace

void factorize(const Batch& m, int* failed, cudaStream_t stream) {
  const size_t n = m.rows;
  check(cudaFuncSetAttribute(solve_below, cudaFuncAttributeMaxDynamicSharedMemorySize, 2 * kBlockBytes),
        "asking for shared memory");
  for (size_t first = 0; first < n; first += kB) {
    const size_t last = std::min(n, first + kB);
    each_groups(m.groups, [&](size_t g, unsigned count) {
      double* const at = m.at + g * m.each();
      factorize_block<<<dim3(1, count), kFactorThreads, 0, stream>>>(at, n, first, static_cast<int>(last - first),
                                                                    failed + g);
      if (last == n) return;
      solve_below<<<dim3(blocks_for(n - last, kB), count), kB, 2 * kBlockBytes, stream>>>(at, n, first, failed + g);
    });
    if (last == n) return;
    const Dense panel = m.corner(first, last);
    add_product(panel, panel, kB, n - last, n - last, m.target(last, last, -1.0), m.groups, Part::kLower, stream);
  }
}

void solve(const Batch& factor, const Batch& x, cudaStream_t stream) {
  const size_t n = factor.rows;
  const size_t steps = (n + kB - 1) / kB;
  for (size_t step = 0; step < steps; ++step) {  // L y = x
    const size_t first = step * kB, last = std::min(n, first + kB);
    start_solve_block<false>(factor, x, first, static_cast<int>(last - first), stream);
    if (last == n) break;
    add_product(factor.corner(first, last), x.corner(first, 0), last - first, n - last, x.columns, x.target(last, 0, -1.0),
                x.groups, Part::kAll, stream);
  }
  for (size_t step = steps; step-- > 0;) {  // L^T x = y
    const size_t first = step * kB, last = std::min(n, first + kB);
    start_solve_block<true>(factor, x, first, static_cast<int>(last - first), stream);
    add_product(factor.corner(first, 0), x.corner(first, 0), last - first, first, x.columns, x.target(0, 0, -1.0), x.groups,
                Part::kAll, stream);
  }
}

}  // namespace dopt::cuda
