// Integers for a layer's weights from the sums of its inputs and outputs; see dopt.h for the methods.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "dopt.h"
#include "layer.h"
#include "matrix.h"
#include "status.h"
#include "thread_pool.h"

namespace dopt {
namespace {

constexpr size_t kBlockInputs = 64;  // rounded between two products with what is left

// One group of a layer: pointers into the caller's arrays and the sizes they have.
struct Group {
  size_t outputs, inputs, span;
  int32_t qmin, qmax;
  bool free_bias;
  const double *gram, *cross;
  const float *weights, *scales;

  size_t spans() const { return (inputs + span - 1) / span; }
  double scale(size_t output, size_t input) const {
    return static_cast<double>(scales[output * spans() + input / span]);
  }
  double count() const { return gram[(inputs + 1) * (inputs + 1) - 1]; }
  // Sum of input k over all positions.
  double input_sum(size_t k) const { return gram[inputs * (inputs + 1) + k]; }
  double output_sum(size_t o) const { return cross[o * (inputs + 1) + inputs]; }
  // Second moments: about the mean with a free bias, else about zero.
  double gram_at(size_t i, size_t j) const {
    const double raw = gram[i * (inputs + 1) + j];
    return free_bias ? raw - input_sum(i) / count() * input_sum(j) : raw;
  }
  double cross_at(size_t o, size_t k) const {
    const double raw = cross[o * (inputs + 1) + k];
    return free_bias ? raw - output_sum(o) / count() * input_sum(k) : raw;
  }
};

// Inputs in the order in which they are rounded last to first: by rising variance.
std::vector<size_t> order_of(const Group& g) {
  std::vector<double> variance(g.inputs);
  for (size_t k = 0; k < g.inputs; ++k) variance[k] = g.gram_at(k, k);
  std::vector<size_t> order(g.inputs);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return variance[a] < variance[b]; });
  return order;
}

// gram + load on the diagonal, rows and columns in `order`; its Cholesky factor, or an empty matrix when there is none.
Matrix factor_of(const Group& g, const std::vector<size_t>& order, double load) {
  Matrix m(g.inputs, g.inputs);
  for (size_t i = 0; i < g.inputs; ++i) {
    for (size_t j = 0; j <= i; ++j) m[i][j] = g.gram_at(order[i], order[j]);
    m[i][i] += load;
  }
  return factorize(m) ? std::move(m) : Matrix(0, 0);
}

// target[k][o]: the weights to be rounded, inputs in `order`.
bool find_target(const Group& g, const std::vector<size_t>& order, double ridge, Matrix& target) {
  for (size_t k = 0; k < g.inputs; ++k) {
    for (size_t o = 0; o < g.outputs; ++o) {
      const double w = static_cast<double>(g.weights[o * g.inputs + order[k]]);
      target[k][o] = ridge < 0 ? w : g.cross_at(o, order[k]) + ridge * w;
    }
  }
  if (ridge < 0) return true;
  const Matrix factor = factor_of(g, order, ridge);
  if (factor.rows() == 0) return false;
  solve(factor, target);
  return true;
}

int8_t nearest(const Group& g, double value, double scale) {
  const double q = std::nearbyint(value / scale);
  return static_cast<int8_t>(std::min<double>(g.qmax, std::max<double>(g.qmin, q)));
}

// Babai's nearest plane: from the last input of `order` to the first, each rounded to the grid at the value that makes
// up for the errors of those rounded before it.
void round_with_feedback(const Group& g, const std::vector<size_t>& order, const Matrix& factor, const Matrix& target,
                         int8_t* integers) {
  Matrix errors(g.inputs, g.outputs);  // target minus what was taken
  Matrix owed(g.inputs, g.outputs);    // sum over rounded j of factor[j][k] * errors[j]
  const Matrix& known = errors;
  const auto round_input = [&](size_t k) {
    for (size_t o = 0; o < g.outputs; ++o) {
      const double scale = g.scale(o, order[k]);
      const int8_t q = nearest(g, target[k][o] + owed[k][o] / factor[k][k], scale);
      integers[o * g.inputs + order[k]] = q;
      errors[k][o] = target[k][o] - q * scale;
    }
  };
  for (size_t last = g.inputs; last > 0;) {
    const size_t first = (last - 1) / kBlockInputs * kBlockInputs;
    for (size_t k = last; k-- > first;) {
      for (size_t j = k + 1; j < last; ++j) {
        for (size_t o = 0; o < g.outputs; ++o) owed[k][o] += factor[j][k] * errors[j][o];
      }
      round_input(k);
    }
    if (first > 0) {
      add_product(corner(factor, first), corner(known, first), last - first, first, g.outputs, 1.0, corner(owed));
    }
    last = first;
  }
}

void round_to_nearest(const Group& g, int8_t* integers) {
  for (size_t o = 0; o < g.outputs; ++o) {
    for (size_t k = 0; k < g.inputs; ++k) {
      const size_t at = o * g.inputs + k;
      integers[at] = nearest(g, static_cast<double>(g.weights[at]), g.scale(o, k));
    }
  }
}

void reconstruct(const Group& g, double ridge, double damping, int8_t* integers) {
  double trace = 0;
  for (size_t k = 0; k < g.inputs; ++k) trace += g.gram_at(k, k);
  const double mean = trace / static_cast<double>(g.inputs);
  if (!(mean > 0) || !std::isfinite(mean)) return round_to_nearest(g, integers);
  const std::vector<size_t> order = order_of(g);
  Matrix target(g.inputs, g.outputs);
  const bool solved = find_target(g, order, ridge < 0 ? ridge : ridge * mean, target);
  const Matrix factor = factor_of(g, order, damping * mean);
  if (!solved || factor.rows() == 0) return round_to_nearest(g, integers);
  round_with_feedback(g, order, factor, target, integers);
}

// (scale * integers) as [inputs, outputs].
Matrix dequantized(const Group& g, const int8_t* integers) {
  Matrix w(g.inputs, g.outputs);
  for (size_t o = 0; o < g.outputs; ++o) {
    for (size_t k = 0; k < g.inputs; ++k) w[k][o] = integers[o * g.inputs + k] * g.scale(o, k);
  }
  return w;
}

void find_bias(const Group& g, const int8_t* integers, double* bias) {
  const Matrix w = dequantized(g, integers);
  for (size_t o = 0; o < g.outputs; ++o) bias[o] = g.output_sum(o);
  for (size_t k = 0; k < g.inputs; ++k) {
    for (size_t o = 0; o < g.outputs; ++o) bias[o] -= w[k][o] * g.input_sum(k);
  }
  for (size_t o = 0; o < g.outputs; ++o) bias[o] = g.count() > 0 ? bias[o] / g.count() : 0.0;
}

// power - 2 v c + v G v^T with v = [w, bias], a quadratic form that only rounding could make negative.
void find_error(const Group& g, const double* power, const int8_t* integers, const double* bias, double* error) {
  const size_t k1 = g.inputs + 1;
  const Matrix w = dequantized(g, integers);
  Matrix v(k1, g.outputs), gram(k1, k1), product(k1, g.outputs);
  for (size_t k = 0; k < g.inputs; ++k) std::copy_n(w[k], g.outputs, v[k]);
  if (bias != nullptr) std::copy_n(bias, g.outputs, v[g.inputs]);
  for (size_t k = 0; k < k1; ++k) std::copy_n(g.gram + k * k1, k1, gram[k]);
  const Matrix &left = gram, &right = v;
  add_product(corner(left), corner(right), k1, k1, g.outputs, 1.0, corner(product));
  for (size_t o = 0; o < g.outputs; ++o) {
    double sum = power[o];
    for (size_t k = 0; k < k1; ++k) sum += v[k][o] * (product[k][o] - 2 * g.cross[o * k1 + k]);
    error[o] = std::max(0.0, sum);
  }
}

// Calls body(group, index) for each group, on several threads when there is more than one.
template <typename Body>
void each_group(const dopt_layer& s, const double* gram, const double* cross, const float* weights,
                const float* scales, const Body& body) {
  const size_t outputs = static_cast<size_t>(s.outputs), inputs = static_cast<size_t>(s.inputs);
  const size_t span = static_cast<size_t>(s.span), k1 = inputs + 1;
  const size_t groups = static_cast<size_t>(s.groups);
  std::vector<char> failed(groups, 0);
  const auto run = [&](size_t i) {
    const Group group{outputs,
                      inputs,
                      span,
                      s.qmin,
                      s.qmax,
                      s.free_bias != 0,
                      gram + i * k1 * k1,
                      cross + i * outputs * k1,
                      weights == nullptr ? nullptr : weights + i * outputs * inputs,
                      scales + i * outputs * ((inputs + span - 1) / span)};
    try {
      body(group, i);
    } catch (const std::bad_alloc&) {
      failed[i] = 1;
    }
  };
  if (groups == 1) {
    run(0);
  } else {
    parallel_each(groups, run);
  }
  if (std::count(failed.begin(), failed.end(), 1) != 0) throw std::bad_alloc();
}

}  // namespace
}  // namespace dopt

extern "C" {

dopt_status dopt_gram_reconstruct(const dopt_layer* layer, const double* gram, const double* cross,
                                  const float* weights, const float* scales, double ridge, double damping,
                                  int8_t* integers) {
  return dopt::guarded([&]() -> dopt_status {
    if (const dopt_status bad = dopt::check_layer(layer)) return bad;
    DOPT_REQUIRE(gram != nullptr && cross != nullptr && weights != nullptr && scales != nullptr && integers != nullptr,
                 "an array is NULL");
    DOPT_REQUIRE(damping > 0 && std::isfinite(damping) && std::isfinite(ridge), "damping is %g and ridge %g", damping,
                 ridge);
    const size_t size = static_cast<size_t>(layer->outputs * layer->inputs);
    dopt::each_group(*layer, gram, cross, weights, scales, [&](const dopt::Group& group, size_t i) {
      dopt::reconstruct(group, ridge, damping, integers + i * size);
    });
    return DOPT_OK;
  });
}

dopt_status dopt_gram_bias(const dopt_layer* layer, const double* gram, const double* cross, const int8_t* integers,
                           const float* scales, double* bias) {
  return dopt::guarded([&]() -> dopt_status {
    if (const dopt_status bad = dopt::check_layer(layer)) return bad;
    DOPT_REQUIRE(gram != nullptr && cross != nullptr && integers != nullptr && scales != nullptr && bias != nullptr,
                 "an array is NULL");
    const size_t size = static_cast<size_t>(layer->outputs * layer->inputs);
    dopt::each_group(*layer, gram, cross, nullptr, scales, [&](const dopt::Group& group, size_t i) {
      dopt::find_bias(group, integers + i * size, bias + i * group.outputs);
    });
    return DOPT_OK;
  });
}

dopt_status dopt_gram_error(const dopt_layer* layer, const double* gram, const double* cross, const double* power,
                            const int8_t* integers, const float* scales, const double* bias, double* error) {
  return dopt::guarded([&]() -> dopt_status {
    if (const dopt_status bad = dopt::check_layer(layer)) return bad;
    DOPT_REQUIRE(gram != nullptr && cross != nullptr && power != nullptr && integers != nullptr && scales != nullptr &&
                     error != nullptr,
                 "an array is NULL");
    const size_t size = static_cast<size_t>(layer->outputs * layer->inputs);
    dopt::each_group(*layer, gram, cross, nullptr, scales, [&](const dopt::Group& group, size_t i) {
      const size_t first = i * group.outputs;
      dopt::find_error(group, power + first, integers + i * size, bias == nullptr ? nullptr : bias + first,
                       error + first);
    });
    return DOPT_OK;
  });
}

}  // extern "C"
