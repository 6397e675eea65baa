#include "python/guard.h"

#include <utility>

namespace minimize {

py::str interned(const char* letters) {
  return py::reinterpret_steal<py::str>(PyUnicode_InternFromString(letters));
}

Clock::Clock(
    const std::vector<std::string>& parts, py::dict counts, py::dict flags, py::object show)
    : counts_(std::move(counts)), flags_(std::move(flags)), show_(std::move(show)) {
  for (const auto& name : parts) {
    parts_.push_back({interned(name.c_str()), 0.0});
  }
  part_ = parts_.back().name;
}

void Clock::begin(py::handle part, py::handle what) {
  const Instant now = std::chrono::steady_clock::now();
  seconds_of(part);  // an unknown part changes nothing
  seconds_of(part_) += std::chrono::duration<double>(now - mark_).count();
  part_ = py::reinterpret_borrow<py::object>(part);
  mark_ = now;
  if (!what.is_none()) {
    count(what);
  }
  show_part();
}

void Clock::attribute(py::handle part, double seconds) {
  seconds_of(part) += seconds;
  mark_ += std::chrono::duration_cast<Instant::duration>(std::chrono::duration<double>(seconds));
}

void Clock::start(py::handle part) {
  seconds_of(part);
  part_ = py::reinterpret_borrow<py::object>(part);
  mark_ = std::chrono::steady_clock::now();
  runs_ = true;
  show_part();
}

void Clock::stop(py::handle part) {
  runs_ = false;
  begin(part, py::none());
}

py::dict Clock::seconds() const {
  py::dict seconds;
  for (const auto& part : parts_) {
    seconds[part.name] = part.seconds;
  }
  return seconds;
}

double& Clock::seconds_of(py::handle part) {
  for (auto& known : parts_) {
    if (known.name.ptr() == part.ptr()) {
      return known.seconds;
    }
  }
  for (auto& known : parts_) {  // a name that is not interned
    if (known.name.equal(part)) {
      return known.seconds;
    }
  }
  throw py::key_error(py::repr(part));
}

void Clock::count(py::handle what) {
  PyObject* before = PyDict_GetItemWithError(counts_.ptr(), what.ptr());
  if (before == nullptr && PyErr_Occurred() != nullptr) {
    throw py::error_already_set();
  }
  const long long number = before == nullptr ? 0 : PyLong_AsLongLong(before);
  counts_[what] = py::int_(number + 1);
}

void Clock::show_part() {
  // Several times an evaluation: a range itself would cost 17 us.
  if (PyDict_GetItemWithError(flags_.ptr(), flag_.ptr()) == Py_True || !range_.is_none()) {
    const py::object ended = std::exchange(range_, py::none());
    range_ = show_(ended, runs_ ? part_ : py::str());
  }
}

Guard::Guard(Clock& clock, py::object threads) : clock_(clock), threads_(std::move(threads)) {
  if (py::isinstance<ThreadHold>(threads_)) {
    thread_hold_ = threads_.cast<ThreadHold*>();
  }
}

void Guard::hold() const {
  if (thread_hold_ != nullptr) {
    thread_hold_->hold();
  } else if (!threads_.is_none()) {
    threads_.attr("hold")();
  }
}

void Guard::release() const {
  if (thread_hold_ != nullptr) {
    thread_hold_->release();
  } else if (!threads_.is_none()) {
    threads_.attr("release")();
  }
}

void Guard::end() {
  release();
  thread_hold_ = nullptr;
  threads_ = py::none();
}

py::object Guard::enter(py::handle part, py::handle what) const {
  py::object before = clock_.part();
  release();
  clock_.begin(part, what);
  return before;
}

void Guard::leave(const py::object& before) const {
  clock_.begin(before, py::none());
  hold();
}

void Guard::check() const {
  if (!error_.is_none()) {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error_.ptr())), error_.ptr());
    throw py::error_already_set();
  }
}

}  // namespace minimize
