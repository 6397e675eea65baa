#pragma once

#include "python/thread_limit.h"

#include <torch/csrc/utils/pybind.h>

#include <cxxabi.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace minimize {

/// Python's one string of these letters, which names and parts are known by at a glance.
py::str interned(const char* letters);

/// Seconds by part, and counts. At each change of part the time since the last goes to the part
/// that ends, so that the parts add up to the whole.
class Clock {
 public:
  /// `counts` maps names to numbers. `flags` has the entry "_is_profiler_enabled"; where that is
  /// true, show(range, part) closes the range of the part that ended and opens the next.
  Clock(const std::vector<std::string>& parts, py::dict counts, py::dict flags, py::object show);

  void begin(py::handle part, py::handle what);
  void attribute(py::handle part, double seconds);
  /// Time before this call belongs to no part.
  void start(py::handle part);
  /// Time after this call goes to `part`, and is shown to no profiler.
  void stop(py::handle part);

  py::object part() const {
    return part_;
  }
  py::dict seconds() const;

 private:
  using Instant = std::chrono::steady_clock::time_point;

  struct Part {
    py::object name;
    double seconds;
  };

  double& seconds_of(py::handle part);
  void count(py::handle what);
  void show_part();

  std::vector<Part> parts_;
  py::object part_;
  py::dict counts_;
  py::dict flags_;
  py::str flag_ = interned("_is_profiler_enabled");
  py::object show_;
  py::object range_ = py::none();
  bool runs_ = false;
  Instant mark_ = std::chrono::steady_clock::now();
};

/// The one way into code of the user's: the clock, the solver's threads, the error that it raises.
/// An interrupt cannot come between the steps of it, as it can between two lines of Python.
class Guard {
 public:
  /// hold() and release() of `threads` set the solver's threads before and after the user's code;
  /// None where it has none.
  Guard(Clock& clock, py::object threads);

  /// What code() returns. Its time goes to `part`, and it is counted as `what` if that is not None.
  template <class Code>
  auto run(py::handle part, py::handle what, const Code& code) -> decltype(code()) {
    const py::object before = enter(part, what);
    std::optional<decltype(code())> returned;
    try {
      returned.emplace(code());
    } catch (py::error_already_set& error) {
      remember(error.value());
      leave(before);
      throw;
#ifdef __GLIBCXX__
    } catch (abi::__forced_unwind&) {  // the thread ends, and has no right to Python's objects
      throw;
#endif
    } catch (...) {
      leave(before);
      throw;
    }
    leave(before);
    return *std::move(returned);
  }

  void hold() const;
  void release() const;
  /// The run is over: releases, and holds no more.
  void end();

  void remember(py::object error) {
    error_ = std::move(error);
  }
  void forget() {
    error_ = py::none();
  }
  py::object error() const {
    return error_;
  }
  /// Raises what was remembered.
  void check() const;

  Clock& clock() const {
    return clock_;
  }

 private:
  /// The part that the clock was on.
  py::object enter(py::handle part, py::handle what) const;
  void leave(const py::object& before) const;

  Clock& clock_;
  py::object threads_;
  ThreadHold* thread_hold_ = nullptr;  // what they are, mostly
  py::object error_ = py::none();
};

}  // namespace minimize
