#include "testing/emulation.h"

#include "python/py_bridge.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <vector>

namespace minimize {
namespace {

using Integers = py::array_t<int64_t>;

/// A bridge over tensors of the host, of which the i-th distinct one crosses as if it were
/// on device lanes[i % size]; as it is where that is negative.
std::shared_ptr<PyBridge> emulated_bridge(
    const py::iterable& params, const std::vector<int64_t>& lanes) {
  return std::make_shared<PyBridge>(
      params, [&](size_t i, const at::Tensor&) -> std::optional<LaneKey> {
        const int64_t lane = lanes[i % lanes.size()];
        if (lane < 0) {
          return std::nullopt;
        }
        return LaneKey{c10::Device(c10::kCPU), &kEmulatedKernels, lane};
      });
}

/// The chunks of pieces of so many reals each, as rows (piece, from, reals).
Integers chunks(const std::vector<int64_t>& reals) {
  PieceList list;
  for (const int64_t n : reals) {
    list.add_zeros(n);
  }
  const auto cut = list.cut();
  Integers rows({static_cast<py::ssize_t>(cut.size()), py::ssize_t{3}});
  auto at = rows.mutable_unchecked<2>();
  for (py::ssize_t c = 0; c < at.shape(0); ++c) {
    at(c, 0) = cut[c].piece;
    at(c, 1) = cut[c].from;
    at(c, 2) = cut[c].reals;
  }
  return rows;
}

/// Where the k-th reals of a tensor with these dimensions, in reals, are.
std::vector<int64_t> offsets(
    const std::vector<std::pair<int64_t, int64_t>>& sizes_and_strides,
    const std::vector<int64_t>& indices) {
  device::Piece piece{};
  piece.rank = static_cast<int32_t>(sizes_and_strides.size());
  piece.reals = 1;
  std::vector<device::Dim> dims;
  for (const auto& [size, stride] : sizes_and_strides) {
    dims.push_back({size, stride});
    piece.reals *= size;
  }
  std::vector<int64_t> found;
  for (const int64_t k : indices) {
    found.push_back(device::offset_of(dims.data(), piece, k));
  }
  return found;
}

}  // namespace

void bind_emulation(py::module_& m) {
  m.def("_emulated_bridge", emulated_bridge, py::arg("params"), py::arg("lanes"));
  m.def("_chunks", chunks, py::arg("reals"));
  m.def("_offsets", offsets, py::arg("sizes_and_strides"), py::arg("indices"));
  m.attr("_CHUNK_REALS") = device::kChunkReals;
}

}  // namespace minimize
