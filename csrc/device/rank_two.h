#pragma once

// How the threads of a block update some rows of a symmetric H, all of which is stored, and
// multiply them by a vector. An element is computed by the same operations as its mirror image,
// and a sum has one order. So H stays symmetric to the last bit; and since each fma() is written
// out, and no other product is added to anything, a card gives the same bits as the host.

#include "device/table.h"
#include "host/rank_two.h"

#include <cmath>
#include <cstdint>

namespace minimize::device {

/// Rows of one block, for which v, s and w are read once.
constexpr int32_t kRows = 4;
/// Threads of one block; a power of two.
constexpr int32_t kRowThreads = 128;

/// What one launch does: out = H v, H being updated before or not.
struct RowTask {
  double* h;  // n rows of n, one after the other
  int64_t n;
  RankTwo change{};
  double scale = 1.0;  // 1 / tau
  const double* v;
  double* out = nullptr;
};

/// What s and w have at one index, or what it gets of the update for each unit of s_j and w_j.
struct Pair {
  double s;
  double w;
};

MINIMIZE_HD inline int64_t blocks_of(const RowTask& task) {
  return task.n / kRows + (task.n % kRows != 0);
}

/// How many rows a block has: all of kRows but for the last one.
MINIMIZE_HD inline int32_t rows_of(const RowTask& task, int64_t block) {
  const int64_t left = task.n - block * kRows;
  return left < kRows ? static_cast<int32_t>(left) : kRows;
}

MINIMIZE_HD inline Pair pair_at(const RankTwo& change, int64_t i) {
  return {change.s[i], change.w[i]};
}

MINIMIZE_HD inline Pair along(const RankTwo& change, Pair at) {
  return {std::fma(change.ss, at.s, change.sw * at.w), std::fma(change.sw, at.s, change.ww * at.w)};
}

/// The share of one thread in a block's rows: every kRowThreads-th column. What it sums goes to
/// sums[r * kRowThreads + thread].
template <bool kUpdate>
MINIMIZE_HD void pass_over_rows(const RowTask& task, int64_t block, int32_t thread, double* sums) {
  const int64_t first = block * kRows;
  const int32_t rows = rows_of(task, block);
  double sum[kRows] = {};
  // Past the last row the first one is read once more, so that nothing waits for a condition.
  int64_t row[kRows];
  Pair row_at[kRows], row_along[kRows];
  for (int32_t r = 0; r < kRows; ++r) {
    row[r] = first + (r < rows ? r : 0);
    if constexpr (kUpdate) {
      row_at[r] = pair_at(task.change, row[r]);
      row_along[r] = along(task.change, row_at[r]);
    }
  }
  for (int64_t j = thread; j < task.n; j += kRowThreads) {
    // All of them before the first is written.
    double h[kRows];
    for (int32_t r = 0; r < kRows; ++r) {
      h[r] = task.h[row[r] * task.n + j];
    }
    const double v = task.v[j];
    if constexpr (kUpdate) {
      const Pair column_at = pair_at(task.change, j);
      const Pair column_along = along(task.change, column_at);
      for (int32_t r = 0; r < kRows; ++r) {
        const bool above = j > row[r];
        const Pair a = above ? column_along : row_along[r];
        const Pair b = above ? row_at[r] : column_at;
        h[r] = std::fma(task.scale, h[r], std::fma(a.s, b.s, a.w * b.w));
        if (r < rows) {
          task.h[row[r] * task.n + j] = h[r];
        }
      }
    }
    for (int32_t r = 0; r < kRows; ++r) {
      sum[r] = std::fma(h[r], v, sum[r]);
    }
  }
  for (int32_t r = 0; r < kRows; ++r) {
    sums[r * kRowThreads + thread] = sum[r];
  }
}

/// One step of a block's sums, the threads of which need not wait for each other: for half =
/// kRowThreads / 2, / 4, ..., 1, once all threads are done with the step before.
MINIMIZE_HD inline void fold(double* sums, int32_t half, int32_t thread) {
  if (thread < half) {
    for (int32_t r = 0; r < kRows; ++r) {
      sums[r * kRowThreads + thread] += sums[r * kRowThreads + thread + half];
    }
  }
}

/// What the last step has left, by the thread that took it.
MINIMIZE_HD inline void store_sums(
    const RowTask& task, int64_t block, int32_t thread, const double* sums) {
  if (thread == 0) {
    for (int32_t r = 0; r < rows_of(task, block); ++r) {
      task.out[block * kRows + r] = sums[r * kRowThreads];
    }
  }
}

}  // namespace minimize::device
