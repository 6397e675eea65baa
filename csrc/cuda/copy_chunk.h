#pragma once

// How the threads of a block copy one chunk. `Types` says what a half and a bfloat16
// are, and converts: Types::Half, Types::BFloat16, Types::to_double(T) and
// Types::from_double<T>(double).

#include "table.h"

#include <cstdint>

namespace minimize::device {

/// A thread among those that share a chunk.
struct Lane {
  int32_t index;
  int32_t count;
};

/// Two neighbours, moved by one access.
template <class T>
struct alignas(2 * sizeof(T)) Pair {
  T first;
  T second;
};

template <class T>
MINIMIZE_HD bool is_aligned_pair(const T* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % sizeof(Pair<T>) == 0;
}

template <class T>
MINIMIZE_HD Pair<T> load_pair(const T* pointer, bool aligned) {
  if (aligned) {
    return *reinterpret_cast<const Pair<T>*>(pointer);
  }
  return {pointer[0], pointer[1]};
}

template <class T>
MINIMIZE_HD void store_pair(T* pointer, const Pair<T>& pair, bool aligned) {
  if (aligned) {
    *reinterpret_cast<Pair<T>*>(pointer) = pair;
  } else {
    pointer[0] = pair.first;
    pointer[1] = pair.second;
  }
}

MINIMIZE_HD inline bool is_finite(double value) {
  return value - value == 0.0;
}

MINIMIZE_HD inline double with_sign(const Piece& piece, int64_t k, double value) {
  return (k % 2 == 0 ? piece.even_negated : piece.odd_negated) ? -value : value;
}

/// Splits [0, n) so that pairs of float64 at `flat` are aligned: pair(i) for i and i + 1,
/// one(i) for the reals left over at either end.
template <class One, class PairOf>
MINIMIZE_HD void for_each_pair(const double* flat, int32_t n, Lane lane, One one, PairOf pair) {
  const int32_t head = is_aligned_pair(flat) ? 0 : 1;
  const int32_t pairs = (n - head) / 2;
#ifdef __CUDACC__
#pragma unroll 4
#endif
  for (int32_t p = lane.index; p < pairs; p += lane.count) {
    pair(head + 2 * p);
  }
  if (lane.index == 0) {
    if (head == 1) {
      one(0);
    }
    if (head + 2 * pairs < n) {
      one(n - 1);
    }
  }
}

/// Memory in flat order -> flat[0, n); whether all that this thread saw is finite.
template <class Types, class T>
MINIMIZE_HD bool gather_run(
    const T* __restrict__ src, int32_t n, double* __restrict__ flat, Lane lane) {
  const bool aligned = is_aligned_pair(is_aligned_pair(flat) ? src : src + 1);
  bool finite = true;
  for_each_pair(
      flat, n, lane,
      [&](int32_t i) {
        flat[i] = Types::to_double(src[i]);
        finite = finite && is_finite(flat[i]);
      },
      [&](int32_t i) {
        const Pair<T> in = load_pair(src + i, aligned);
        const Pair<double> out{Types::to_double(in.first), Types::to_double(in.second)};
        store_pair(flat + i, out, true);
        finite = finite && is_finite(out.first) && is_finite(out.second);
      });
  return finite;
}

/// flat[0, n) -> memory in flat order.
template <class Types, class T>
MINIMIZE_HD void scatter_run(
    const double* __restrict__ flat, int32_t n, T* __restrict__ dst, Lane lane) {
  const bool aligned = is_aligned_pair(is_aligned_pair(flat) ? dst : dst + 1);
  for_each_pair(
      flat, n, lane, [&](int32_t i) { dst[i] = Types::template from_double<T>(flat[i]); },
      [&](int32_t i) {
        const Pair<double> in = load_pair(flat + i, true);
        const Pair<T> out{
            Types::template from_double<T>(in.first), Types::template from_double<T>(in.second)};
        store_pair(dst + i, out, aligned);
      });
}

template <class Types, class T>
MINIMIZE_HD bool gather_chunk_of(
    const Table& table, const Piece& piece, const Chunk& chunk, double* flat, Lane lane) {
  const T* const src = static_cast<const T*>(piece.data);
  if (piece.rank == 0) {
    return gather_run<Types>(src + chunk.from, chunk.reals, flat, lane);
  }
  const Dim* const dims = table.dims + piece.first_dim;
  bool finite = true;
  for (int32_t i = lane.index; i < chunk.reals; i += lane.count) {
    const int64_t k = chunk.from + i;
    const double value = Types::to_double(src[offset_of(dims, piece, k)]);
    flat[i] = with_sign(piece, k, value);
    finite = finite && is_finite(value);
  }
  return finite;
}

template <class Types, class T>
MINIMIZE_HD void scatter_chunk_of(
    const Table& table, const Piece& piece, const Chunk& chunk, const double* flat, Lane lane) {
  T* const dst = static_cast<T*>(piece.data);
  if (piece.rank == 0) {
    scatter_run<Types>(flat, chunk.reals, dst + chunk.from, lane);
    return;
  }
  const Dim* const dims = table.dims + piece.first_dim;
  for (int32_t i = lane.index; i < chunk.reals; i += lane.count) {
    const int64_t k = chunk.from + i;
    dst[offset_of(dims, piece, k)] = Types::template from_double<T>(with_sign(piece, k, flat[i]));
  }
}

/// Tensors -> flat, the share of one thread in the table's c-th chunk. False where a
/// value that must be finite is not.
template <class Types>
MINIMIZE_HD bool gather_chunk(const Table& table, int64_t c, double* flat, Lane lane) {
  const Chunk chunk = table.chunks[c];
  const Piece piece = table.pieces[chunk.piece];
  double* const out = flat + piece.begin + chunk.from;
  if (piece.data == nullptr) {
    for (int32_t i = lane.index; i < chunk.reals; i += lane.count) {
      out[i] = 0.0;
    }
    return true;
  }
  bool finite = true;
  switch (piece.real) {
    case Real::kHalf:
      finite = gather_chunk_of<Types, typename Types::Half>(table, piece, chunk, out, lane);
      break;
    case Real::kBFloat16:
      finite = gather_chunk_of<Types, typename Types::BFloat16>(table, piece, chunk, out, lane);
      break;
    case Real::kFloat:
      finite = gather_chunk_of<Types, float>(table, piece, chunk, out, lane);
      break;
    case Real::kDouble:
      finite = gather_chunk_of<Types, double>(table, piece, chunk, out, lane);
      break;
  }
  return finite || !piece.must_be_finite;
}

/// flat -> tensors, the share of one thread in the table's c-th chunk.
template <class Types>
MINIMIZE_HD void scatter_chunk(const Table& table, int64_t c, const double* flat, Lane lane) {
  const Chunk chunk = table.chunks[c];
  const Piece piece = table.pieces[chunk.piece];
  const double* const in = flat + piece.begin + chunk.from;
  switch (piece.real) {
    case Real::kHalf:
      return scatter_chunk_of<Types, typename Types::Half>(table, piece, chunk, in, lane);
    case Real::kBFloat16:
      return scatter_chunk_of<Types, typename Types::BFloat16>(table, piece, chunk, in, lane);
    case Real::kFloat:
      return scatter_chunk_of<Types, float>(table, piece, chunk, in, lane);
    case Real::kDouble:
      return scatter_chunk_of<Types, double>(table, piece, chunk, in, lane);
  }
}

}  // namespace minimize::device
