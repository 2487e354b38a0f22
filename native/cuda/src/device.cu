// Devices, failures and what the library says of itself.
#include "device.h"

#include <cstdio>
#include <mutex>

namespace dopt::cuda {

dopt_status report(const Failure& failure) noexcept {
  dopt_status status = DOPT_ERROR_DEVICE;
  if (failure.code == cudaErrorMemoryAllocation) status = DOPT_ERROR_MEMORY;
  cudaGetLastError();  // forgotten here, so that the next call does not report it once more
  return fail(status, "%s: %s (%s)", failure.what, cudaGetErrorString(failure.code), cudaGetErrorName(failure.code));
}

OnDeviceOf::OnDeviceOf(std::initializer_list<const void*> arrays) {
  int device = -1;
  for (const void* array : arrays) {
    if (array == nullptr) continue;
    cudaPointerAttributes found{};
    check(cudaPointerGetAttributes(&found, array), "looking for the device of an array");
    if (found.type != cudaMemoryTypeDevice && found.type != cudaMemoryTypeManaged) {
      foreign_ = "an array is not in device memory";
      return;
    }
    if (device >= 0 && found.device != device) {
      foreign_ = "the arrays are on several devices";
      return;
    }
    device = found.device;
  }
  if (device < 0) return;
  check(cudaGetDevice(&before_), "asking for the current device");
  if (before_ == device) {
    before_ = -1;
  } else {
    check(cudaSetDevice(device), "choosing the device of the arrays");
  }
}

OnDeviceOf::~OnDeviceOf() {
  if (before_ >= 0) cudaSetDevice(before_);
}

cudaMemPool_t memory_pool() {
  constexpr int kMost = 64;
  static std::mutex mutex;
  static cudaMemPool_t pools[kMost] = {};
  int device = 0;
  check(cudaGetDevice(&device), "asking for the current device");
  if (device >= kMost) throw Failure{cudaErrorInvalidDevice, "working memory"};
  const std::lock_guard<std::mutex> lock(mutex);
  if (pools[device] == nullptr) {
    cudaMemPoolProps properties{};
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location = {cudaMemLocationTypeDevice, device};
    check(cudaMemPoolCreate(&pools[device], &properties), "making a pool of working memory");
    uint64_t kept = uint64_t{256} << 20;
    check(cudaMemPoolSetAttribute(pools[device], cudaMemPoolAttrReleaseThreshold, &kept), "making a pool of working memory");
  }
  return pools[device];
}

Limits limits() {
  int device = 0, major = 0, minor = 0;
  Limits found{};
  check(cudaGetDevice(&device), "asking for the current device");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "asking a device");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "asking a device");
  found.capability = 10 * major + minor;
  check(cudaDeviceGetAttribute(&found.multiprocessors, cudaDevAttrMultiProcessorCount, device), "asking a device");
  check(cudaDeviceGetAttribute(&found.shared_memory, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "asking a device");
  return found;
}

namespace {

__global__ void nothing() {}

template <typename Body>
dopt_status caught(Body&& body) noexcept {
  return guarded([&]() -> dopt_status {
    try {
      body();
      return DOPT_OK;
    } catch (const Failure& failure) {
      return report(failure);
    }
  });
}

}  // namespace
}  // namespace dopt::cuda

using dopt::cuda::check;

extern "C" {

int32_t dopt_cuda_abi_version(void) { return DOPT_CUDA_ABI_VERSION; }

const char* dopt_cuda_last_error(void) { return dopt::last_failure(); }

const char* dopt_cuda_build_info(void) {
  thread_local char text[256];
  std::snprintf(text, sizeof text, "{\"abi\":%d,\"structures\":%d,\"runtime\":\"%d.%d\",\"architectures\":\"%s\"}",
                DOPT_CUDA_ABI_VERSION, DOPT_ABI_VERSION, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10,
                DOPT_CUDA_ARCHITECTURES);
  return text;
}

dopt_status dopt_cuda_device_count(int32_t* count) {
  DOPT_REQUIRE(count != nullptr, "count is NULL");
  *count = 0;
  return dopt::cuda::caught([&] {
    int found = 0;
    check(cudaGetDeviceCount(&found), "looking for devices");
    *count = found;
  });
}

dopt_status dopt_cuda_device_info(int32_t device, char* text, size_t size) {
  DOPT_REQUIRE(device >= 0 && text != nullptr && size > 0, "device %d, text of %zu bytes", device, size);
  return dopt::cuda::caught([&] {
    cudaDeviceProp found{};
    int driver = 0, before = 0;
    check(cudaGetDeviceProperties(&found, device), "asking a device");
    check(cudaDriverGetVersion(&driver), "asking the driver");
    check(cudaGetDevice(&before), "asking for the current device");
    check(cudaSetDevice(device), "choosing a device");
    cudaFuncAttributes code{};
    const cudaError_t loaded = cudaFuncGetAttributes(&code, dopt::cuda::nothing);
    cudaSetDevice(before);
    check(loaded, "loading this build's code");
    std::snprintf(text, size,
                  "{\"name\":\"%s\",\"capability\":\"%d.%d\",\"multiprocessors\":%d,\"memory\":%zu,\"driver\":\"%d.%d\"}",
                  found.name, found.major, found.minor, found.multiProcessorCount, found.totalGlobalMem, driver / 1000,
                  driver % 1000 / 10);
  });
}

dopt_status dopt_cuda_synchronize(void* stream) {
  return dopt::cuda::caught(
      [&] { check(cudaStreamSynchronize(dopt::cuda::stream_of(stream)), "waiting for a stream"); });
}

}  // extern "C"
