// Dense matrices in double: products, Cholesky factors, triangular systems. Every element of a result is formed in an
// order that depends on the sizes alone, so results do not depend on threads or the instruction set.
#ifndef DOPT_SRC_MATRIX_H_
#define DOPT_SRC_MATRIX_H_

#include <cstddef>
#include <vector>

namespace dopt {

// Row-major, zero at first. Rows are padded, so that kernels may read beyond the last column.
class Matrix {
 public:
  Matrix(size_t rows, size_t columns);

  double* operator[](size_t row) noexcept { return values_.data() + row * stride_; }
  const double* operator[](size_t row) const noexcept { return values_.data() + row * stride_; }
  size_t rows() const noexcept { return rows_; }
  size_t columns() const noexcept { return columns_; }
  size_t stride() const noexcept { return stride_; }
  // Sets every element to zero.
  void clear() noexcept;

 private:
  size_t rows_, columns_, stride_;
  std::vector<double> values_;
};

// A corner of a matrix from which a product reads or into which it writes.
struct Corner {
  double* at;
  size_t stride;
};
struct ConstCorner {
  const double* at;
  size_t stride;
};
inline Corner corner(Matrix& m, size_t row = 0, size_t column = 0) noexcept { return {m[row] + column, m.stride()}; }
inline ConstCorner corner(const Matrix& m, size_t row = 0, size_t column = 0) noexcept {
  return {m[row] + column, m.stride()};
}

// A square matrix of the caller's that is read. Products read whole tiles of columns: where rows are not a multiple of them, or
// products begin elsewhere (`aligned` is false), it is copied, else it is used where it lies.
class Square {
 public:
  Square(size_t n, const double* values, bool aligned = true);

  const double* operator[](size_t row) const noexcept { return values_ + row * stride_; }
  ConstCorner at(size_t row, size_t column) const noexcept { return {(*this)[row] + column, stride_}; }

 private:
  Matrix copy_;
  size_t stride_;
  const double* values_;
};

enum class Part { kAll, kLower };

// c[i][j] += sign * sum over d < depth of a[d][i] * b[d][j], i < m, j < n. kLower: at least the elements i >= j.
void add_product(ConstCorner a, ConstCorner b, size_t depth, size_t m, size_t n, double sign, Corner c,
                 Part part = Part::kAll) noexcept;

// Cholesky factor L of a symmetric positive definite matrix of which the lower triangle is read: L in the lower triangle,
// its transpose in the upper one. False when the matrix is not positive definite; it is destroyed then.
bool factorize(Matrix& symmetric) noexcept;

// x := (L L^T)^-1 x for x[n, columns].
void solve(const Matrix& factor, Matrix& x) noexcept;

}  // namespace dopt

#endif  // DOPT_SRC_MATRIX_H_
