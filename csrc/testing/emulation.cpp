// The extension of the tests.

#include "device/pieces.h"
#include "testing/emulated_kernels.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace minimize {
namespace {

using Integers = py::array_t<int64_t>;

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

std::map<std::string, int64_t> counts() {
  return {{"gathers", asked.gathers},
          {"scatters", asked.scatters},
          {"copies up", asked.copies_up},
          {"copies down", asked.copies_down},
          {"waits", asked.waits},
          {"holds", asked.holds},
          {"host blocks", asked.host_blocks},
          {"host bytes", asked.host_bytes}};
}

}  // namespace
}  // namespace minimize

PYBIND11_MODULE(_C_testing, m) {
  m.doc() = "What the tests of a device's path use where there is no device.";
  m.attr("emulated_kernels") = py::capsule(&minimize::kEmulatedKernels, minimize::kKernelsCapsule);
  m.def("chunks", minimize::chunks, py::arg("reals"));
  m.def("offsets", minimize::offsets, py::arg("sizes_and_strides"), py::arg("indices"));
  m.def("counts", minimize::counts, "What the emulated device was asked for so far.");
  m.def("fail_next_wait", [] { minimize::asked.fails = true; }, "As where the device is lost.");
  m.attr("CHUNK_REALS") = minimize::device::kChunkReals;
}
