// Scales and integers of rows of weights made better on the Gram matrix of their input; see dopt.h for the methods.
#include <algorithm>
#include <cmath>
#include <vector>

#include "dopt.h"
#include "kernels.h"
#include "matrix.h"
#include "rows.h"
#include "status.h"

namespace dopt {
namespace {

constexpr double kRidge = 1e-9;  // of the mean diagonal, so that groups without power keep their scale

// A chunk of rows: target and integers as [inputs, rows] for products, and [rows, inputs] for sweeps.
class Refined {
 public:
  Refined(const Rows& rows, const Square& gram, const double* target, float* scales, int8_t* integers, size_t count)
      : rows_(rows),
        gram_(gram),
        target_(target),
        scales_(scales),
        integers_(integers),
        count_(count),
        columns_(rows.inputs, count),
        product_(rows.inputs, count),
        slopes_(rows.inputs, count) {}

  // product := gram (target - dequantized), the slope of the error.
  void find_slopes() {
    load([&](size_t o, size_t k) { return target_[o * rows_.inputs + k] - integer(o, k) * scale(o, k); });
    multiply(0, rows_.inputs, 0);
    slopes_ = product_;
  }

  // Moves the scales to those of least squares for the integers; the slopes are out of date then.
  void fit_scales() {
    const size_t groups = rows_.groups;
    std::vector<double> wanted(count_ * groups), forms(count_ * groups * groups);
    for_groups(0, [&](size_t o, size_t g, size_t k) { wanted[o * groups + g] += integer(o, k) * slopes_[k][o]; });
    load([&](size_t o, size_t k) { return integer(o, k); });
    for (size_t h = 0; h < groups; ++h) {
      multiply(rows_.begin(h), rows_.end(h), rows_.begin(h));
      for_groups(h, [&](size_t o, size_t g, size_t k) {
        forms[(o * groups + g) * groups + h] += integer(o, k) * product_[k][o];
      });
    }
    for (size_t o = 0; o < count_; ++o) {
      double* const form = &forms[o * groups * groups];
      for (size_t h = 0; h < groups; ++h) {
        for (size_t g = h + 1; g < groups; ++g) form[h * groups + g] = form[g * groups + h];
      }
    }
    for (size_t o = 0; o < count_; ++o) fit_row(o, &wanted[o * groups], &forms[o * groups * groups]);
  }

  // Moves every integer to its best value, one after the other, and the slopes with them.
  void sweep() {
    const size_t n = rows_.inputs;
    std::vector<double> slope(n);
    for (size_t o = 0; o < count_; ++o) {
      for (size_t k = 0; k < n; ++k) slope[k] = slopes_[k][o];
      for (size_t k = 0; k < n; ++k) move(o, k, slope.data());
      for (size_t k = 0; k < n; ++k) slopes_[k][o] = slope[k];
    }
  }

 private:
  double integer(size_t o, size_t k) const { return integers_[o * rows_.inputs + k]; }
  double scale(size_t o, size_t k) const { return static_cast<double>(scales_[o * rows_.groups + k / rows_.span]); }

  template <typename Value>
  void load(const Value& value) {
    for (size_t o = 0; o < count_; ++o) {
      for (size_t k = 0; k < rows_.inputs; ++k) columns_[k][o] = value(o, k);
    }
  }

  // Rows from `top` on of product = gram[:, first..last] columns[first..last]
  void multiply(size_t first, size_t last, size_t top) {
    const Matrix& from = columns_;
    for (size_t k = top; k < rows_.inputs; ++k) std::fill_n(product_[k], count_, 0.0);
    add_product(gram_.at(first, top), corner(from, first), last - first, rows_.inputs - top, count_, 1.0,
                corner(product_, top));
  }

  template <typename Body>
  void for_groups(size_t first, const Body& body) {
    for (size_t g = first; g < rows_.groups; ++g) {
      for (size_t k = rows_.begin(g); k < rows_.end(g); ++k) {
        for (size_t o = 0; o < count_; ++o) body(o, g, k);
      }
    }
  }

  // Adds the change d of the scales that minimizes d^T form d - 2 wanted d, held back by a small ridge.
  void fit_row(size_t o, const double* wanted, const double* form) {
    const size_t groups = rows_.groups;
    float* const row = scales_ + o * groups;
    double trace = 0;
    for (size_t g = 0; g < groups; ++g) trace += form[g * groups + g];
    const double ridge = kRidge * trace / static_cast<double>(groups);
    if (!(ridge > 0) || !std::isfinite(ridge)) return;
    Matrix m(groups, groups), x(groups, 1);
    for (size_t g = 0; g < groups; ++g) {
      for (size_t h = 0; h <= g; ++h) m[g][h] = form[g * groups + h];
      m[g][g] += ridge;
      x[g][0] = wanted[g];
    }
    if (!factorize(m)) return;
    solve(m, x);
    std::vector<double> change(groups);
    std::vector<float> after(groups);
    for (size_t g = 0; g < groups; ++g) {
      const double before = static_cast<double>(row[g]), fitted = half_scale(before + x[g][0]);
      // A fit that leaves the neighbourhood says that the group hardly counts.
      after[g] = fitted > 0.5 * before && fitted < 2.0 * before ? static_cast<float>(fitted) : row[g];
      change[g] = static_cast<double>(after[g]) - before;
    }
    if (gain(change, wanted, form) > 0) std::copy(after.begin(), after.end(), row);
  }

  // How much a change of the scales lowers the error.
  static double gain(const std::vector<double>& change, const double* wanted, const double* form) {
    double sum = 0;
    for (size_t g = 0; g < change.size(); ++g) {
      double slope = 2.0 * wanted[g];
      for (size_t h = 0; h < change.size(); ++h) slope -= form[g * change.size() + h] * change[h];
      sum += change[g] * slope;
    }
    return sum;
  }

  // Moves one integer to its best value; slope = gram (target - dequantized) of the row.
  void move(size_t o, size_t k, double* slope) {
    const double power = gram_[k][k], step = scale(o, k);
    if (!(power > 0)) return;
    int8_t& q = integers_[o * rows_.inputs + k];
    const double better = rows_.clamp(std::nearbyint(q + slope[k] / (power * step)));
    if (better == q) return;
    kernels().subtract_scaled(slope, gram_[k], (better - q) * step, rows_.inputs);
    q = static_cast<int8_t>(better);
  }

  const Rows& rows_;
  const Square& gram_;
  const double* target_;
  float* scales_;
  int8_t* integers_;
  size_t count_;
  Matrix columns_, product_, slopes_;
};

}  // namespace
}  // namespace dopt

extern "C" {

dopt_status dopt_gram_refine(const dopt_layer* layer, const double* gram, const double* target, int32_t refit,
                             int32_t sweeps, float* scales, int8_t* integers) {
  return dopt::guarded([&]() -> dopt_status {
    if (const dopt_status bad = dopt::check_rows(layer)) return bad;
    DOPT_REQUIRE(gram != nullptr && target != nullptr && scales != nullptr && integers != nullptr, "an array is NULL");
    DOPT_REQUIRE(sweeps >= 0, "%d sweeps", sweeps);
    const dopt::Rows rows(*layer);
    const dopt::Square whole(rows.inputs, gram, rows.span % dopt::kProductPad == 0);
    dopt::each_chunk(rows, 1, [&](size_t first, size_t last) {
      dopt::Refined chunk(rows, whole, target + first * rows.inputs, scales + first * rows.groups,
                          integers + first * rows.inputs, last - first);
      for (int32_t i = 0; i < sweeps; ++i) {
        chunk.find_slopes();
        chunk.sweep();
        if (refit != 0) chunk.fit_scales();
      }
      if (sweeps == 0 && refit != 0) {
        chunk.find_slopes();
        chunk.fit_scales();
      }
    });
    return DOPT_OK;
  });
}

}  // extern "C"
