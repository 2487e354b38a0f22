// Arrays on the device for tests and benchmarks.
#ifndef DOPT_CUDA_TESTS_DEVICE_ARRAY_H_
#define DOPT_CUDA_TESTS_DEVICE_ARRAY_H_

#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "dopt_cuda.h"

// Ends the program with what failed: after a failure of CUDA nothing that follows means anything.
inline void must(dopt_status status, const char* what) {
  if (status == DOPT_OK) return;
  std::fprintf(stderr, "%s: %s\n", what, dopt_cuda_last_error());
  std::exit(1);
}
inline void must(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(code));
  std::exit(1);
}
#define MUST(call) must((call), #call)

// n elements, `offset` behind the start of an allocation, so that no address is aligned to a vector.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t n, size_t offset = 0) : n_(n), offset_(offset) {
    MUST(cudaMalloc(reinterpret_cast<void**>(&at_), (n + offset + 1) * sizeof(T)));
    // Poison: what a kernel leaves out must not look right.
    MUST(cudaMemset(at_, 0xa5, (n + offset + 1) * sizeof(T)));
  }
  explicit DeviceArray(const std::vector<T>& values, size_t offset = 0) : DeviceArray(values.size(), offset) {
    MUST(cudaMemcpy(get(), values.data(), n_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~DeviceArray() { cudaFree(at_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* get() const { return at_ + offset_; }
  size_t size() const { return n_; }
  // Waits for all that was enqueued.
  std::vector<T> copy() const {
    std::vector<T> values(n_);
    MUST(cudaDeviceSynchronize());
    MUST(cudaMemcpy(values.data(), get(), n_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  T* at_ = nullptr;
  size_t n_, offset_;
};

#endif  // DOPT_CUDA_TESTS_DEVICE_ARRAY_H_
