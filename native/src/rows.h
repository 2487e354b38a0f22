// Rows of a linear whose weights share scales in groups; see "Weights in groups" of dopt.h.
#ifndef DOPT_SRC_ROWS_H_
#define DOPT_SRC_ROWS_H_

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <new>

#include "dopt.h"
#include "thread_pool.h"

namespace dopt {

constexpr size_t kChunkRows = 64;  // rows that go through a matrix together: their working set stays in the cache

// Sizes and grid, as numbers to count with.
struct Rows {
  size_t outputs, inputs, span, groups;
  double qmin, qmax;

  explicit Rows(const dopt_layer& s)
      : outputs(static_cast<size_t>(s.outputs)),
        inputs(static_cast<size_t>(s.inputs)),
        span(static_cast<size_t>(s.span)),
        groups((inputs + span - 1) / span),
        qmin(s.qmin),
        qmax(s.qmax) {}

  size_t begin(size_t group) const { return group * span; }
  size_t end(size_t group) const { return std::min(inputs, (group + 1) * span); }
  double clamp(double q) const { return std::min(qmax, std::max(qmin, q)); }
  double nearest(double value, double scale) const { return clamp(std::nearbyint(value / scale)); }
};

// A scale with 11 significant bits, rounded half to even; subnormal numbers and what is no positive number stay.
inline float half_scale(double scale) {
  const float single = static_cast<float>(scale);
  if (!(single >= 1e-30f) || !(single < 1e30f)) return single;
  uint32_t bits;
  std::memcpy(&bits, &single, sizeof bits);
  bits += 0xfffu + ((bits >> 13) & 1u);
  bits &= ~0x1fffu;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

// Calls body(first, last) for chunks of rows, of whole runs of `run` rows, on several threads. std::bad_alloc of a chunk is
// raised here.
template <typename Body>
void each_chunk(const Rows& rows, size_t run, const Body& body) {
  std::atomic<bool> failed{false};
  const size_t size = std::max(run, kChunkRows / run * run);
  const size_t chunks = (rows.outputs + size - 1) / size;
  parallel_each(chunks, [&](size_t index) {
    try {
      body(index * size, std::min(rows.outputs, (index + 1) * size));
    } catch (const std::bad_alloc&) {
      failed = true;
    }
  });
  if (failed) throw std::bad_alloc();
}

// DOPT_OK, or the failure: a layer as this part of the interface takes it.
dopt_status check_rows(const dopt_layer* layer) noexcept;

}  // namespace dopt

#endif  // DOPT_SRC_ROWS_H_
