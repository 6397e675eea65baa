#include "host/pairs.h"

#include "host/lanes.h"
#include "host/memory.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace minimize {
namespace {

// Rows that go through one round of a loop together: as many streams as are fetched ahead at a
// time.
constexpr int64_t kRows = 4;
// Columns that stay in a cache while all rows go through them; long, for the sake of the streams.
constexpr int64_t kBlock = 1 << 11;
// Sums are chunk by chunk, so that they do not depend on the number of threads.
constexpr int64_t kChunk = 1 << 13;

using Singles = float __attribute__((vector_size(kLanes * sizeof(float))));

MINIMIZE_ALWAYS_INLINE void load(Lanes& to, const double* from) {
  std::memcpy(&to, from, sizeof to);
}

MINIMIZE_ALWAYS_INLINE void load(Lanes& to, const float* from) {
  Singles singles;
  std::memcpy(&singles, from, sizeof singles);
  to = __builtin_convertvector(singles, Lanes);
}

MINIMIZE_ALWAYS_INLINE double total(const Lanes& lanes) {
  return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
}

/// Adds row'g and row'y of some columns to sums[r] and sums[r + apart], for kRows rows at a time.
template <int kRows, class T>
MINIMIZE_ALWAYS_INLINE void row_sums(
    const T* rows, int64_t stride, const double* g, const double* y, int64_t count, double* sums,
    int64_t apart) {
  Lanes with_g[kRows] = {}, with_y[kRows] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Lanes at_g, at_y;
    load(at_g, g + i);
    load(at_y, y + i);
    for (int64_t r = 0; r < kRows; ++r) {
      Lanes w;
      load(w, rows + r * stride + i);
      with_g[r] += w * at_g;
      with_y[r] += w * at_y;
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    double rest_g = 0.0, rest_y = 0.0;
    for (int64_t k = i; k < count; ++k) {
      rest_g += static_cast<double>(rows[r * stride + k]) * g[k];
      rest_y += static_cast<double>(rows[r * stride + k]) * y[k];
    }
    sums[r] += total(with_g[r]) + rest_g;
    sums[r + apart] += total(with_y[r]) + rest_y;
  }
}

/// y of some columns, and what they add to the five scalars.
MINIMIZE_ALWAYS_INLINE void scalars(
    const double* g, const double* before, const double* d, int64_t count, double* y,
    double* sums) {
  Lanes gd{}, gg{}, yy{}, yg{}, high{};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Lanes at_g, at_before, at_d;
    load(at_g, g + i);
    load(at_before, before + i);
    load(at_d, d + i);
    const Lanes at_y = at_g - at_before;
    std::memcpy(y + i, &at_y, sizeof at_y);
    gd += at_g * at_d;
    gg += at_g * at_g;
    yy += at_y * at_y;
    yg += at_y * at_g;
    const Lanes size = at_g < 0.0 ? -at_g : at_g;
    high = size > high ? size : high;
  }
  double rest[4] = {};
  for (int64_t k = 0; k < kLanes; ++k) {
    sums[4] = std::max(sums[4], high[k]);
  }
  for (; i < count; ++i) {
    y[i] = g[i] - before[i];
    rest[0] += g[i] * d[i];
    rest[1] += g[i] * g[i];
    rest[2] += y[i] * y[i];
    rest[3] += y[i] * g[i];
    sums[4] = std::max(sums[4], std::abs(g[i]));
  }
  sums[0] += total(gd) + rest[0];
  sums[1] += total(gg) + rest[1];
  sums[2] += total(yy) + rest[2];
  sums[3] += total(yg) + rest[3];
}

/// What columns begin to end add to all sums.
template <class T>
MINIMIZE_ALWAYS_INLINE void sums_of(
    const Pairs& pairs, const double* d, int64_t begin, int64_t end, double* sums) {
  const auto* const rows = static_cast<const T*>(pairs.rows);
  double y[kBlock];
  for (int64_t at = begin; at < end; at += kBlock) {
    const int64_t count = std::min(kBlock, end - at);
    const double* const g = pairs.gradient + at;
    scalars(g, pairs.before + at, d + at, count, y, sums + 2 * pairs.used);
    int64_t r = 0;
    for (; r + kRows <= pairs.used; r += kRows) {
      row_sums<kRows>(rows + r * pairs.n + at, pairs.n, g, y, count, sums + r, pairs.used);
    }
    for (; r < pairs.used; ++r) {
      row_sums<1>(rows + r * pairs.n + at, pairs.n, g, y, count, sums + r, pairs.used);
    }
  }
}

/// out += c row, for kRows rows at a time.
template <int kRows, class T>
MINIMIZE_ALWAYS_INLINE void add_rows(
    const T* rows, int64_t stride, const double* c, int64_t count, double* out) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Lanes sum;
    load(sum, out + i);
    for (int64_t r = 0; r < kRows; ++r) {
      Lanes w;
      load(w, rows + r * stride + i);
      sum += c[r] * w;
    }
    std::memcpy(out + i, &sum, sizeof sum);
  }
  for (; i < count; ++i) {
    for (int64_t r = 0; r < kRows; ++r) {
      out[i] += c[r] * static_cast<double>(rows[r * stride + i]);
    }
  }
}

/// The pair, if there is one, and the direction in columns begin to end; returns g'd of them.
template <class T>
MINIMIZE_ALWAYS_INLINE double turn_of(
    const Pairs& pairs, const PairChange& change, double* d, int64_t begin, int64_t end) {
  auto* const rows = static_cast<T*>(pairs.rows);
  double out[kBlock];
  double slope = 0.0;
  for (int64_t at = begin; at < end; at += kBlock) {
    const int64_t count = std::min(kBlock, end - at);
    const double* const g = pairs.gradient + at;
    if (change.slot >= 0) {
      T* const s = rows + 2 * change.slot * pairs.n + at;
      T* const y = s + pairs.n;
      for (int64_t i = 0; i < count; ++i) {
        s[i] = static_cast<T>(change.step * d[at + i]);
        y[i] = static_cast<T>(g[i] - pairs.before[at + i]);
      }
    }
    for (int64_t i = 0; i < count; ++i) {
      out[i] = change.gamma * g[i];
    }
    int64_t r = 0;
    for (; r + kRows <= pairs.used; r += kRows) {
      add_rows<kRows>(rows + r * pairs.n + at, pairs.n, change.weights + r, count, out);
    }
    for (; r < pairs.used; ++r) {
      add_rows<1>(rows + r * pairs.n + at, pairs.n, change.weights + r, count, out);
    }
    Lanes sum{};
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      Lanes at_out, at_g;
      load(at_out, out + i);
      load(at_g, g + i);
      at_out = -at_out;
      std::memcpy(d + at + i, &at_out, sizeof at_out);
      sum += at_g * at_out;
    }
    double rest = 0.0;
    for (; i < count; ++i) {
      d[at + i] = -out[i];
      rest += g[i] * d[at + i];
    }
    slope += total(sum) + rest;
  }
  return slope;
}

using SumsOf = void (*)(const Pairs&, const double*, int64_t, int64_t, double*);
using TurnOf = double (*)(const Pairs&, const PairChange&, double*, int64_t, int64_t);

template <class T>
void sums_of_any(const Pairs& pairs, const double* d, int64_t begin, int64_t end, double* sums) {
  sums_of<T>(pairs, d, begin, end, sums);
}

template <class T>
double turn_of_any(
    const Pairs& pairs, const PairChange& change, double* d, int64_t begin, int64_t end) {
  return turn_of<T>(pairs, change, d, begin, end);
}

#ifdef MINIMIZE_FMA
template <class T>
MINIMIZE_FMA void sums_of_avx2(
    const Pairs& pairs, const double* d, int64_t begin, int64_t end, double* sums) {
  sums_of<T>(pairs, d, begin, end, sums);
}

template <class T>
MINIMIZE_FMA double turn_of_avx2(
    const Pairs& pairs, const PairChange& change, double* d, int64_t begin, int64_t end) {
  return turn_of<T>(pairs, change, d, begin, end);
}
#endif

SumsOf best_sums(bool single) {
#ifdef MINIMIZE_FMA
  if (has_fma()) {
    return single ? sums_of_avx2<float> : sums_of_avx2<double>;
  }
#endif
  return single ? sums_of_any<float> : sums_of_any<double>;
}

TurnOf best_turn(bool single) {
#ifdef MINIMIZE_FMA
  if (has_fma()) {
    return single ? turn_of_avx2<float> : turn_of_avx2<double>;
  }
#endif
  return single ? turn_of_any<float> : turn_of_any<double>;
}

/// Calls part(c, begin, end) for each chunk of columns, in parallel where that is worth it.
template <class Part>
void for_each_chunk(const Pairs& pairs, const Part& part) {
  const int64_t chunks = (pairs.n + kChunk - 1) / kChunk;
  const bool is_small = pairs.n * (pairs.used + 3) < kSerialReals;
  at::parallel_for(0, chunks, is_small ? std::max<int64_t>(1, chunks) : 1, [&](auto from, auto to) {
    for (int64_t c = from; c < to; ++c) {
      part(c, c * kChunk, std::min(pairs.n, (c + 1) * kChunk));
    }
  });
}

}  // namespace

void pair_sums(const Pairs& pairs, const double* direction, double* out) {
  const int64_t length = 2 * pairs.used + kPairScalars;
  const SumsOf sums = best_sums(pairs.single);
  std::vector<double> parts(length * ((pairs.n + kChunk - 1) / kChunk), 0.0);
  for_each_chunk(pairs, [&](int64_t c, int64_t begin, int64_t end) {
    sums(pairs, direction, begin, end, parts.data() + c * length);
  });
  std::fill(out, out + length, 0.0);
  for (size_t at = 0; at < parts.size(); at += length) {
    for (int64_t k = 0; k < length - 1; ++k) {
      out[k] += parts[at + k];
    }
    out[length - 1] = std::max(out[length - 1], parts[at + length - 1]);
  }
}

double pair_turn(const Pairs& pairs, const PairChange& change, double* direction) {
  const TurnOf turn = best_turn(pairs.single);
  std::vector<double> parts((pairs.n + kChunk - 1) / kChunk);
  for_each_chunk(pairs, [&](int64_t c, int64_t begin, int64_t end) {
    parts[c] = turn(pairs, change, direction, begin, end);
  });
  double slope = 0.0;
  for (const double part : parts) {
    slope += part;
  }
  return slope;
}

}  // namespace minimize
