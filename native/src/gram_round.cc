// Integers of rows of weights by error feedback; see dopt.h for the method.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "dopt.h"
#include "kernels.h"
#include "matrix.h"
#include "rows.h"
#include "status.h"

namespace dopt {
namespace {

constexpr size_t kLeafInputs = 8;  // rounded one after the other; larger ranges are halved

// Rows that are rounded together: factors[run] is the Cholesky factor of the run's form, [length, length]. None: length is 1.
struct Runs {
  size_t length;
  std::vector<Matrix> factors;
};

// What rounding of a chunk of rows works on: columns are its rows, so that loops run over them.
struct Chunk {
  const Rows& rows;
  const Runs& runs;
  const int64_t* order;
  const Square& factor;      // its lower triangle is read
  const Matrix& target;       // [inputs in order, rows]
  const Matrix& scales;       // [groups, rows]
  Matrix &errors, &owed;      // target minus what was taken; sum over rounded j of factor[j][k] * errors[j]
  Matrix& integers;           // as doubles
  size_t count;

  void round_one(size_t k) {
    const double* const scale = scales[static_cast<size_t>(order[k]) / rows.span];
    if (!runs.factors.empty()) return round_runs(k, scale);
    kernels().round_feedback(target[k], owed[k], factor[k][k], scale, count, rows.qmin, rows.qmax, integers[k],
                             errors[k]);
  }

  // Of each run the last row first: those before it make up for what it is off.
  void round_runs(size_t k, const double* scale) {
    std::vector<double> due(runs.length);
    for (size_t run = 0; run < runs.factors.size(); ++run) {
      const Matrix& own = runs.factors[run];
      std::fill(due.begin(), due.end(), 0.0);
      for (size_t i = runs.length; i-- > 0;) {
        const size_t row = run * runs.length + i;
        const double aim = target[k][row] + owed[k][row] / factor[k][k];
        const double q = rows.nearest(aim + due[i] / own[i][i], scale[row]);
        integers[k][row] = q;
        errors[k][row] = target[k][row] - q * scale[row];
        kernels().subtract_scaled(due.data(), own[i], q * scale[row] - aim, i);
      }
    }
  }

  // Inputs [first, last), last to first, with what those behind `last` owe already in `owed`.
  void round_range(size_t first, size_t last) {
    if (last - first <= kLeafInputs) {
      for (size_t k = last; k-- > first;) {
        for (size_t j = k + 1; j < last; ++j) {
          kernels().subtract_scaled(owed[k], errors[j], -factor[j][k], count);
        }
        round_one(k);
      }
      return;
    }
    const size_t middle = first + (last - first) / 2 / kLeafInputs * kLeafInputs;
    const size_t cut = middle > first ? middle : first + kLeafInputs;
    round_range(cut, last);
    const Matrix& known = errors;
    add_product(factor.at(cut, first), corner(known, cut), last - cut, cut - first, count, 1.0,
                corner(owed, first));
    round_range(first, cut);
  }
};

// The runs of rows [first, last), of the factors of all rows; runs of one where there are none.
Runs runs_of(const double* factors, size_t length, size_t first, size_t last) {
  Runs runs{length, {}};
  if (factors == nullptr) return runs;
  for (size_t run = first / length; run < last / length; ++run) {
    Matrix& own = runs.factors.emplace_back(length, length);
    for (size_t i = 0; i < length; ++i) std::copy_n(factors + (run * length + i) * length, length, own[i]);
  }
  return runs;
}

void round_rows(const Rows& rows, const int64_t* order, const Square& factor, const double* target,
                const float* scales, const double* run_factors, size_t length, int8_t* integers) {
  each_chunk(rows, length, [&](size_t first, size_t last) {
    const size_t n = rows.inputs, count = last - first;
    Matrix v(n, count), s(rows.groups, count), errors(n, count), owed(n, count), taken(n, count);
    for (size_t o = 0; o < count; ++o) {
      for (size_t k = 0; k < n; ++k) v[k][o] = target[(first + o) * n + static_cast<size_t>(order[k])];
      for (size_t g = 0; g < rows.groups; ++g) s[g][o] = static_cast<double>(scales[(first + o) * rows.groups + g]);
    }
    const Runs runs = runs_of(run_factors, length, first, last);
    Chunk chunk{rows, runs, order, factor, v, s, errors, owed, taken, count};
    chunk.round_range(0, n);
    for (size_t o = 0; o < count; ++o) {
      int8_t* const row = integers + (first + o) * n;
      for (size_t k = 0; k < n; ++k) row[order[k]] = static_cast<int8_t>(taken[k][o]);
    }
  });
}

}  // namespace
}  // namespace dopt

extern "C" {

dopt_status dopt_gram_round(const dopt_layer* layer, const int64_t* order, const double* factor, const double* target,
                            const float* scales, const double* run_factors, int64_t run, int8_t* integers) {
  return dopt::guarded([&]() -> dopt_status {
    if (const dopt_status bad = dopt::check_rows(layer)) return bad;
    DOPT_REQUIRE(order != nullptr && factor != nullptr && target != nullptr && scales != nullptr && integers != nullptr,
                 "an array is NULL");
    DOPT_REQUIRE(run >= 1 && layer->outputs % run == 0, "runs of %lld rows do not divide %lld", static_cast<long long>(run),
                 static_cast<long long>(layer->outputs));
    const dopt::Rows rows(*layer);
    std::vector<char> seen(rows.inputs, 0);
    for (size_t k = 0; k < rows.inputs; ++k) {
      DOPT_REQUIRE(order[k] >= 0 && order[k] < layer->inputs && seen[static_cast<size_t>(order[k])] == 0,
                   "order is no order of %zu inputs", rows.inputs);
      seen[static_cast<size_t>(order[k])] = 1;
    }
    const size_t length = run_factors == nullptr ? 1 : static_cast<size_t>(run);
    dopt::round_rows(rows, order, dopt::Square(rows.inputs, factor), target, scales, run_factors, length, integers);
    return DOPT_OK;
  });
}

}  // extern "C"
