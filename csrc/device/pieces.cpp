#include "device/pieces.h"

#include "tensor/strided.h"

#include <c10/util/Exception.h>

#include <cstring>
#include <limits>

namespace minimize {
namespace {

device::Real real_of(c10::ScalarType dtype) {
  switch (dtype) {
    case c10::ScalarType::Half:
      return device::Real::kHalf;
    case c10::ScalarType::BFloat16:
      return device::Real::kBFloat16;
    case c10::ScalarType::Float:
    case c10::ScalarType::ComplexFloat:
      return device::Real::kFloat;
    default:
      return device::Real::kDouble;
  }
}

template <class T>
void copy_to(char* memory, const std::vector<T>& values) {
  if (!values.empty()) {
    std::memcpy(memory, values.data(), values.size() * sizeof(T));
  }
}

}  // namespace

void PieceList::add(const c10::TensorImpl& tensor, void* data) {
  const LazySigns signs(tensor);
  const int64_t reals = count_reals(tensor);
  if (reals == 0) {
    return;
  }
  device::Piece piece{};
  piece.data = data;
  piece.begin = this->reals();
  piece.reals = reals;
  piece.real = real_of(dtype_of(tensor));
  piece.even_negated = signs.even();
  piece.odd_negated = signs.odd();
  if (!is_in_flat_order(tensor)) {
    const StridedReals strided(tensor);
    piece.first_dim = static_cast<int32_t>(dims_.size());
    piece.rank = static_cast<int32_t>(strided.dims().size());
    for (const auto& [size, stride] : strided.dims()) {
      dims_.push_back({size, stride});
    }
  }
  pieces_.push_back(piece);
}

void PieceList::add_zeros(int64_t reals) {
  if (reals > 0) {
    device::Piece piece{};
    piece.begin = this->reals();
    piece.reals = reals;
    pieces_.push_back(piece);
  }
}

std::vector<device::Chunk> PieceList::cut() const {
  TORCH_INTERNAL_ASSERT(pieces_.size() <= std::numeric_limits<int32_t>::max());
  TORCH_INTERNAL_ASSERT(dims_.size() <= std::numeric_limits<int32_t>::max());
  int64_t count = 0;
  for (const auto& piece : pieces_) {
    count += device::chunks_in(piece.reals);
  }
  std::vector<device::Chunk> chunks;
  chunks.reserve(count);
  for (size_t i = 0; i < pieces_.size(); ++i) {
    for (int64_t c = 0; c < device::chunks_in(pieces_[i].reals); ++c) {
      chunks.push_back(device::chunk_of(static_cast<int32_t>(i), pieces_[i].reals, c));
    }
  }
  return chunks;
}

// All three have a size that is a multiple of eight, and eight is their alignment.
static_assert(sizeof(device::Piece) % 8 == 0 && alignof(device::Piece) == 8);
static_assert(sizeof(device::Dim) % 8 == 0 && sizeof(device::Chunk) % 8 == 0);

PackedTable::PackedTable(const PieceList& list)
    : list_(list),
      chunks_(list.cut()),
      dims_at_(list.pieces().size() * sizeof(device::Piece)),
      chunks_at_(dims_at_ + list.dims().size() * sizeof(device::Dim)),
      bytes_(chunks_at_ + chunks_.size() * sizeof(device::Chunk)) {}

void PackedTable::write(void* memory) const {
  char* const begin = static_cast<char*>(memory);
  copy_to(begin, list_.pieces());
  copy_to(begin + dims_at_, list_.dims());
  copy_to(begin + chunks_at_, chunks_);
}

device::Table PackedTable::table(const void* memory) const {
  const char* const begin = static_cast<const char*>(memory);
  return {
      reinterpret_cast<const device::Piece*>(begin),
      reinterpret_cast<const device::Dim*>(begin + dims_at_),
      reinterpret_cast<const device::Chunk*>(begin + chunks_at_),
      static_cast<int64_t>(chunks_.size())};
}

}  // namespace minimize
