#pragma once

// How the threads of a block copy one chunk. `Types` says what a half and a bfloat16
// are, and converts: Types::Half, Types::BFloat16, Types::to_double(T) and
// Types::from_double<T>(double).

#include "device/table.h"

#include <cstdint>

namespace minimize::device {

/// A thread among those that share a chunk.
struct Lane {
  int32_t index;
  int32_t count;
};

/// The widest access of a device, in bytes.
constexpr int32_t kAccess = 16;

template <class T>
constexpr int32_t kGroup = kAccess / sizeof(T);

/// Neighbours that are moved by one access.
template <class T>
struct alignas(kAccess) Group {
  T reals[kGroup<T>];
};

/// How many reals lie between a pointer and the first one that is aligned for a group.
template <class T>
MINIMIZE_HD int32_t reals_to_alignment(const T* pointer) {
  const auto past = static_cast<int32_t>(reinterpret_cast<uintptr_t>(pointer) % kAccess);
  return past == 0 ? 0 : (kAccess - past) / static_cast<int32_t>(sizeof(T));
}

template <class T>
MINIMIZE_HD Group<T> load_group(const T* pointer, bool aligned) {
  if (aligned) {
    return *reinterpret_cast<const Group<T>*>(pointer);
  }
  Group<T> group;
  for (int32_t k = 0; k < kGroup<T>; ++k) {
    group.reals[k] = pointer[k];
  }
  return group;
}

template <class T>
MINIMIZE_HD void store_group(T* pointer, const Group<T>& group, bool aligned) {
  if (aligned) {
    *reinterpret_cast<Group<T>*>(pointer) = group;
    return;
  }
  for (int32_t k = 0; k < kGroup<T>; ++k) {
    pointer[k] = group.reals[k];
  }
}

MINIMIZE_HD inline bool is_finite(double value) {
  return value - value == 0.0;
}

MINIMIZE_HD inline double with_sign(const Piece& piece, int64_t k, double value) {
  return (k % 2 == 0 ? piece.even_negated : piece.odd_negated) ? -value : value;
}

/// Where groups of a tensor's reals begin in [0, n) so that each is one access of the
/// tensor, and kGroup<T> / 2 of the flat vector. Where no such place is aligned in both,
/// one that is in the flat vector, most of whose bytes these are.
struct Groups {
  int32_t head;
  bool aligned;  // whether the tensor's are as well
};

template <class T>
MINIMIZE_HD Groups groups_of(const double* flat, const T* tensor, int32_t n) {
  const int32_t head = reals_to_alignment(tensor);
  const int32_t flat_head = reals_to_alignment(flat);
  const bool aligned = head % kGroup<double> == flat_head;
  const int32_t first = aligned ? head : flat_head;
  return {first < n ? first : n, aligned};
}

/// group(i) for the reals [i, i + kGroup<T>) of each group, one(i) for those left over at
/// either end.
template <class T, class One, class GroupOf>
MINIMIZE_HD void for_each_group(int32_t head, int32_t n, Lane lane, One one, GroupOf group) {
  constexpr int32_t size = kGroup<T>;
  const int32_t count = (n - head) / size;
#ifdef __CUDACC__
#pragma unroll 4
#endif
  for (int32_t g = lane.index; g < count; g += lane.count) {
    group(head + g * size);
  }
  for (int32_t i = lane.index; i < n - count * size; i += lane.count) {
    one(i < head ? i : i + count * size);
  }
}

/// Memory in flat order -> flat[0, n); whether all that this thread saw is finite.
template <class Types, class T>
MINIMIZE_HD bool gather_run(
    const T* __restrict__ src, int32_t n, double* __restrict__ flat, Lane lane) {
  const Groups groups = groups_of(flat, src, n);
  bool finite = true;
  for_each_group<T>(
      groups.head, n, lane,
      [&](int32_t i) {
        flat[i] = Types::to_double(src[i]);
        finite = finite && is_finite(flat[i]);
      },
      [&](int32_t i) {
        const Group<T> in = load_group(src + i, groups.aligned);
        for (int32_t k = 0; k < kGroup<T>; k += kGroup<double>) {
          const Group<double> out{Types::to_double(in.reals[k]), Types::to_double(in.reals[k + 1])};
          store_group(flat + i + k, out, true);
          finite = finite && is_finite(out.reals[0]) && is_finite(out.reals[1]);
        }
      });
  return finite;
}

/// flat[0, n) -> memory in flat order.
template <class Types, class T>
MINIMIZE_HD void scatter_run(
    const double* __restrict__ flat, int32_t n, T* __restrict__ dst, Lane lane) {
  const Groups groups = groups_of(flat, dst, n);
  for_each_group<T>(
      groups.head, n, lane, [&](int32_t i) { dst[i] = Types::template from_double<T>(flat[i]); },
      [&](int32_t i) {
        Group<T> out;
        for (int32_t k = 0; k < kGroup<T>; k += kGroup<double>) {
          const Group<double> in = load_group(flat + i + k, true);
          out.reals[k] = Types::template from_double<T>(in.reals[0]);
          out.reals[k + 1] = Types::template from_double<T>(in.reals[1]);
        }
        store_group(dst + i, out, groups.aligned);
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

/// Tensors -> flat and tail, the share of one thread in the table's c-th chunk. False where
/// a value of the vector is not finite.
template <class Types>
MINIMIZE_HD bool gather_chunk(const Table& table, int64_t c, double* flat, Tail* tail, Lane lane) {
  const Chunk chunk = table.chunks[c];
  const Piece piece = table.pieces[chunk.piece];
  double* const out = piece.is_carried ? &tail->carried : flat + piece.begin + chunk.from;
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
  return finite || piece.is_carried;
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
