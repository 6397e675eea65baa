#pragma once

#include "device/table.h"

#include <c10/core/TensorImpl.h>

#include <cstdint>
#include <vector>

namespace minimize {

/// The pieces of one crossing, in flat order, on the host.
class PieceList {
 public:
  void reserve(size_t count) {
    pieces_.reserve(count);
  }
  /// Appends a strided tensor without gaps in the flat vector.
  void add(const c10::TensorImpl& tensor, void* data);
  void add_zeros(int64_t reals);
  /// The piece that was added last is one real that goes to the tail.
  void carry_last() {
    pieces_.back().is_carried = true;
  }

  int64_t reals() const {
    return pieces_.empty() ? 0 : pieces_.back().begin + pieces_.back().reals;
  }
  const std::vector<device::Piece>& pieces() const {
    return pieces_;
  }
  const std::vector<device::Dim>& dims() const {
    return dims_;
  }
  std::vector<device::Chunk> cut() const;

  bool operator==(const PieceList&) const = default;

 private:
  std::vector<device::Piece> pieces_;
  std::vector<device::Dim> dims_;
};

/// Pieces, dimensions and chunks as one block of bytes, which `table` addresses from
/// where it is to lie.
class PackedTable {
 public:
  explicit PackedTable(const PieceList& list);

  size_t bytes() const {
    return bytes_;
  }
  void write(void* memory) const;
  device::Table table(const void* memory) const;

 private:
  const PieceList& list_;
  std::vector<device::Chunk> chunks_;
  size_t dims_at_;
  size_t chunks_at_;
  size_t bytes_;
};

}  // namespace minimize
