#include "host/vector_ops.h"

#include "flat/flat_pass.h"
#include "python/arrays.h"

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace minimize {
namespace {

// Several accumulators, as the order of a floating-point sum is ours to choose
// but not the compiler's; it is what lets the loops be vectorised.
constexpr int64_t kLanes = 8;
// Partial results are per chunk and not per thread, so that sums do not depend
// on the number of threads.
constexpr int64_t kChunk = 1 << 14;

using Lanes = std::array<double, kLanes>;

/// One partial result for each chunk of [0, n).
template <class Part>
std::vector<double> for_each_chunk(int64_t n, const Part& part) {
  std::vector<double> parts((n + kChunk - 1) / kChunk);
  const auto count = static_cast<int64_t>(parts.size());
  const int64_t grain = std::max<int64_t>(1, kSerialReals / kChunk);
  at::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      parts[c] = part(c * kChunk, std::min(n, (c + 1) * kChunk));
    }
  });
  return parts;
}

double squares_chunk(const double* a, const double* b, int64_t begin, int64_t end) {
  Lanes sums{};
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) {
    for (int64_t k = 0; k < kLanes; ++k) {
      const double step = a[i + k] - b[i + k];
      sums[k] += step * step;
    }
  }
  double rest = 0.0;
  for (; i < end; ++i) {
    const double step = a[i] - b[i];
    rest += step * step;
  }
  for (const double sum : sums) {
    rest += sum;
  }
  return rest;
}

double largest_chunk(const double* v, int64_t begin, int64_t end) {
  Lanes highs{};
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) {
    for (int64_t k = 0; k < kLanes; ++k) {
      highs[k] = std::max(highs[k], std::abs(v[i + k]));
    }
  }
  double high = *std::max_element(highs.begin(), highs.end());
  for (; i < end; ++i) {
    high = std::max(high, std::abs(v[i]));
  }
  return high;
}

}  // namespace

double distance(py::handle a, py::handle b) {
  TORCH_CHECK_TYPE(py::isinstance<py::array>(a), "expected a float64 vector.");
  const auto size = py::reinterpret_borrow<py::array>(a).size();
  const FlatInput left(a, size);
  const FlatInput right(b, size);
  double sum = 0.0;
  for (const double part : for_each_chunk(size, [&](int64_t begin, int64_t end) {
         return squares_chunk(left.data(), right.data(), begin, end);
       })) {
    sum += part;
  }
  return std::sqrt(sum);
}

double largest(py::handle v) {
  TORCH_CHECK_TYPE(py::isinstance<py::array>(v), "expected a float64 vector.");
  const auto size = py::reinterpret_borrow<py::array>(v).size();
  const FlatInput input(v, size);
  const auto parts = for_each_chunk(
      size, [&](int64_t begin, int64_t end) { return largest_chunk(input.data(), begin, end); });
  return parts.empty() ? 0.0 : *std::max_element(parts.begin(), parts.end());
}

}  // namespace minimize
