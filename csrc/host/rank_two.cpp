#include "host/rank_two.h"

#include "host/lanes.h"
#include "host/memory.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace minimize {
namespace {

// Rows that go through one round of the loop together, so that what is read of the vectors for
// them is read once.
constexpr int64_t kRows = 4;
// How many rows a part has on average: results are summed part by part, so that they do not depend
// on the number of threads.
constexpr int64_t kPartRows = 128;
constexpr int64_t kMaxParts = 64;

struct Task {
  double* h;
  int64_t n;
  const RankTwo* change;
  const double* v;
};

/// What row i gets of the update for each unit of s_j and of w_j.
struct Along {
  double s;
  double w;
};

MINIMIZE_ALWAYS_INLINE Along along(const RankTwo& change, int64_t i) {
  return {
      change.ss * change.s[i] + change.sw * change.w[i],
      change.sw * change.s[i] + change.ww * change.w[i]};
}

/// Elements (i, j), begin <= j < end: updated, what they give out_i returned, and what they give
/// out_j, as elements (j, i), added there.
template <bool kUpdate>
MINIMIZE_ALWAYS_INLINE double row_part(
    const Task& task, int64_t i, int64_t begin, int64_t end, double* out) {
  double* row = task.h + i * task.n;
  double scale = 1.0;
  Along a{};
  if constexpr (kUpdate) {
    scale = 1.0 / task.change->tau;
    a = along(*task.change, i);
  }
  double sum = 0.0;
  for (int64_t j = begin; j < end; ++j) {
    if constexpr (kUpdate) {
      row[j] = scale * row[j] + (a.s * task.change->s[j] + a.w * task.change->w[j]);
    }
    sum += row[j] * task.v[j];
    out[j] += row[j] * task.v[i];
  }
  return sum;
}

/// kRows rows from row i on, left of column i, whole lanes; returns where it stopped.
template <bool kUpdate>
MINIMIZE_ALWAYS_INLINE int64_t row_block(const Task& task, int64_t i, double* out, double* sums) {
  double* rows[kRows];
  Lanes along_s[kRows], along_w[kRows], factor[kRows], sum[kRows];
  Lanes scale{};
  for (int64_t r = 0; r < kRows; ++r) {
    rows[r] = task.h + (i + r) * task.n;
    factor[r] = Lanes{} + task.v[i + r];
    sum[r] = Lanes{};
    if constexpr (kUpdate) {
      const Along a = along(*task.change, i + r);
      along_s[r] = Lanes{} + a.s;
      along_w[r] = Lanes{} + a.w;
    }
  }
  if constexpr (kUpdate) {
    scale = Lanes{} + 1.0 / task.change->tau;
  }
  const int64_t end = i - i % kLanes;
  for (int64_t j = 0; j < end; j += kLanes) {
    Lanes v, above, s, w;
    std::memcpy(&v, task.v + j, sizeof v);
    std::memcpy(&above, out + j, sizeof above);
    if constexpr (kUpdate) {
      std::memcpy(&s, task.change->s + j, sizeof s);
      std::memcpy(&w, task.change->w + j, sizeof w);
    }
    for (int64_t r = 0; r < kRows; ++r) {
      Lanes h;
      std::memcpy(&h, rows[r] + j, sizeof h);
      if constexpr (kUpdate) {
        h = scale * h + (along_s[r] * s + along_w[r] * w);
        std::memcpy(rows[r] + j, &h, sizeof h);
      }
      sum[r] += h * v;
      above += h * factor[r];
    }
    std::memcpy(out + j, &above, sizeof above);
  }
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t k = 0; k < kLanes; ++k) {
      sums[r] += sum[r][k];
    }
  }
  return end;
}

/// Rows begin to end: adds to out what they and the columns that mirror them give.
template <bool kUpdate>
MINIMIZE_ALWAYS_INLINE void some_rows(const Task& task, int64_t begin, int64_t end, double* out) {
  for (int64_t i = begin; i < end; i += kRows) {
    const int64_t rows = std::min(kRows, end - i);
    double sums[kRows] = {};
    const int64_t from = rows == kRows ? row_block<kUpdate>(task, i, out, sums) : 0;
    for (int64_t r = i; r < i + rows; ++r) {
      const double left = row_part<kUpdate>(task, r, from, r, out);
      double own = 0.0;
      double& diagonal = task.h[r * task.n + r];
      if constexpr (kUpdate) {
        const Along a = along(*task.change, r);
        diagonal =
            diagonal / task.change->tau + (a.s * task.change->s[r] + a.w * task.change->w[r]);
      }
      own = diagonal * task.v[r];
      out[r] += sums[r - i] + left + own;
    }
  }
}

using SomeRows = void (*)(const Task&, int64_t, int64_t, double*);

template <bool kUpdate>
void rows_of_any(const Task& task, int64_t begin, int64_t end, double* out) {
  some_rows<kUpdate>(task, begin, end, out);
}

#ifdef MINIMIZE_FMA
template <bool kUpdate>
MINIMIZE_FMA void rows_of_avx2(const Task& task, int64_t begin, int64_t end, double* out) {
  some_rows<kUpdate>(task, begin, end, out);
}
#endif

template <bool kUpdate>
SomeRows best_rows() {
#ifdef MINIMIZE_FMA
  if (has_fma()) {
    return rows_of_avx2<kUpdate>;
  }
#endif
  return rows_of_any<kUpdate>;
}

/// Where parts of about the same number of elements begin, in whole blocks of rows.
std::vector<int64_t> part_ends(int64_t n) {
  const int64_t parts = std::clamp<int64_t>(n / kPartRows, 1, kMaxParts);
  std::vector<int64_t> ends{0};
  for (int64_t p = 1; p < parts; ++p) {
    const double share = std::sqrt(static_cast<double>(p) / static_cast<double>(parts));
    ends.push_back(static_cast<int64_t>(share * static_cast<double>(n)) / kRows * kRows);
  }
  ends.push_back(n);
  return ends;
}

template <bool kUpdate>
void pass(const Task& task, double* out) {
  const SomeRows rows = best_rows<kUpdate>();
  const auto ends = part_ends(task.n);
  const auto parts = static_cast<int64_t>(ends.size()) - 1;
  const int64_t grain = task.n * task.n / 2 < kSerialReals ? parts : 1;
  // Part p adds to elements before its last row only.
  std::vector<std::vector<double>> results(parts);
  at::parallel_for(0, parts, grain, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      results[p].assign(ends[p + 1], 0.0);
      rows(task, ends[p], ends[p + 1], results[p].data());
    }
  });
  std::fill(out, out + task.n, 0.0);
  for (const auto& result : results) {
    for (size_t j = 0; j < result.size(); ++j) {
      out[j] += result[j];
    }
  }
}

}  // namespace

void symmetric_product(const double* h, int64_t n, const double* v, double* out) {
  // Not written to where nothing is updated.
  pass<false>({const_cast<double*>(h), n, nullptr, v}, out);
}

void rank_two_product(double* h, int64_t n, const RankTwo& change, const double* v, double* out) {
  pass<true>({h, n, &change, v}, out);
}

Curvature curvature(
    const double* product, const double* p, const double* g, const double* before, int64_t n,
    double* w) {
  Curvature sums{};
  for (int64_t i = 0; i < n; ++i) {
    const double y = g[i] - before[i];
    w[i] = product[i] + p[i];
    sums.py += p[i] * y;
    sums.yw += y * w[i];
    sums.yy += y * y;
    sums.gw += g[i] * w[i];
  }
  return sums;
}

}  // namespace minimize
