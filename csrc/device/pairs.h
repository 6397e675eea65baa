#pragma once

// How the threads of a block sum some rows of the pairs of limited memory over a chunk of columns,
// how one block adds up what the chunks gave, and how a thread makes some columns of a direction.
// A sum has one order, and each fma() is written out, so that a card gives the same bits as the
// host.

#include "device/table.h"
#include "host/pairs.h"

#include <cmath>
#include <cstdint>

namespace minimize::device {

/// Threads of one block; a power of two.
constexpr int32_t kPairThreads = 128;
/// Rows that a block sums, for which what is read of the vectors is read once.
constexpr int32_t kPairRows = 8;
/// Columns of a chunk.
constexpr int64_t kPairColumns = 4096;
/// Sums of a thread: of kPairRows rows with g and with y; the five scalars are fewer.
constexpr int32_t kPairSums = 2 * kPairRows;

struct PairTask {
  Pairs pairs;
  PairChange change{};
  double* direction;        // read by sums, written by turns
  double* parts = nullptr;  // of sums: length_of() for each chunk
  double* out = nullptr;    // of sums: length_of()
};

MINIMIZE_HD inline int64_t length_of(const PairTask& task) {
  return 2 * task.pairs.used + kPairScalars;
}

MINIMIZE_HD inline int64_t chunks_of(const PairTask& task) {
  return (task.pairs.n + kPairColumns - 1) / kPairColumns;
}

/// How many blocks share a chunk: one for each kPairRows rows, and the last for the scalars.
MINIMIZE_HD inline int64_t groups_of(const PairTask& task) {
  return (task.pairs.used + kPairRows - 1) / kPairRows + 1;
}

MINIMIZE_HD inline double at_row(const Pairs& pairs, int64_t row, int64_t column) {
  const int64_t at = row * pairs.n + column;
  return pairs.single ? static_cast<double>(static_cast<const float*>(pairs.rows)[at])
                      : static_cast<const double*>(pairs.rows)[at];
}

MINIMIZE_HD inline double larger(double a, double b) {
  return a > b ? a : b;
}

/// The share of one thread in the five scalars of a chunk.
MINIMIZE_HD inline void scalars_of_chunk(
    const PairTask& task, int64_t begin, int64_t end, int32_t thread, double* sum) {
  for (int64_t j = begin + thread; j < end; j += kPairThreads) {
    const double g = task.pairs.gradient[j];
    const double y = g - task.pairs.before[j];
    sum[0] = std::fma(g, task.direction[j], sum[0]);
    sum[1] = std::fma(g, g, sum[1]);
    sum[2] = std::fma(y, y, sum[2]);
    sum[3] = std::fma(y, g, sum[3]);
    sum[4] = larger(sum[4], std::fabs(g));
  }
}

/// The share of one thread in a block's sums: every kPairThreads-th column of the chunk. They go
/// to sums[k * kPairThreads + thread].
MINIMIZE_HD inline void pass_over_pairs(
    const PairTask& task, int64_t chunk, int64_t group, int32_t thread, double* sums) {
  const int64_t begin = chunk * kPairColumns;
  const int64_t end = begin + kPairColumns < task.pairs.n ? begin + kPairColumns : task.pairs.n;
  double sum[kPairSums] = {};
  if (group + 1 == groups_of(task)) {
    scalars_of_chunk(task, begin, end, thread, sum);
  } else {
    const int64_t first = group * kPairRows;
    for (int64_t j = begin + thread; j < end; j += kPairThreads) {
      const double g = task.pairs.gradient[j];
      const double y = g - task.pairs.before[j];
      for (int32_t r = 0; r < kPairRows; ++r) {
        // Past the last row the first one is read once more, so that nothing waits.
        const int64_t row = first + r < task.pairs.used ? first + r : first;
        const double w = at_row(task.pairs, row, j);
        sum[2 * r] = std::fma(w, g, sum[2 * r]);
        sum[2 * r + 1] = std::fma(w, y, sum[2 * r + 1]);
      }
    }
  }
  for (int32_t k = 0; k < kPairSums; ++k) {
    sums[k * kPairThreads + thread] = sum[k];
  }
}

/// One step of a block's sums; see fold() of device/rank_two.h. Of the last scalar the larger.
MINIMIZE_HD inline void fold_pairs(double* sums, bool scalars, int32_t half, int32_t thread) {
  if (thread < half) {
    for (int32_t k = 0; k < kPairSums; ++k) {
      double& sum = sums[k * kPairThreads + thread];
      const double other = sums[k * kPairThreads + thread + half];
      sum = scalars && k == 4 ? larger(sum, other) : sum + other;
    }
  }
}

/// What the last step has left goes to the chunk's part, in the order of the result.
MINIMIZE_HD inline void store_pairs(
    const PairTask& task, int64_t chunk, int64_t group, int32_t thread, const double* sums) {
  double* const part = task.parts + chunk * length_of(task);
  const int64_t used = task.pairs.used;
  if (group + 1 == groups_of(task)) {
    if (thread < kPairScalars) {
      part[2 * used + thread] = sums[thread * kPairThreads];
    }
  } else if (thread < kPairSums) {
    const int64_t row = group * kPairRows + thread / 2;
    if (row < used) {
      part[(thread % 2) * used + row] = sums[thread * kPairThreads];
    }
  }
}

/// The share of one thread in the k-th sum over all chunks, to sums[thread].
MINIMIZE_HD inline void gather_parts(
    const PairTask& task, int64_t k, int32_t thread, double* sums) {
  const int64_t length = length_of(task);
  const bool is_last = k + 1 == length;
  double sum = 0.0;
  for (int64_t c = thread; c < chunks_of(task); c += kPairThreads) {
    const double part = task.parts[c * length + k];
    sum = is_last ? larger(sum, part) : sum + part;
  }
  sums[thread] = sum;
}

MINIMIZE_HD inline void fold_parts(
    const PairTask& task, int64_t k, double* sums, int32_t half, int32_t thread) {
  if (thread < half) {
    const double other = sums[thread + half];
    sums[thread] = k + 1 == length_of(task) ? larger(sums[thread], other) : sums[thread] + other;
  }
}

/// The pair, if there is one, and the direction in one column.
MINIMIZE_HD inline void turn_column(const PairTask& task, int64_t j) {
  const Pairs& pairs = task.pairs;
  const PairChange& change = task.change;
  const double g = pairs.gradient[j];
  if (change.slot >= 0) {
    const int64_t s = 2 * change.slot * pairs.n + j;
    const double step = change.step * task.direction[j];
    const double y = g - pairs.before[j];
    if (pairs.single) {
      static_cast<float*>(pairs.rows)[s] = static_cast<float>(step);
      static_cast<float*>(pairs.rows)[s + pairs.n] = static_cast<float>(y);
    } else {
      static_cast<double*>(pairs.rows)[s] = step;
      static_cast<double*>(pairs.rows)[s + pairs.n] = y;
    }
  }
  double sum = change.gamma * g;
  for (int64_t r = 0; r < pairs.used; ++r) {
    sum = std::fma(change.weights[r], at_row(pairs, r, j), sum);
  }
  task.direction[j] = -sum;
}

}  // namespace minimize::device
