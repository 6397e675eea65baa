#include "host/vector_ops.h"

#include "host/memory.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
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

bool same_values(const double* a, const double* b, int64_t n) {
  constexpr int64_t step = 4096;
  if (a == b) {
    return true;
  }
  // Points that differ mostly do so at once: no threads are woken for them.
  if (std::memcmp(a, b, std::min(step, n) * sizeof(double)) != 0) {
    return false;
  }
  std::atomic<bool> same{true};
  at::parallel_for(0, n, kSerialReals, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end && same.load(std::memory_order_relaxed); at += step) {
      const size_t bytes = std::min(step, end - at) * sizeof(double);
      if (std::memcmp(a + at, b + at, bytes) != 0) {
        same.store(false, std::memory_order_relaxed);
      }
    }
  });
  return same.load();
}

double distance(const double* a, const double* b, int64_t n) {
  double sum = 0.0;
  for (const double part : for_each_chunk(
           n, [&](int64_t begin, int64_t end) { return squares_chunk(a, b, begin, end); })) {
    sum += part;
  }
  return std::sqrt(sum);
}

std::pair<bool, double> compare_and_measure(
    const double* x, const double* known, const double* before, int64_t n) {
  std::atomic<bool> same{true};
  double sum = 0.0;
  for (const double part : for_each_chunk(n, [&](int64_t begin, int64_t end) {
         // While the chunk of x is in the cache.
         const auto bytes = static_cast<size_t>(end - begin) * sizeof(double);
         if (x != known && std::memcmp(x + begin, known + begin, bytes) != 0) {
           same.store(false, std::memory_order_relaxed);
         }
         return squares_chunk(x, before, begin, end);
       })) {
    sum += part;
  }
  return {same.load(), std::sqrt(sum)};
}

double largest(const double* v, int64_t n) {
  const auto parts =
      for_each_chunk(n, [&](int64_t begin, int64_t end) { return largest_chunk(v, begin, end); });
  return parts.empty() ? 0.0 : *std::max_element(parts.begin(), parts.end());
}

void combined(
    const std::vector<double>& c, const std::vector<const double*>& v, int64_t n, double* out) {
  for_each_chunk(n, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      out[i] = c[0] * v[0][i];
    }
    for (size_t k = 1; k < c.size(); ++k) {
      for (int64_t i = begin; i < end; ++i) {
        out[i] += c[k] * v[k][i];
      }
    }
    return 0.0;
  });
}

}  // namespace minimize
