#include "thread_pool.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

namespace dopt {
namespace {

constexpr int kMaxThreads = 256;

thread_local bool t_inside = false;  // this thread runs jobs of a region and must not enter another

class Pool {
 public:
  // Adds workers up to `wanted`; stays with fewer where the system refuses more.
  void grow(int wanted) noexcept {
    for (; workers_ < wanted; ++workers_) {
      try {
        // Never joined: the pool lives until the process ends.
        std::thread([this, id = workers_] { work(id); }).detach();
      } catch (const std::system_error&) {
        return;
      } catch (const std::bad_alloc&) {
        return;
      }
    }
  }

  void run(int workers, size_t jobs, void (*job)(void*, size_t), void* context) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      job_ = job;
      context_ = context;
      jobs_ = jobs;
      next_.store(0, std::memory_order_relaxed);
      active_limit_ = std::min(workers, workers_);
      busy_ = active_limit_;
      ++round_;
    }
    wake_.notify_all();
    take();
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
  }

 private:
  void take() {
    t_inside = true;
    for (size_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < jobs_;) job_(context_, i);
    t_inside = false;
  }

  void work(int id) {
    unsigned long seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return round_ != seen; });
      seen = round_;
      if (id >= active_limit_) continue;
      lock.unlock();
      take();
      lock.lock();
      if (--busy_ == 0) done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::atomic<size_t> next_{0};
  void (*job_)(void*, size_t) = nullptr;
  void* context_ = nullptr;
  size_t jobs_ = 0;
  int workers_ = 0, active_limit_ = 0, busy_ = 0;
  unsigned long round_ = 0;
};

std::atomic<int> g_threads{0};
std::mutex g_region;     // one parallel region at a time
Pool* g_pool = nullptr;  // guarded by g_region
pid_t g_owner = 0;

// The pool of this process. A forked child has none of its parent's threads, so it starts anew.
Pool* pool() noexcept {
  const pid_t self = getpid();
  if (g_owner != self) {
    g_pool = new (std::nothrow) Pool;
    g_owner = self;
  }
  return g_pool;
}

}  // namespace

void set_threads(int threads) noexcept { g_threads.store(threads, std::memory_order_relaxed); }

int threads() noexcept {
  const int wanted = g_threads.load(std::memory_order_relaxed);
  if (wanted > 0) return wanted;
  static const int processors = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return std::min(processors, kMaxThreads);
}

void parallel_for(size_t jobs, void (*job)(void*, size_t), void* context) noexcept {
  const int helpers = static_cast<int>(std::min<size_t>(static_cast<size_t>(threads()), jobs)) - 1;
  std::unique_lock<std::mutex> region(g_region, std::defer_lock);
  Pool* workers = nullptr;
  if (helpers > 0 && !t_inside && region.try_lock()) workers = pool();
  if (workers == nullptr) {
    for (size_t i = 0; i < jobs; ++i) job(context, i);
    return;
  }
  workers->grow(helpers);
  workers->run(helpers, jobs, job, context);
}

}  // namespace dopt
