// c += sign * a^T b in double, for operands that anything can give: a matrix, rows with a constant behind them, the
// patches of a convolution.
//
// The double-precision tensor-core instruction (mma.sync, from compute capability 8.0 on) with tiles of 64 x 64 a block and
// 32 x 32 a warp. Operands come by columns and rows of depth: what a column of the tile needs (a channel and a tap, say)
// is found once a block, what a row needs (a position) once a step by one thread each, so that an element costs an
// address and a load. Double buffered: the loads of the next step are in flight during the products of this one.
//
// An operand is a struct with Column column(i), Row row(d), double value(row, column) and of_group(g); see gram.cu.
#ifndef DOPT_CUDA_SRC_PRODUCT_H_
#define DOPT_CUDA_SRC_PRODUCT_H_

#include "device.h"

namespace dopt::cuda {

// A row-major matrix of doubles whose rows are the depth.
struct Dense {
  const double* at;
  size_t stride, group_stride;

  using Column = size_t;
  using Row = const double*;
  __host__ __device__ Dense of_group(size_t g) const { return {at + g * group_stride, stride, group_stride}; }
  __device__ Column column(size_t i) const { return i; }
  __device__ Row row(size_t d) const { return at + d * stride; }
  __device__ double value(Row row, Column i) const { return row[i]; }
};

enum class Part { kAll, kLower };

// Where a product goes: c[groups, m, stride]. kReplace: of slice s to c + s * slice_stride, in place of what is there.
struct Target {
  double* at;
  size_t stride, group_stride, slice_stride;
  double sign;
  bool replace;
};

struct ProductSize {
  size_t depth, m, n;
  Part part;
  size_t depth_each;  // of a slice, a multiple of kProductStep
};

constexpr int kProductThreads = 128, kProductTile = 64, kProductStep = 16;

// Sums of 16 rows (above and below) and 8 columns += products over a depth of 8. Hopper has one instruction for it; with the four
// that earlier devices take it runs at a fraction of its speed.
__device__ inline void add_products(double (&above)[2], double (&below)[2], const double (&a)[2], const double (&a_below)[2],
                                    const double (&b)[2]) {
#if __CUDA_ARCH__ >= 900
  asm("mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+d"(above[0]), "+d"(above[1]), "+d"(below[0]), "+d"(below[1])
      : "d"(a[0]), "d"(a_below[0]), "d"(a[1]), "d"(a_below[1]), "d"(b[0]), "d"(b[1]));
#else
#pragma unroll
  for (int deep = 0; deep < 2; ++deep) {
    asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};"
        : "+d"(above[0]), "+d"(above[1])
        : "d"(a[deep]), "d"(b[deep]));
    asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};"
        : "+d"(below[0]), "+d"(below[1])
        : "d"(a_below[deep]), "d"(b[deep]));
  }
#endif
}

template <typename Left, typename Right>
__global__ void __launch_bounds__(kProductThreads)
    product(const Left left_of_all, const Right right_of_all, ProductSize size, Target to, int slices) {
  constexpr int kPad = 4;  // the four rows of depth that an instruction reads lie in banks of their own
  constexpr int kEach = kProductStep * kProductTile / kProductThreads;  // elements that a thread loads of each operand
  __shared__ double a[2][kProductStep][kProductTile + kPad], b[2][kProductStep][kProductTile + kPad];
  __shared__ typename Left::Row a_rows[2][kProductStep];
  __shared__ typename Right::Row b_rows[2][kProductStep];
  const size_t i0 = size_t{blockIdx.y} * kProductTile, j0 = size_t{blockIdx.x} * kProductTile;
  if (size.part == Part::kLower && i0 + kProductTile <= j0) return;
  const size_t group = blockIdx.z / slices, slice = blockIdx.z % slices;
  const Left left = left_of_all.of_group(group);
  const Right right = right_of_all.of_group(group);
  const size_t first = slice * size.depth_each;
  const size_t depth = first < size.depth ? min(size.depth_each, size.depth - first) : 0;

  // A thread loads one column of each tile, every second row of the step.
  const int column = threadIdx.x % kProductTile, row0 = threadIdx.x / kProductTile;
  const bool a_inside = i0 + column < size.m, b_inside = j0 + column < size.n;
  const auto a_column = left.column(a_inside ? i0 + column : 0);
  const auto b_column = right.column(b_inside ? j0 + column : 0);
  double a_next[kEach], b_next[kEach];
  const auto find_rows = [&](size_t step) {
    const size_t d = step * kProductStep + threadIdx.x % kProductStep;
    if (threadIdx.x >= 2 * kProductStep || d >= depth) return;
    if (threadIdx.x < kProductStep) {
      a_rows[step % 2][threadIdx.x] = left.row(first + d);
    } else {
      b_rows[step % 2][threadIdx.x % kProductStep] = right.row(first + d);
    }
  };
  const auto load = [&](size_t step) {
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const int r = row0 + 2 * e;
      const bool deep = step * kProductStep + r < depth;
      a_next[e] = deep && a_inside ? left.value(a_rows[step % 2][r], a_column) : 0.0;
      b_next[e] = deep && b_inside ? right.value(b_rows[step % 2][r], b_column) : 0.0;
    }
  };

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int wi = warp / 2 * 32, wj = warp % 2 * 32;
  double sums[4][4][2] = {};
  const size_t steps = (depth + kProductStep - 1) / kProductStep;
  find_rows(0);
  __syncthreads();
  if (steps > 0) load(0);
  for (size_t step = 0; step < steps; ++step) {
    const int now = step % 2;
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      a[now][row0 + 2 * e][column] = a_next[e];
      b[now][row0 + 2 * e][column] = b_next[e];
    }
    if (step + 1 < steps) find_rows(step + 1);
    __syncthreads();
    if (step + 1 < steps) load(step + 1);
#pragma unroll
    for (int d = 0; d < kProductStep; d += 8) {
      double fa[4][2], fb[4][2];
#pragma unroll
      for (int t = 0; t < 4; ++t) {
#pragma unroll
        for (int deep = 0; deep < 2; ++deep) {
          fa[t][deep] = a[now][d + 4 * deep + lane % 4][wi + 8 * t + lane / 4];
          fb[t][deep] = b[now][d + 4 * deep + lane % 4][wj + 8 * t + lane / 4];
        }
      }
#pragma unroll
      for (int i = 0; i < 4; i += 2) {
#pragma unroll
        for (int j = 0; j < 4; ++j) add_products(sums[i][j], sums[i + 1][j], fa[i], fa[i + 1], fb[j]);
      }
    }
  }
  double* const c = to.at + group * to.group_stride + slice * to.slice_stride;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int v = 0; v < 2; ++v) {
        const size_t row = i0 + wi + 8 * i + lane / 4, col = j0 + wj + 8 * j + lane % 4 * 2 + v;
        if (row >= size.m || col >= size.n) continue;
        double& at = c[row * to.stride + col];
        at = to.replace ? sums[i][j][v] : at + to.sign * sums[i][j][v];
      }
    }
  }
}

// c[g] += sign * a[g]^T b[g] for each group; kLower: at least the elements at and below the diagonal.
template <typename Left, typename Right>
void add_product(const Left& a, const Right& b, size_t depth, size_t m, size_t n, const Target& c, size_t groups, Part part,
                 cudaStream_t stream, int slices = 1) {
  if (depth == 0 || m == 0 || n == 0) return;
  const size_t steps = (depth + kProductStep - 1) / kProductStep;
  const size_t each = (steps + slices - 1) / slices * kProductStep;
  // The third dimension of a launch ends at 65535.
  const size_t most = 65535 / slices;
  for (size_t g = 0; g < groups; g += most) {
    const dim3 grid(blocks_for(n, kProductTile), blocks_for(m, kProductTile),
                    static_cast<unsigned>(std::min(most, groups - g) * slices));
    Target to = c;
    to.at += g * c.group_stride;
    product<<<grid, kProductThreads, 0, stream>>>(a.of_group(g), b.of_group(g),
                                                  ProductSize{depth, m, n, part, each}, to, slices);
  }
}

}  // namespace dopt::cuda

#endif  // DOPT_CUDA_SRC_PRODUCT_H_
