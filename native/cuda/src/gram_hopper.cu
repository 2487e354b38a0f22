// Gram sums of 16-bit matrices on Hopper (compute capability 9.0): what gram_tensor.cu does, with the matrix instruction that
// reads both operands from shared memory on its own.
//
// Why another version: with mma.sync every operand goes through registers (ldmatrix), and a multiprocessor of an H100 spends most
// of its issue slots and shared-memory bandwidth on that. Here a block of two warpgroups sums a tile of 128 x 256, 64 x 256 each,
// in one instruction for 16 rows, and one thread asks the copy engine (TMA) for the rows of a step, kAhead steps ahead: with
// cp.async by all threads the same kernel was held up by its own copies at half the speed. Two batches of products may be under way,
// so a buffer is written two steps after it was read: kStages = 2 * kAhead.
//
// Sums of at most kRun rows are formed in float, those in double.
#include <cuda.h>

#include "gram.h"
#include "values.h"
#include "wgmma.h"

namespace dopt::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRows = 128, kColumns = 256, kStep = 64, kAhead = 2, kStages = 2 * kAhead;
constexpr int kPanel = kStep * 128;  // bytes: 64 columns of a step
constexpr int kPanels = (kRows + kColumns) / 64, kLeftPanels = kRows / 64;
constexpr int kStage = kPanels * kPanel;
constexpr int kShared = kStages * kStage + 1024;  // and room to align
constexpr int kRun = 16384;

// Products of a[depth, m] and b[depth, n], whose layouts the copy engine knows, added to c[m, stride].
struct Operands {
  CUtensorMap a, b;
  size_t depth, m, n;
  double* c;
  size_t stride, slice_stride;
  size_t depth_each;  // of a slice, a multiple of kStep; slice s goes to c + s * slice_stride
  bool symmetric;     // a is b: tiles that reach the diagonal or lie below, whose transposes go above it
};

// Tiles of a row of tiles that reach the diagonal.
__host__ __device__ inline unsigned tiles_of(unsigned row) { return (row * kRows + kRows - 1) / kColumns + 1; }

// A barrier in shared memory that a stage's bytes are counted at.
__device__ inline void start_barrier(uint32_t barrier) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(barrier) : "memory");
}
__device__ inline void expect_bytes(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ inline void wait_barrier(uint32_t barrier, uint32_t parity) {
  uint32_t done = 0;
  while (done == 0) {
    asm volatile(
        "{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
        : "=r"(done)
        : "r"(barrier), "r"(parity)
        : "memory");
  }
}
// Asks the copy engine for 64 columns of kStep rows; zeros beyond the matrix.
__device__ inline void copy_panel(uint32_t to, const CUtensorMap& map, size_t column, size_t row, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(to),
      "l"(&map), "r"(static_cast<int>(column)), "r"(static_cast<int>(row)), "r"(barrier)
      : "memory");
}

// Adds a warpgroup's sums to c, and the transposes above the diagonal when this is the last time.
__device__ void flush(const Operands& in, const float (&sums)[128], size_t i0, size_t j0, double* c, bool last) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int v = 0; v < 128; ++v) {
    const size_t row = i0 + 16 * warp + lane / 4 + v % 4 / 2 * 8, column = j0 + v / 4 * 8 + lane % 4 * 2 + v % 2;
    if (row >= in.m || column >= in.n || (in.symmetric && column > row)) continue;
    double& at = c[row * in.stride + column];
    const double total = at + static_cast<double>(sums[v]);
    at = total;
    if (last && in.symmetric && column != row) c[column * in.stride + row] = total;
  }
}

extern __shared__ unsigned char g_stages[];

template <typename T>
__global__ void __launch_bounds__(kThreads, 1) add_tiles(const __grid_constant__ Operands in) {
  unsigned tile_i = 0, tile_j = blockIdx.x;
  if (in.symmetric) {
    while (tile_j >= tiles_of(tile_i)) tile_j -= tiles_of(tile_i++);
  } else {
    const unsigned across = static_cast<unsigned>((in.n + kColumns - 1) / kColumns);
    tile_i = blockIdx.x / across;
    tile_j = blockIdx.x % across;
  }
  const size_t i0 = size_t{tile_i} * kRows, j0 = size_t{tile_j} * kColumns;
  const size_t first = blockIdx.y * in.depth_each;
  const size_t depth = first < in.depth ? min(in.depth_each, in.depth - first) : 0;
  double* const c = in.c + blockIdx.y * in.slice_stride;
  // The swizzle is that of addresses, so a stage begins where they repeat.
  const uint32_t tiles = (static_cast<uint32_t>(__cvta_generic_to_shared(g_stages)) + 1023) / 1024 * 1024;
  __shared__ uint64_t barriers[kStages];
  const uint32_t arrived = static_cast<uint32_t>(__cvta_generic_to_shared(barriers));
  const auto copy = [&](size_t step) {
    const uint32_t place = static_cast<uint32_t>(step % kStages), stage = tiles + place * kStage, barrier = arrived + 8 * place;
    expect_bytes(barrier, kStage);
    const size_t row = first + step * kStep;
#pragma unroll
    for (int p = 0; p < kPanels; ++p) {
      const bool left = p < kLeftPanels;
      copy_panel(stage + p * kPanel, left ? in.a : in.b, left ? i0 + p * 64 : j0 + (p - kLeftPanels) * 64, row, barrier);
    }
  };
  const size_t steps = (depth + kStep - 1) / kStep;
  if (threadIdx.x == 0) {
    for (int s = 0; s < kStages; ++s) start_barrier(arrived + 8 * s);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    for (int s = 0; s < kAhead; ++s) {
      if (static_cast<size_t>(s) < steps) copy(s);
    }
  }
  __syncthreads();
  float sums[128];
  const uint32_t mine = threadIdx.x / 128 * kPanel;
  bool add = false;
  for (size_t step = 0; step < steps; ++step) {
    const uint32_t place = static_cast<uint32_t>(step % kStages), stage = tiles + place * kStage;
    wgmma::wait<1>();
    __syncthreads();  // nobody reads the stage of two steps ago any more
    if (threadIdx.x == 0 && step + kAhead < steps) copy(step + kAhead);
    wait_barrier(arrived + 8 * place, static_cast<uint32_t>(step / kStages % 2));
    wgmma::hold(sums);
    wgmma::begin();
#pragma unroll
    for (int d = 0; d < kStep; d += 16) {
      const uint64_t a = wgmma::operand(stage + mine + d * 128, kPanel);
      const uint64_t b = wgmma::operand(stage + kLeftPanels * kPanel + d * 128, kPanel);
      wgmma::multiply<T>(sums, a, b, add || d > 0);
    }
    wgmma::commit();
    wgmma::hold(sums);
    add = true;
    if ((step + 1) % (kRun / kStep) == 0 && step + 1 < steps) {
      wgmma::wait<0>();
      wgmma::hold(sums);
      flush(in, sums, i0, j0, c, false);
      add = false;
    }
  }
  wgmma::wait<0>();
  wgmma::hold(sums);
  if (steps > 0) flush(in, sums, i0, j0, c, true);
}

// How many slices of the depth take the least time: blocks come in waves, and each has its sums to write in the end, which takes
// as long as about kFlush rows, and kJoin more where slices are to be cleared and added up.
unsigned slices_for(size_t tiles, size_t depth, size_t places) {
  constexpr double kFlush = 1000.0, kJoin = 2000.0;
  unsigned best = 1;
  double least = 0.0;
  for (unsigned slices = 1; slices <= 8; ++slices) {
    const double waves = static_cast<double>((tiles * slices + places - 1) / places);
    const double cost = waves * (static_cast<double>(depth) / slices + kFlush + (slices > 1 ? kJoin : 0.0));
    if (slices > 1 && cost >= least) continue;
    best = slices;
    least = cost;
  }
  return best;
}

// The layout of x[rows, columns] for the copy engine: panels of 64 columns and kStep rows, chunks of 16 bytes swizzled.
template <typename T>
CUtensorMap layout_of(const T* x, size_t rows, size_t columns) {
  static const auto encode = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult how{};
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &how),
          "looking for cuTensorMapEncodeTiled");
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(found);
  }();
  if (encode == nullptr) throw Failure{cudaErrorInsufficientDriver, "looking for cuTensorMapEncodeTiled"};
  constexpr auto kType = std::is_same_v<T, __half> ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  const cuuint64_t sizes[] = {columns, rows}, strides[] = {columns * sizeof(T)};
  const cuuint32_t box[] = {64, kStep}, steps[] = {1, 1};
  CUtensorMap map{};
  const CUresult result =
      encode(&map, kType, 2, const_cast<T*>(x), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) throw Failure{cudaErrorInvalidValue, "describing a matrix to the copy engine"};
  return map;
}

// c[m, stride] += a^T b.
template <typename T>
void start(const T* a, const T* b, size_t depth, size_t m, size_t n, double* c, size_t stride, cudaStream_t stream) {
  check(cudaFuncSetAttribute(add_tiles<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared), "asking for shared memory");
  const bool symmetric = a == b;
  const unsigned down = blocks_for(m, kRows);
  unsigned tiles = down * blocks_for(n, kColumns);
  if (symmetric) {
    tiles = 0;
    for (unsigned row = 0; row < down; ++row) tiles += tiles_of(row);
  }
  const unsigned slices = slices_for(tiles, depth, static_cast<size_t>(limits().multiprocessors));
  const size_t each = ((depth + slices - 1) / slices + kStep - 1) / kStep * kStep;
  const CUtensorMap left = layout_of(a, depth, m), right = symmetric ? left : layout_of(b, depth, n);
  if (slices == 1) {
    add_tiles<T><<<tiles, kThreads, kShared, stream>>>({left, right, depth, m, n, c, stride, 0, each, symmetric});
    return;
  }
  const Scratch<double> parts(slices * m * n, stream);
  check(cudaMemsetAsync(parts.get(), 0, slices * m * n * sizeof(double), stream), "clearing sums");
  add_tiles<T><<<dim3(tiles, slices), kThreads, kShared, stream>>>({left, right, depth, m, n, parts.get(), n, m * n, each,
                                                                   symmetric});
  add_slices(parts.get(), m, n, 1, static_cast<int>(slices), false, c, stride, stream);
}

template <typename T>
void add(const Samples& in, double* gram, double* cross, cudaStream_t stream) {
  const auto *x = static_cast<const T*>(in.x), *y = static_cast<const T*>(in.y);
  start<T>(x, x, in.rows, in.inputs, in.inputs, gram, in.inputs + 1, stream);
  if (y != nullptr) start<T>(y, x, in.rows, in.outputs, in.inputs, cross, in.inputs + 1, stream);
}

}  // namespace

void add_on_hopper(const Samples& in, double* gram, double* cross, cudaStream_t stream) {
  if (in.type == DOPT_F16) return add<__half>(in, gram, cross, stream);
  add<__nv_bfloat16>(in, gram, cross, stream);
}

}  // namespace dopt::cuda
