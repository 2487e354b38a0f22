// Elements of the types that the observers and Gram sums take, and sums over a block in a fixed order.
#ifndef DOPT_CUDA_SRC_VALUES_H_
#define DOPT_CUDA_SRC_VALUES_H_

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "device.h"

namespace dopt::cuda {

__device__ inline float to_float(float v) { return v; }
__device__ inline float to_float(__half v) { return __half2float(v); }
__device__ inline float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }

// Calls body(pointer to the element type) for a `const void*` of a checked type.
template <typename Body>
void with_type(int32_t type, const void* x, Body&& body) {
  if (type == DOPT_F16) {
    body(static_cast<const __half*>(x));
  } else if (type == DOPT_BF16) {
    body(static_cast<const __nv_bfloat16*>(x));
  } else {
    body(static_cast<const float*>(x));
  }
}

inline dopt_status check_type(int32_t type) noexcept {
  DOPT_REQUIRE(type == DOPT_F32 || type == DOPT_F16 || type == DOPT_BF16, "element type %d is none of 0, 1, 2", type);
  return DOPT_OK;
}

// 16 bytes of elements.
template <typename T>
struct alignas(16) Vector {
  static constexpr int kCount = 16 / sizeof(T);
  T v[kCount];
};

template <typename T>
bool vector_aligned(const T* x) {
  return reinterpret_cast<uintptr_t>(x) % 16 == 0;
}

// Joins one value of each thread with `join`, in a tree that depends on the block's size alone; thread 0 has the result.
// kThreads is a multiple of 32 and at most 1024; every thread calls.
template <int kThreads, typename T, typename Join>
__device__ T join_block(T value, const Join& join) {
  __shared__ T warps[kThreads / 32];
  const auto shuffled = [](T v, int distance) {
    static_assert(sizeof(T) % 4 == 0, "shuffled word by word");
    T other;
    int from[sizeof(T) / 4], to[sizeof(T) / 4];
    memcpy(from, &v, sizeof v);
#pragma unroll
    for (size_t w = 0; w < sizeof(T) / 4; ++w) to[w] = __shfl_down_sync(0xffffffffu, from[w], distance);
    memcpy(&other, to, sizeof other);
    return other;
  };
  for (int distance = 16; distance > 0; distance /= 2) value = join(value, shuffled(value, distance));
  __syncthreads();  // the table may still be read from a call before
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int w = 1; w < kThreads / 32; ++w) value = join(value, warps[w]);
  }
  return value;
}

}  // namespace dopt::cuda

#endif  // DOPT_CUDA_SRC_VALUES_H_
