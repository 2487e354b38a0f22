// What every entry point of the CUDA core shares: failures, the device of a call, working memory, launches.
#ifndef DOPT_CUDA_SRC_DEVICE_H_
#define DOPT_CUDA_SRC_DEVICE_H_

#include <cuda_runtime.h>

#include <algorithm>
#include <initializer_list>

#include "dopt_cuda.h"
#include "status.h"

namespace dopt::cuda {

// A CUDA call that failed, and what it was for. Caught at the entry point.
struct Failure {
  cudaError_t code;
  const char* what;
};

inline void check(cudaError_t code, const char* what) {
  if (code != cudaSuccess) throw Failure{code, what};
}

// DOPT_ERROR_DEVICE or DOPT_ERROR_MEMORY with a text that says what CUDA said.
dopt_status report(const Failure& failure) noexcept;

// Makes the device that holds the arrays of a call current while it lives. Throws Failure; `foreign` tells of an array
// that is no device memory, or of another device than the first.
class OnDeviceOf {
 public:
  explicit OnDeviceOf(std::initializer_list<const void*> arrays);
  ~OnDeviceOf();
  OnDeviceOf(const OnDeviceOf&) = delete;
  OnDeviceOf& operator=(const OnDeviceOf&) = delete;

  const char* foreign() const { return foreign_; }

 private:
  int before_ = -1;
  const char* foreign_ = nullptr;
};

// Runs the body of an entry point on the device that holds `arrays` (NULL ones are left out).
template <typename Body>
dopt_status enqueue(std::initializer_list<const void*> arrays, Body&& body) noexcept {
  return guarded([&]() -> dopt_status {
    try {
      const OnDeviceOf device(arrays);
      DOPT_REQUIRE(device.foreign() == nullptr, "%s", device.foreign());
      body();
      check(cudaGetLastError(), "starting a kernel");
      return DOPT_OK;
    } catch (const Failure& failure) {
      return report(failure);
    }
  });
}

inline cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }

// The pool that working memory of the current device comes from; it keeps up to 256 MiB from one call to the next. The device's
// own pool would give all of it back whenever somebody waits, and mapping it anew costs more than most kernels.
cudaMemPool_t memory_pool();

// Working memory in the order of a stream.
template <typename T>
class Scratch {
 public:
  Scratch(size_t n, cudaStream_t stream) : stream_(stream) {
    const size_t bytes = std::max<size_t>(n, 1) * sizeof(T);
    check(cudaMallocFromPoolAsync(reinterpret_cast<void**>(&at_), bytes, memory_pool(), stream), "working memory");
  }
  ~Scratch() { cudaFreeAsync(at_, stream_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  T* get() const { return at_; }

 private:
  T* at_ = nullptr;
  cudaStream_t stream_;
};

// Properties of the current device that launches depend on.
struct Limits {
  int capability;  // 90 for 9.0
  int multiprocessors;
  int shared_memory;  // bytes that a block may ask for
};
Limits limits();

inline unsigned blocks_for(size_t n, size_t each) { return static_cast<unsigned>((n + each - 1) / each); }

}  // namespace dopt::cuda

#endif  // DOPT_CUDA_SRC_DEVICE_H_
