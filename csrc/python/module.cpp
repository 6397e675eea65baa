#include "python/arrays.h"
#include "python/closure_call.h"
#include "python/direct_call.h"
#include "python/guard.h"
#include "python/py_bridge.h"
#include "python/tensors.h"
#include "python/thread_limit.h"
#include "python/usual_function.h"
#include "python/usual_iteration.h"
#include "tensor/checks.h"

#include <c10/util/Exception.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/utils/pybind.h>

#include <string>
#include <utility>
#include <vector>

// The version comes unquoted: quotes would not survive every way to call a compiler.
#define MINIMIZE_QUOTE_(text) #text
#define MINIMIZE_QUOTE(text) MINIMIZE_QUOTE_(text)

namespace minimize {
namespace {

constexpr auto kArrayBridgeDoc = R"(Parameters as one flat float64 vector, a numpy array.

The vector holds the tensors in the order given, each in row-major order; a complex
element is two reals. Parameters are written in place, and are trusted to be distinct
variables.)";

constexpr auto kTensorBridgeDoc = R"(A ParameterBridge whose flat vectors are tensors.

They are on the parameters' device, which must be one, and from or to it nothing
crosses but a loss and a flag.)";

constexpr auto kHessianDoc = R"(The Hessian at the parameters' current values, on flat vectors.

The loss comes as the backward() calls that make up its gradient, one `add` each.
Their graphs live as long as this object.)";

py::dict build_info() {
  py::dict info;
  info["torch"] = MINIMIZE_QUOTE(MINIMIZE_TORCH_VERSION);
  info["compiler"] = __VERSION__;
  info["debug"] = MINIMIZE_DEBUG != 0;
#ifdef MINIMIZE_CUDA
  info["cuda"] = MINIMIZE_QUOTE(MINIMIZE_CUDA);
  info["architectures"] = py::str(MINIMIZE_QUOTE(MINIMIZE_ARCHITECTURES)).attr("split")("/");
#else
  info["cuda"] = py::none();
  info["architectures"] = py::list();
#endif
#ifdef _OPENMP
  info["openmp"] = true;
#else
  info["openmp"] = false;
#endif
  return info;
}

/// torch's exceptions as Python's, by their message alone. Of those of a device torch makes
/// types of its own, by which callers tell them from others.
void translate(std::exception_ptr raised) {
  try {
    std::rethrow_exception(std::move(raised));
  } catch (const c10::TypeError& e) {
    py::set_error(PyExc_TypeError, e.what_without_backtrace());
  } catch (const c10::ValueError& e) {
    py::set_error(PyExc_ValueError, e.what_without_backtrace());
  } catch (const c10::OutOfMemoryError&) {
    torch::translate_exception_to_python(std::current_exception());
  } catch (const c10::AcceleratorError&) {
    torch::translate_exception_to_python(std::current_exception());
  } catch (const c10::Error& e) {
    py::set_error(PyExc_RuntimeError, e.what_without_backtrace());
  }
}

template <class Bridge>
py::class_<Bridge> bind_bridge(py::module_& m, const char* name, const char* doc) {
  return py::class_<Bridge>(m, name, doc)
      .def_property_readonly(
          "numel", [](const Bridge& self) { return self.bridge->numel(); },
          "Reals in the flat vector.")
      .def_property_readonly(
          "params", [](const Bridge& self) { return self.bridge->params(); },
          "The distinct tensors.")
      .def("flatten_params", &Bridge::flatten_params, "The parameters' values as a new vector.")
      .def(
          "flatten_grads", &Bridge::flatten_grads,
          "The gradients as a new vector, zeros where there is none.")
      .def("gradient", &Bridge::gradient, "flatten_grads(), and whether all of it is finite.")
      .def(
          "evaluation", &Bridge::evaluation, py::arg("loss"),
          "The loss, flatten_grads(), whether all of the gradient is finite, and the seconds "
          "waited for a device to compute them; from there in one transfer.")
      .def(
          "flatten", &Bridge::flatten, py::arg("tensors"),
          "One tensor of each parameter's shape as a new vector, zeros for None.")
      .def(
          "load_params", &Bridge::load_params, py::arg("x"),
          "Writes a vector into the parameters, in place.")
      .def(
          "load_grads", &Bridge::load_grads, py::arg("x"),
          "Writes a vector into the gradients, in place where they fit, new tensors elsewhere.")
      .def(
          "unflatten", &Bridge::unflatten, py::arg("x"),
          "A vector as new tensors of the parameters' shapes, dtypes and devices.")
      .def(
          "flatten_rows", &Bridge::flatten_rows, py::arg("stacks"), py::arg("out").noconvert(),
          "One stack of tensors for each parameter, or None -> vectors as rows of `out`; returns "
          "whether all of it is finite.")
      .def(
          "unflatten_rows", &Bridge::unflatten_rows, py::arg("v"),
          "Vectors as rows -> one new stack of tensors for each parameter.")
      .def(
          "has_grads", [](const Bridge& self) { return self.bridge->has_grads(); },
          "Whether any parameter has a gradient.")
      .def(
          "clear_grads", [](const Bridge& self) { self.bridge->clear_grads(); },
          "Sets every gradient to None.")
      .def(
          "release", [](const Bridge& self) { self.vectors.pool()->release(); },
          "Frees the memory that waits to be reused.");
}

template <class Vectors>
void bind_hessian(py::module_& m, const char* name) {
  using Hessian = PyHessian<Vectors>;
  py::class_<Hessian>(m, name, kHessianDoc)
      .def(py::init<const PyBridge<Vectors>&>(), py::arg("bridge"))
      .def(
          "add", torch::wrap_pybind_function(&Hessian::add), py::arg("roots"), py::arg("seeds"),
          py::arg("inputs") = py::none(), py::arg("fill_grads") = false,
          "Adds the gradient of one backward() call, and to `.grad` if asked.")
      .def(
          "product", torch::wrap_pybind_function(&Hessian::product), py::arg("v"),
          "Hv as a new vector, and whether all of it is finite.")
      .def(
          "last_product", torch::wrap_pybind_function(&Hessian::last_product), py::arg("v"),
          "The same; the graphs are freed on the way, and no product can be taken afterwards.")
      .def_property_readonly(
          "product_bytes", [](const Hessian& self) { return self.hessian.product_bytes(); },
          "Bytes that one product allocates, about.")
      .def(
          "free", [](Hessian& self) { self.hessian.free(); },
          "Frees the graphs; no product can be taken afterwards.")
      .def_property_readonly(
          "gradients", [](const Hessian& self) { return self.hessian.gradients(); },
          "Those gradients that depend on the parameters, with their graph.")
      .def_property_readonly(
          "owners", [](const Hessian& self) { return self.hessian.owners(); },
          "The position of each one's parameter.")
      .def(
          "unpack_rows", torch::wrap_pybind_function(&Hessian::unpack_rows), py::arg("v"),
          "Vectors as rows -> one new stack of tensors for each of the gradients.");
}

void bind_inverse(py::module_& m) {
  m.def(
      "symmetric_product", py::overload_cast<const Matrix&, py::handle>(symmetric_product),
      py::arg("h").noconvert(), py::arg("v"),
      "H v, of a symmetric H whose part on and below the diagonal is read.");
  m.def(
      "rank_two_product",
      py::overload_cast<
          Matrix&, double, double, double, double, py::handle, py::handle, py::handle>(
          rank_two_product),
      py::arg("h").noconvert(), py::arg("tau"), py::arg("ss"), py::arg("sw"), py::arg("ww"),
      py::arg("s"), py::arg("w"), py::arg("v"),
      "Makes H / tau + [s w] M [s w]' of it, on and below the diagonal, and returns its product "
      "with v, in one pass.");
  m.def(
      "curvature", py::overload_cast<py::handle, py::handle, py::handle, py::handle>(curvature),
      py::arg("product"), py::arg("p"), py::arg("g"), py::arg("before"),
      "w = product + p, and p'y, y'w, y'y and g'w, y being g - before, in one pass.");
  m.def(
      "has_kernels",
      [](c10::Device device) { return find_device_kernels(device.type()) != nullptr; },
      py::arg("device"), "Whether this build has kernels for a device of this kind.");
  m.def(
      "device_product", device_product, py::arg("h"), py::arg("v"), py::arg("kernels") = py::none(),
      "H v on H's device, all of which is read; by these kernels, if some are given.");
  m.def(
      "device_rank_two_product", device_rank_two_product, py::arg("h"), py::arg("tau"),
      py::arg("ss"), py::arg("sw"), py::arg("ww"), py::arg("s"), py::arg("w"), py::arg("v"),
      py::arg("kernels") = py::none(), "rank_two_product on H's device, all of which is written.");
}

void bind_pairs(py::module_& m) {
  m.def(
      "pair_sums",
      py::overload_cast<const py::array&, int64_t, py::handle, py::handle, py::handle>(pair_sums),
      py::arg("w").noconvert(), py::arg("used"), py::arg("gradient"), py::arg("before"),
      py::arg("direction"),
      "W g and W y of the first rows, y being gradient - before; g'd, g'g, y'y, y'g, max |g|.");
  m.def(
      "pair_turn",
      py::overload_cast<
          py::array&, double, py::handle, int64_t, double, py::handle, py::handle,
          py::array_t<double>&>(pair_turn),
      py::arg("w").noconvert(), py::arg("gamma"), py::arg("weights"), py::arg("slot"),
      py::arg("step"), py::arg("gradient"), py::arg("before"), py::arg("direction").noconvert(),
      "Writes step d and y into a slot, unless it is negative, and -(gamma g + W'c) into d; "
      "returns g'd of it.");
  m.def(
      "pair_weights",
      py::overload_cast<
          const Matrix&, const Matrix&, const std::optional<py::array_t<double>>&,
          const std::vector<int64_t>&, double, const std::vector<double>&>(pair_weights),
      py::arg("sy").noconvert(), py::arg("yy").noconvert(), py::arg("tau").noconvert(),
      py::arg("order"), py::arg("gamma"), py::arg("products"),
      "What H g is made of, by the inner products of the pairs in use: gamma, c_s and c_y by "
      "slots, "
      "and what they have along g; NaN where not all of it is finite.");
  m.def(
      "device_pair_sums", device_pair_sums, py::arg("w"), py::arg("used"), py::arg("gradient"),
      py::arg("before"), py::arg("direction"), py::arg("kernels") = py::none(),
      "pair_sums on W's device; by these kernels, if some are given.");
  m.def(
      "device_pair_turn", device_pair_turn, py::arg("w"), py::arg("gamma"), py::arg("weights"),
      py::arg("slot"), py::arg("step"), py::arg("gradient"), py::arg("before"),
      py::arg("direction"), py::arg("kernels") = py::none(),
      "pair_turn on W's device; returns nothing.");
}

void bind_threads(py::module_& m) {
  py::class_<ThreadLimit>(m, "ThreadLimit", "Holds libraries to a number of threads.")
      .def(
          py::init<const std::vector<std::pair<uintptr_t, uintptr_t>>&>(), py::arg("functions"),
          "By the addresses of each library's int get() and void set(int).")
      .def(
          "hold", &ThreadLimit::hold, py::arg("holder"), py::arg("number"),
          "Sets the number; the first of several holders keeps the user's.")
      .def(
          "release", &ThreadLimit::release, py::arg("holder"),
          "The last holder gives back the user's number.");
  py::class_<ThreadHold>(m, "ThreadHold", "One of those who hold libraries.")
      .def(
          py::init<ThreadLimit&, int>(), py::arg("limit"), py::arg("number"),
          py::keep_alive<1, 2>())
      .def("hold", &ThreadHold::hold, "Sets the number; see ThreadLimit.")
      .def("release", &ThreadHold::release, "Gives back the user's, if nobody else holds them.");
}

void bind_closure_call(py::module_& m) {
  py::class_<ClosureCall>(m, "ClosureCall", "Runs a closure, and reads what it gave.")
      .def(
          py::init<const ArrayBridge&, Guard&, py::object, py::type, bool>(), py::arg("bridge"),
          py::arg("guard"), py::arg("runner"), py::arg("made"), py::arg("differentiates"),
          py::keep_alive<1, 3>())
      .def("__call__", &ClosureCall::evaluate, py::arg("x"), "The evaluation at x.");
  py::class_<UsualFunction>(m, "UsualFunction", "What scipy asks for, at points that are new.")
      .def(
          py::init<
              const ArrayBridge&, Guard&, py::object, py::object, py::object, py::object,
              py::object, py::object>(),
          py::arg("bridge"), py::arg("guard"), py::arg("call"), py::arg("evaluator"),
          py::arg("objective"), py::arg("permit"), py::arg("value"), py::arg("gradient"),
          py::keep_alive<1, 3>())
      .def_property_readonly(
          "fun",
          [](const py::object& self) {
            return direct_method<UsualFunction, &UsualFunction::fun>(self, "fun");
          },
          "x -> the loss there.")
      .def_property_readonly(
          "jac",
          [](const py::object& self) {
            return direct_method<UsualFunction, &UsualFunction::jac>(self, "jac");
          },
          "x -> the gradient there.")
      .def("forget", &UsualFunction::forget, "The run is over.");
  py::class_<UsualIteration>(
      m, "UsualIteration", "What scipy calls back, at points just found: whether it is to end.",
      py::custom_type_setup(
          [](PyHeapTypeObject* type) { type->ht_type.tp_call = &UsualIteration::call; }))
      .def(
          py::init([](Guard& guard, py::object watch, py::object evaluator, py::object objective,
                      py::object history, double rtol, int64_t window, double maxiter, bool stays,
                      py::set answers, py::object callback, py::object signature) {
            return std::make_unique<UsualIteration>(
                guard, std::move(watch), std::move(evaluator), std::move(objective),
                std::move(history), UsualIteration::Limits{rtol, window, maxiter}, stays,
                std::move(answers), std::move(callback), std::move(signature));
          }),
          py::arg("guard"), py::arg("watch"), py::arg("evaluator"), py::arg("objective"),
          py::arg("history"), py::arg("rtol"), py::arg("window"), py::arg("maxiter"),
          py::arg("stays"), py::arg("answers"), py::arg("callback"), py::arg("signature"),
          py::keep_alive<1, 2>())
      .def_property_readonly("__signature__", &UsualIteration::signature, "What it is told.")
      .def("forget", &UsualIteration::forget, "The run is over.");
}

void bind_guard(py::module_& m) {
  py::class_<Clock>(m, "Clock", "Seconds by part, and counts.")
      .def(
          py::init<const std::vector<std::string>&, py::dict, py::dict, py::object>(),
          py::arg("parts"), py::arg("counts"), py::arg("flags"), py::arg("show"))
      .def(
          "begin", &Clock::begin, py::arg("part"), py::arg("what") = py::none(),
          "The time from here on goes to `part`; counts `what`.")
      .def(
          "attribute", &Clock::attribute, py::arg("part"), py::arg("seconds"),
          "Some of the seconds since the last `begin` were those of `part`.")
      .def("start", &Clock::start, py::arg("part"), "Time before this belongs to no part.")
      .def("stop", &Clock::stop, py::arg("part"), "Time after this is shown to no profiler.")
      .def_property_readonly("part", &Clock::part, "The part that time goes to now.")
      .def_property_readonly("seconds", &Clock::seconds, "By part.");
  py::class_<Guard>(m, "Guard", "The one way into code of the user's.")
      .def(
          py::init<Clock&, py::object>(), py::arg("clock"), py::arg("threads"),
          py::keep_alive<1, 2>())
      .def(
          "run",
          [](Guard& self, py::handle part, py::handle what, const py::object& code) {
            return self.run(part, what, [&] { return code(); });
          },
          py::arg("part"), py::arg("what"), py::arg("code"),
          "What code() returns; its time goes to `part`, and it is counted as `what`.")
      .def("hold", &Guard::hold, "Sets the solver's threads.")
      .def("release", &Guard::release, "Gives back the user's.")
      .def("end", &Guard::end, "The run is over: gives them back for good.")
      .def("remember", &Guard::remember, py::arg("error"), "An error is on its way.")
      .def("forget", &Guard::forget, "It is dealt with.")
      .def("check", &Guard::check, "Raises what was remembered.")
      .def_property_readonly("error", &Guard::error, "What was remembered, or None.");
}

}  // namespace
}  // namespace minimize

PYBIND11_MODULE(_C, m) {
  using namespace minimize;
  m.doc() = "Between a model's tensors and one flat float64 vector.";
  py::register_local_exception_translator(translate);

  bind_bridge<ArrayBridge>(m, "ParameterBridge", kArrayBridgeDoc)
      .def(
          py::init([](const py::iterable& params) { return array_bridge(params); }),
          py::arg("params"))
      .def_static(
          "_with_kernels", bridge_with_kernels, py::arg("params"), py::arg("kernels"),
          py::arg("lanes"),
          "A bridge whose i-th distinct tensor crosses by these kernels on lanes[i % size], and on "
          "the host where that is negative.");
  bind_bridge<TensorBridge>(m, "TensorBridge", kTensorBridgeDoc)
      .def(py::init(&tensor_bridge), py::arg("bridge"));
  bind_hessian<Arrays>(m, "HessianOperator");
  bind_hessian<Tensors>(m, "TensorHessianOperator");

  m.def(
      "are_plain", [](const py::iterable& params) { return are_plain(to_tensors(params, false)); },
      py::arg("params"), "Whether it is plain that these are distinct variables.");
  m.def(
      "same_values", py::overload_cast<py::handle, py::handle>(same_values), py::arg("a"),
      py::arg("b"), "Whether two float64 vectors have the same length and the same bits.");
  m.def(
      "distance", py::overload_cast<py::handle, py::handle>(distance), py::arg("a"), py::arg("b"),
      "The Euclidean distance of two float64 vectors.");
  m.def(
      "compare_and_measure",
      py::overload_cast<py::handle, py::handle, py::handle>(compare_and_measure), py::arg("x"),
      py::arg("known"), py::arg("before"),
      "Whether x has the bits of `known`, and its Euclidean distance from `before`.");
  m.def(
      "largest", py::overload_cast<py::handle>(largest), py::arg("v"),
      "max |v_i|; 0 if v is empty.");
  m.def(
      "combined",
      py::overload_cast<const std::vector<double>&, const std::vector<py::object>&>(combined),
      py::arg("coefficients"), py::arg("vectors"), "The sum of c_i v_i as a new vector.");
  bind_inverse(m);
  bind_pairs(m);
  bind_threads(m);
  bind_guard(m);
  bind_closure_call(m);
  m.def("build_info", build_info, "What this extension was built with, and for.");
}
