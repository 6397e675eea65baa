#include "host/vector_ops.h"

#include "host/lanes.h"
#include "host/memory.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

namespace minimize {
namespace {

// Several accumulators, as the order of a floating-point sum is ours to choose but not the
// compiler's, and each addition waits for the one before it.
constexpr int64_t kSums = 4;
constexpr int64_t kStep = kSums * kLanes;
// Partial results are per chunk and not per thread, so that sums do not depend
// on the number of threads.
constexpr int64_t kChunk = 1 << 14;

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

MINIMIZE_ALWAYS_INLINE void load(Lanes& to, const double* from) {
  std::memcpy(&to, from, sizeof to);
}

/// The sum of (a_i - b_i)^2 for i < n.
MINIMIZE_ALWAYS_INLINE double squares_of(const double* a, const double* b, int64_t n) {
  Lanes sums[kSums] = {};
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    for (int64_t k = 0; k < kSums; ++k) {
      Lanes at_a, at_b;
      load(at_a, a + i + k * kLanes);
      load(at_b, b + i + k * kLanes);
      const Lanes step = at_a - at_b;
      sums[k] += step * step;
    }
  }
  double rest = 0.0;
  for (; i < n; ++i) {
    const double step = a[i] - b[i];
    rest += step * step;
  }
  const Lanes sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  return rest + ((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

MINIMIZE_ALWAYS_INLINE double largest_of(const double* v, int64_t n) {
  Lanes highs[kSums] = {};
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    for (int64_t k = 0; k < kSums; ++k) {
      Lanes values;
      load(values, v + i + k * kLanes);
      const Lanes sizes = values < 0.0 ? -values : values;
      highs[k] = sizes > highs[k] ? sizes : highs[k];
    }
  }
  double high = 0.0;
  for (; i < n; ++i) {
    high = std::max(high, std::abs(v[i]));
  }
  for (const Lanes& lanes : highs) {
    for (int64_t k = 0; k < kLanes; ++k) {
      high = std::max(high, lanes[k]);
    }
  }
  return high;
}

#ifdef MINIMIZE_WIDE
MINIMIZE_WIDE double squares_wide(const double* a, const double* b, int64_t n) {
  return squares_of(a, b, n);
}
MINIMIZE_WIDE double largest_wide(const double* v, int64_t n) {
  return largest_of(v, n);
}
#endif

double squares(const double* a, const double* b, int64_t n) {
#ifdef MINIMIZE_WIDE
  if (has_wide()) {
    return squares_wide(a, b, n);
  }
#endif
  return squares_of(a, b, n);
}

double largest_in(const double* v, int64_t n) {
#ifdef MINIMIZE_WIDE
  if (has_wide()) {
    return largest_wide(v, n);
  }
#endif
  return largest_of(v, n);
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
  for (const double part : for_each_chunk(n, [&](int64_t begin, int64_t end) {
         return squares(a + begin, b + begin, end - begin);
       })) {
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
         return squares(x + begin, before + begin, end - begin);
       })) {
    sum += part;
  }
  return {same.load(), std::sqrt(sum)};
}

double largest(const double* v, int64_t n) {
  const auto parts = for_each_chunk(
      n, [&](int64_t begin, int64_t end) { return largest_in(v + begin, end - begin); });
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
