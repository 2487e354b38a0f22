// Gram sums of 16-bit matrices by tensor cores: c += a^T b with float accumulators, those added to double every kRun rows.
//
// mma.sync m16n8k16, tiles of 128 x 128 a block and 64 x 32 a warp, two blocks a multiprocessor; of a Gram matrix only the
// tiles at and below the diagonal, which halves the work. Both operands lie in memory with the rows as depth, which is the
// transpose of what the instruction takes: ldmatrix.trans turns 8 x 8 pieces on their way to registers. Rows come by cp.async,
// kStages steps ahead; 16-byte chunks of a row are stored at chunk ^ (row % 8), so that the eight rows that an ldmatrix reads lie
// in different banks.
//
// Error: products of 16-bit floats are exact in float; the tensor core sums kRun of them with at least 23 bits.
#include "gram.h"
#include "product.h"
#include "values.h"

namespace dopt::cuda {
namespace {

constexpr int kThreads = 256, kTile = 128, kStep = 32, kStages = 4;
constexpr int kRun = 16384;  // rows between two additions to double
constexpr int kChunks = kTile / 8;  // of 16 bytes in a row of a tile
constexpr int kHalf = kStep * kTile * 2;  // bytes of one operand's tile
constexpr int kShared = kStages * 2 * kHalf;

__device__ inline uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// 16 bytes from global to shared memory; zeros when not `inside`.
__device__ inline void copy_chunk(uint32_t to, const void* from, bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(inside ? 16 : 0));
}

// Four 8 x 8 pieces, transposed; lane l gives the address of row l % 8 of piece l / 8.
__device__ inline void load_transposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}

template <typename T>
__device__ inline void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same_v<T, __half>) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

// a[depth, m] and b[depth, n], row-major without padding, added to c[m, stride].
template <typename T>
struct Operands {
  const T *a, *b;
  size_t depth, m, n;
  double* c;
  size_t stride, slice_stride;
  size_t depth_each;  // of a slice, a multiple of kStep; slice s goes to c + s * slice_stride
  bool symmetric;  // a is b: tiles at and below the diagonal, whose transposes go above it
};

// Row and column of tile t of a lower triangle, counted row by row.
__device__ inline void triangle_tile(unsigned t, unsigned* row, unsigned* column) {
  unsigned r = static_cast<unsigned>((sqrtf(8.0f * t + 1.0f) - 1.0f) * 0.5f);
  while (r * (r + 1) / 2 > t) --r;
  while ((r + 1) * (r + 2) / 2 <= t) ++r;
  *row = r;
  *column = t - r * (r + 1) / 2;
}

extern __shared__ __align__(128) unsigned char g_tiles[];

template <typename T>
__global__ void __launch_bounds__(kThreads, 2) add_tiles(const __grid_constant__ Operands<T> in) {
  unsigned tile_i, tile_j;
  if (in.symmetric) {
    triangle_tile(blockIdx.x, &tile_i, &tile_j);
  } else {
    const unsigned across = static_cast<unsigned>((in.n + kTile - 1) / kTile);
    tile_i = blockIdx.x / across;
    tile_j = blockIdx.x % across;
  }
  const size_t i0 = size_t{tile_i} * kTile, j0 = size_t{tile_j} * kTile;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint32_t tiles = shared_address(g_tiles);
  const size_t first = blockIdx.y * in.depth_each;
  const size_t depth = first < in.depth ? min(in.depth_each, in.depth - first) : 0;
  double* const c = in.c + blockIdx.y * in.slice_stride;

  // A thread copies one chunk of a row, and that of the row 16 below.
  const int chunk = threadIdx.x % kChunks, row0 = threadIdx.x / kChunks;
  const bool a_inside = i0 + chunk * 8 < in.m, b_inside = j0 + chunk * 8 < in.n;
  const T* const a_from = in.a + first * in.m + (a_inside ? i0 + chunk * 8 : 0);
  const T* const b_from = in.b + first * in.n + (b_inside ? j0 + chunk * 8 : 0);
  const auto copy_step = [&](size_t step) {
    const uint32_t to = tiles + static_cast<uint32_t>(step % kStages) * 2 * kHalf;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = row0 + 16 * half;
      const size_t d = step * kStep + r;
      const bool deep = d < depth;
      const uint32_t at = to + r * kTile * 2 + ((chunk ^ (r & 7)) * 16);
      copy_chunk(at, a_from + (deep ? d * in.m : 0), deep && a_inside);
      copy_chunk(at + kHalf, b_from + (deep ? d * in.n : 0), deep && b_inside);
    }
  };

  const int wi = warp / 4 * 64, wj = warp % 4 * 32;
  const int piece = lane / 8, line = lane % 8;
  float sums[4][4][4] = {};
  const auto multiply_step = [&](size_t step) {
    const uint32_t from = tiles + static_cast<uint32_t>(step % kStages) * 2 * kHalf;
#pragma unroll
    for (int d = 0; d < kStep; d += 16) {
      uint32_t fa[4][4], fb[2][4];
#pragma unroll
      for (int t = 0; t < 4; ++t) {
        const int r = d + line + piece / 2 * 8, from_chunk = (wi + 16 * t) / 8 + piece % 2;
        load_transposed(fa[t], from + r * kTile * 2 + ((from_chunk ^ (r & 7)) * 16));
      }
#pragma unroll
      for (int t = 0; t < 2; ++t) {
        const int r = d + line + piece % 2 * 8, from_chunk = (wj + 16 * t) / 8 + piece / 2;
        load_transposed(fb[t], from + kHalf + r * kTile * 2 + ((from_chunk ^ (r & 7)) * 16));
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) multiply<T>(sums[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
      }
    }
  };
  const auto flush = [&](bool last) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int v = 0; v < 4; ++v) {
          const size_t row = i0 + wi + 16 * i + lane / 4 + v / 2 * 8, col = j0 + wj + 8 * j + lane % 4 * 2 + v % 2;
          const float sum = sums[i][j][v];
          sums[i][j][v] = 0.0f;
          if (row >= in.m || col >= in.n || (in.symmetric && col > row)) continue;
          double& at = c[row * in.stride + col];
          const double total = at + static_cast<double>(sum);
          at = total;
          if (last && in.symmetric && col != row) c[col * in.stride + row] = total;
        }
      }
    }
  };

  const size_t steps = (depth + kStep - 1) / kStep;
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) {
    if (static_cast<size_t>(s) < steps) copy_step(s);
    asm volatile("cp.async.commit_group;");
  }
  for (size_t step = 0; step < steps; ++step) {
    asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 2));
    __syncthreads();
    if (step + kStages - 1 < steps) copy_step(step + kStages - 1);
    asm volatile("cp.async.commit_group;");
    multiply_step(step);
    if ((step + 1) % (kRun / kStep) == 0 && step + 1 < steps) flush(false);
  }
  flush(true);
}

// c[m, stride] += a^T b. Where the tiles leave multiprocessors idle the depth is cut into slices, whose sums are added in
// their order.
template <typename T>
void start(const T* a, const T* b, size_t depth, size_t m, size_t n, double* c, size_t stride, cudaStream_t stream) {
  check(cudaFuncSetAttribute(add_tiles<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared),
        "asking for shared memory");
  const bool symmetric = a == b;
  const unsigned down = blocks_for(m, kTile), across = blocks_for(n, kTile);
  const unsigned tiles = symmetric ? down * (down + 1) / 2 : down * across;
  constexpr size_t kWorthSlice = 1024;
  const size_t room = std::max<size_t>(1, size_t{2} * limits().multiprocessors / tiles);
  const unsigned slices = static_cast<unsigned>(std::max<size_t>(1, std::min(room, depth / kWorthSlice)));
  const size_t each = ((depth + slices - 1) / slices + kStep - 1) / kStep * kStep;
  if (slices == 1) {
    add_tiles<T><<<tiles, kThreads, kShared, stream>>>({a, b, depth, m, n, c, stride, 0, each, symmetric});
    return;
  }
  const Scratch<double> parts(slices * m * n, stream);
  check(cudaMemsetAsync(parts.get(), 0, slices * m * n * sizeof(double), stream), "clearing sums");
  add_tiles<T><<<dim3(tiles, slices), kThreads, kShared, stream>>>({a, b, depth, m, n, parts.get(), n, m * n, each,
                                                                   symmetric});
  add_slices(parts.get(), m, n, 1, static_cast<int>(slices), false, c, stride, stream);
}

template <typename T>
void add(const Samples& in, double* gram, double* cross, cudaStream_t stream) {
  const auto *x = static_cast<const T*>(in.x), *y = static_cast<const T*>(in.y);
  start<T>(x, x, in.rows, in.inputs, in.inputs, gram, in.inputs + 1, stream);
  if (y != nullptr) start<T>(y, x, in.rows, in.outputs, in.inputs, cross, in.inputs + 1, stream);
}

bool chunked(const void* p, size_t columns) { return reinterpret_cast<uintptr_t>(p) % 16 == 0 && columns % 8 == 0; }

}  // namespace

bool fits_tensor_cores(const Samples& in) {
  return in.type != DOPT_F32 && chunked(in.x, in.inputs) && (in.y == nullptr || chunked(in.y, in.outputs));
}

void add_on_tensor_cores(const Samples& in, double* gram, double* cross, cudaStream_t stream) {
  if (in.type == DOPT_F16) return add<__half>(in, gram, cross, stream);
  add<__nv_bfloat16>(in, gram, cross, stream);
}

}  // namespace dopt::cuda
