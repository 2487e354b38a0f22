// Blocked algorithms as in Golub and Van Loan, Matrix Computations, sections 3.1.4 and 4.2.6.
#include "matrix.h"

#include <algorithm>
#include <cmath>

#include "kernels.h"
#include "thread_pool.h"

namespace dopt {
namespace {

constexpr size_t kBlockColumns = 64;  // of a factorization step: a block and its products stay in the cache
constexpr size_t kJobRows = 128, kJobColumns = 64;
constexpr size_t kWorthThreads = 1 << 18;  // multiplications below which waking a thread takes longer

size_t blocks(size_t n, size_t size) { return (n + size - 1) / size; }

void subtract_row(double* to, const double* from, double factor, size_t n) {
  for (size_t j = 0; j < n; ++j) to[j] -= factor * from[j];
}

// Unblocked factor of the diagonal block [first, last).
bool factorize_block(Matrix& m, size_t first, size_t last) {
  for (size_t j = first; j < last; ++j) {
    double pivot = m[j][j];
    for (size_t p = first; p < j; ++p) pivot -= m[j][p] * m[j][p];
    if (!(pivot > 0) || !std::isfinite(pivot)) return false;
    m[j][j] = std::sqrt(pivot);
    for (size_t i = j + 1; i < last; ++i) {
      double sum = m[i][j];
      for (size_t p = first; p < j; ++p) sum -= m[i][p] * m[j][p];
      m[i][j] = sum / m[j][j];
    }
  }
  return true;
}

}  // namespace

Matrix::Matrix(size_t rows, size_t columns)
    : rows_(rows),
      columns_(columns),
      stride_(blocks(columns, kProductPad) * kProductPad),
      values_(rows * stride_ + 2 * kProductPad) {}

Square::Square(size_t n, const double* values, bool aligned)
    : copy_(aligned && n % kProductPad == 0 ? 0 : n, n), stride_(n), values_(values) {
  if (copy_.rows() == 0) return;
  for (size_t i = 0; i < n; ++i) std::copy_n(values + i * n, n, copy_[i]);
  stride_ = copy_.stride();
  values_ = copy_[0];
}

void Matrix::clear() noexcept { std::fill(values_.begin(), values_.end(), 0.0); }

void add_product(ConstCorner a, ConstCorner b, size_t depth, size_t m, size_t n, double sign, Corner c,
                 Part part) noexcept {
  if (depth == 0 || m == 0 || n == 0) return;
  const size_t down = blocks(m, kJobRows), across = blocks(n, kJobColumns);
  const auto job = [&](size_t index) {
    const size_t i = index / across * kJobRows, j = index % across * kJobColumns;
    if (part == Part::kLower && i + kJobRows <= j) return;
    kernels().add_product(a.at + i, a.stride, b.at + j, b.stride, depth, std::min(kJobRows, m - i),
                          std::min(kJobColumns, n - j), sign, c.at + i * c.stride + j, c.stride);
  };
  if (depth * m * n < kWorthThreads) {
    for (size_t index = 0; index < down * across; ++index) job(index);
  } else {
    parallel_each(down * across, job);
  }
}

bool factorize(Matrix& m) noexcept {
  const size_t n = m.rows();
  for (size_t first = 0; first < n; first += kBlockColumns) {
    const size_t last = std::min(n, first + kBlockColumns);
    if (!factorize_block(m, first, last)) return false;
    const auto below = [&](size_t index) {
      double* const row = m[last + index];
      for (size_t j = first; j < last; ++j) {
        double sum = row[j];
        for (size_t p = first; p < j; ++p) sum -= row[p] * m[j][p];
        row[j] = sum / m[j][j];
      }
    };
    if ((n - last) * (last - first) * (last - first) < kWorthThreads) {
      for (size_t index = 0; index < n - last; ++index) below(index);
    } else {
      parallel_each(n - last, below);
    }
    for (size_t j = first; j < last; ++j) {
      for (size_t i = j + 1; i < n; ++i) m[j][i] = m[i][j];
    }
    const ConstCorner panel = corner(static_cast<const Matrix&>(m), first, last);
    add_product(panel, panel, last - first, n - last, n - last, -1.0, corner(m, std::min(last, n - 1), last),
                Part::kLower);
  }
  return true;
}

void solve(const Matrix& factor, Matrix& x) noexcept {
  const size_t n = factor.rows(), columns = x.columns();
  const Matrix& from = x;
  for (size_t first = 0; first < n; first += kBlockColumns) {  // L y = x
    const size_t last = std::min(n, first + kBlockColumns);
    add_product(corner(factor, 0, first), corner(from), first, last - first, columns, -1.0, corner(x, first));
    for (size_t k = first; k < last; ++k) {
      for (size_t p = first; p < k; ++p) subtract_row(x[k], x[p], factor[k][p], columns);
      for (size_t j = 0; j < columns; ++j) x[k][j] /= factor[k][k];
    }
  }
  for (size_t step = blocks(n, kBlockColumns); step-- > 0;) {  // L^T x = y
    const size_t first = step * kBlockColumns, last = std::min(n, first + kBlockColumns);
    if (last < n) {
      add_product(corner(factor, last, first), corner(from, last), n - last, last - first, columns, -1.0,
                  corner(x, first));
    }
    for (size_t k = last; k-- > first;) {
      for (size_t p = k + 1; p < last; ++p) subtract_row(x[k], x[p], factor[p][k], columns);
      for (size_t j = 0; j < columns; ++j) x[k][j] /= factor[k][k];
    }
  }
}

}  // namespace dopt
