#pragma once

// The work of one crossing between many tensors and one flat float64 vector, as a
// device sees it: plain data, and the arithmetic on it. A C++ compiler takes this file
// as nvcc does, so that what needs a card to run does not need one to be tested.

#include <cstdint>

#ifdef __CUDACC__
#define MINIMIZE_HD __host__ __device__
#else
#define MINIMIZE_HD
#endif

namespace minimize::device {

enum class Real : int8_t { kHalf, kBFloat16, kFloat, kDouble };

/// A tensor, or zeros, and its place in the flat vector. A complex element is two reals.
struct Piece {
  void* data;         // null: zeros
  int64_t begin;      // flat index of its first real
  int64_t reals;      // at least one
  int32_t first_dim;  // among the table's dimensions
  int32_t rank;       // 0: the memory is in flat order itself
  Real real;          // what the memory holds
  bool even_negated;  // whether reals at even, and at odd, indices are stored with
  bool odd_negated;   // the other sign; never with rank 0
  bool is_carried;    // one real beside the vector, which goes to the tail

  bool operator==(const Piece&) const = default;
};

/// What a gather writes besides the vector.
struct Tail {
  double carried;
  double mark;  // the number of the last gather that met a NaN or an infinity in the vector
};

/// One dimension of a tensor in reals, outermost first.
struct Dim {
  int64_t size;
  int64_t stride;

  bool operator==(const Dim&) const = default;
};

/// What one block of threads does: reals [from, from + reals) of a piece.
struct Chunk {
  int64_t from;
  int32_t piece;
  int32_t reals;
};

/// Small enough for a million reals to occupy every multiprocessor of a large card.
/// A multiple of what one access moves, so that chunks of a piece are aligned as it is.
constexpr int32_t kChunkReals = 4096;

struct Table {
  const Piece* pieces;
  const Dim* dims;
  const Chunk* chunks;
  int64_t chunk_count;
};

MINIMIZE_HD constexpr int64_t chunks_in(int64_t reals) {
  return reals / kChunkReals + (reals % kChunkReals != 0);
}

/// The number-th chunk of a piece.
MINIMIZE_HD constexpr Chunk chunk_of(int32_t piece, int64_t reals, int64_t number) {
  const int64_t from = number * kChunkReals;
  const int64_t left = reals - from;
  return {from, piece, static_cast<int32_t>(left < kChunkReals ? left : kChunkReals)};
}

/// How far from `data` a tensor has its k-th real in row-major order, in reals. Index
/// is unsigned, and wide enough for the number of reals.
template <class Index>
MINIMIZE_HD int64_t offset_of(const Dim* dims, int32_t rank, Index k) {
  int64_t offset = 0;
  for (int32_t d = rank - 1; d > 0; --d) {
    const auto size = static_cast<Index>(dims[d].size);
    const Index outer = k / size;
    offset += static_cast<int64_t>(k - outer * size) * dims[d].stride;
    k = outer;
  }
  return offset + static_cast<int64_t>(k) * dims[0].stride;
}

/// The same, by divisions of 32 bits where they suffice: those of 64 take ten times as
/// many instructions on a card.
MINIMIZE_HD inline int64_t offset_of(const Dim* dims, const Piece& piece, int64_t k) {
  if (piece.reals <= UINT32_MAX) {
    return offset_of(dims, piece.rank, static_cast<uint32_t>(k));
  }
  return offset_of(dims, piece.rank, static_cast<uint64_t>(k));
}

}  // namespace minimize::device
