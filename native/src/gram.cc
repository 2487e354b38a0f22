// Sums over the positions of a layer: panels of patches in double, multiplied block by block.
#include <algorithm>
#include <vector>

#include "conv_shape.h"
#include "dopt.h"
#include "matrix.h"
#include "status.h"
#include "thread_pool.h"

namespace dopt {
namespace {

constexpr size_t kPanelRows = 256;  // positions gathered at a time

// Where the sums of a group go.
struct Sums {
  double *gram, *cross, *power;
};

// Sums of one group, padded for the kernels, before they are added to the caller's.
class GroupSums {
 public:
  GroupSums(size_t inputs, size_t outputs)
      : x(kPanelRows, inputs + 1),
        y(kPanelRows, outputs),
        inputs_(inputs),
        gram_(inputs + 1, inputs + 1),
        cross_(outputs, inputs + 1),
        power_(outputs) {}

  // Panels that the caller fills, a row a position; the constant behind x is set here.
  Matrix x, y;

  // Adds the first `rows` rows of the panels.
  void add(size_t rows) {
    for (size_t t = 0; t < rows; ++t) x[t][inputs_] = 1.0;
    const Matrix &left = y, &right = x;
    add_product(corner(right), corner(right), rows, inputs_ + 1, inputs_ + 1, 1.0, corner(gram_), Part::kLower);
    add_product(corner(left), corner(right), rows, y.columns(), inputs_ + 1, 1.0, corner(cross_));
    for (size_t t = 0; t < rows; ++t) {
      for (size_t o = 0; o < power_.size(); ++o) power_[o] += y[t][o] * y[t][o];
    }
  }

  void flush(const Sums& to) const {
    const size_t k = inputs_ + 1;
    for (size_t i = 0; i < k; ++i) {
      for (size_t j = 0; j <= i; ++j) {
        to.gram[i * k + j] += gram_[i][j];
        if (j != i) to.gram[j * k + i] += gram_[i][j];
      }
    }
    for (size_t o = 0; o < power_.size(); ++o) {
      for (size_t j = 0; j < k; ++j) to.cross[o * k + j] += cross_[o][j];
      to.power[o] += power_[o];
    }
  }

 private:
  size_t inputs_;
  Matrix gram_, cross_;
  std::vector<double> power_;
};

// Geometry of one sample, with which every element of a patch is found.
class Patches {
 public:
  Patches(const dopt_conv2d_shape& s, bool transposed, int64_t out_width)
      : s_(s), transposed_(transposed), out_width_(out_width) {}

  size_t inputs() const { return static_cast<size_t>(s_.in_channels / s_.groups * s_.kernel_height * s_.kernel_width); }
  size_t outputs() const { return static_cast<size_t>(s_.out_channels / s_.groups); }

  // row[inputs] = the patch of a group at an output position; 0 outside the input.
  void gather(const float* x, int64_t group, int64_t position, double* row) const {
    const int64_t top = position / out_width_, left = position % out_width_;
    const int64_t per_group = s_.in_channels / s_.groups, area = s_.in_height * s_.in_width;
    const float* const first = x + group * per_group * area;
    const int64_t taps = s_.kernel_height * s_.kernel_width;
    for (int64_t kh = 0; kh < s_.kernel_height; ++kh) {
      const int64_t h = input_of(transposed_, top, kh, s_.stride_height, s_.dilation_height, s_.pad_top, s_.in_height);
      for (int64_t kw = 0; kw < s_.kernel_width; ++kw) {
        const int64_t v = input_of(transposed_, left, kw, s_.stride_width, s_.dilation_width, s_.pad_left, s_.in_width);
        double* to = row + kh * s_.kernel_width + kw;
        const bool inside = h >= 0 && v >= 0;
        const float* from = first + (inside ? h * s_.in_width + v : 0);
        for (int64_t c = 0; c < per_group; ++c, to += taps, from += area) {
          *to = inside ? static_cast<double>(*from) : 0.0;
        }
      }
    }
  }

 private:
  const dopt_conv2d_shape& s_;
  bool transposed_;
  int64_t out_width_;
};

// The positions of a sample that are used, from about `first` on.
std::vector<int64_t> spread(int64_t total, int64_t wanted, int64_t width, int64_t first) {
  const int64_t step = spread_step(total, wanted, width);
  std::vector<int64_t> positions;
  for (int64_t p = first % step; p < total; p += step) positions.push_back(p);
  return positions;
}

void add_group(const Patches& patches, const float* x, const float* y, int64_t area, int64_t group,
               const std::vector<int64_t>& positions, const Sums& to) {
  GroupSums sums(patches.inputs(), patches.outputs());
  const size_t outputs = patches.outputs();
  const float* const y_group = y + static_cast<int64_t>(outputs) * group * area;
  for (size_t begin = 0; begin < positions.size(); begin += kPanelRows) {
    const size_t rows = std::min(kPanelRows, positions.size() - begin);
    for (size_t t = 0; t < rows; ++t) {
      const int64_t position = positions[begin + t];
      patches.gather(x, group, position, sums.x[t]);
      for (size_t o = 0; o < outputs; ++o) {
        sums.y[t][o] = static_cast<double>(y_group[static_cast<int64_t>(o) * area + position]);
      }
    }
    sums.add(rows);
  }
  sums.flush(to);
}

}  // namespace
}  // namespace dopt

extern "C" {

dopt_status dopt_gram_conv2d(const dopt_conv2d_shape* shape, int32_t transposed, int64_t out_height, int64_t out_width,
                             const float* x, const float* y, int64_t positions, int64_t first, double* gram,
                             double* cross, double* power) {
  return dopt::guarded([&]() -> dopt_status {
    if (const dopt_status bad = dopt::check_conv(shape)) return bad;
    DOPT_REQUIRE(shape->batch == 1, "a batch of %lld samples, expected 1", static_cast<long long>(shape->batch));
    DOPT_REQUIRE(x != nullptr && y != nullptr && gram != nullptr && cross != nullptr && power != nullptr,
                 "an array is NULL");
    DOPT_REQUIRE(out_height >= 1 && out_width >= 1 && positions >= 1 && first >= 0,
                 "output of %lld x %lld, %lld positions from %lld", static_cast<long long>(out_height),
                 static_cast<long long>(out_width), static_cast<long long>(positions), static_cast<long long>(first));
    const dopt::Patches patches(*shape, transposed != 0, out_width);
    const int64_t area = out_height * out_width;
    const std::vector<int64_t> used = dopt::spread(area, positions, out_width, first);
    const size_t k = patches.inputs() + 1, outputs = patches.outputs();
    const auto group_sums = [&](size_t g) {
      return dopt::Sums{gram + g * k * k, cross + g * outputs * k, power + g * outputs};
    };
    const size_t groups = static_cast<size_t>(shape->groups);
    if (groups == 1) {
      dopt::add_group(patches, x, y, area, 0, used, group_sums(0));
      return DOPT_OK;
    }
    std::vector<char> failed(groups, 0);
    dopt::parallel_each(groups, [&](size_t g) {
      try {
        dopt::add_group(patches, x, y, area, static_cast<int64_t>(g), used, group_sums(g));
      } catch (const std::bad_alloc&) {
        failed[g] = 1;
      }
    });
    if (std::count(failed.begin(), failed.end(), 1) != 0) throw std::bad_alloc();
    return DOPT_OK;
  });
}

dopt_status dopt_gram_matmul(const float* x, const float* y, int64_t rows, int64_t inputs, int64_t outputs,
                             double* gram, double* cross, double* power) {
  return dopt::guarded([&]() -> dopt_status {
    DOPT_REQUIRE(x != nullptr && y != nullptr && gram != nullptr && cross != nullptr && power != nullptr,
                 "an array is NULL");
    DOPT_REQUIRE(rows >= 0 && inputs >= 1 && outputs >= 1, "%lld rows of %lld inputs and %lld outputs",
                 static_cast<long long>(rows), static_cast<long long>(inputs), static_cast<long long>(outputs));
    const size_t k = static_cast<size_t>(inputs), n = static_cast<size_t>(outputs);
    dopt::GroupSums sums(k, n);
    for (size_t begin = 0; begin < static_cast<size_t>(rows); begin += dopt::kPanelRows) {
      const size_t count = std::min(dopt::kPanelRows, static_cast<size_t>(rows) - begin);
      for (size_t t = 0; t < count; ++t) {
        std::copy_n(x + (begin + t) * k, k, sums.x[t]);
        std::copy_n(y + (begin + t) * n, n, sums.y[t]);
      }
      sums.add(count);
    }
    sums.flush({gram, cross, power});
    return DOPT_OK;
  });
}

}  // extern "C"
