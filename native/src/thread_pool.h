// Worker threads kept between calls.
#ifndef DOPT_SRC_THREAD_POOL_H_
#define DOPT_SRC_THREAD_POOL_H_

#include <cstddef>

namespace dopt {

// Runs job(context, i) for each i below `jobs`, handed out in ascending order to the calling thread and the workers.
// Returns when all have run. A second caller at the same time, or a job that calls it, runs its jobs on its own thread.
// `job` must not throw.
void parallel_for(size_t jobs, void (*job)(void* context, size_t index), void* context) noexcept;

// parallel_for over anything callable with an index. It must not throw.
template <typename Job>
void parallel_each(size_t jobs, const Job& job) noexcept {
  parallel_for(
      jobs, [](void* context, size_t index) { (*static_cast<const Job*>(context))(index); }, const_cast<Job*>(&job));
}

// Threads that parallel_for may use, the caller included; 0 means one a processor of this process.
void set_threads(int threads) noexcept;
int threads() noexcept;

}  // namespace dopt

#endif  // DOPT_SRC_THREAD_POOL_H_
