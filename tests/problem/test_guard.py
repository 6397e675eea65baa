"""The one way into code of the user's."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from pytorch_minimize.problem.guard import PythonGuard, make_guard
from pytorch_minimize.record.profile import Profile


@pytest.mark.parametrize("make", [make_guard, PythonGuard], ids=["native", "python"])
def test_both_guards_stand_around_the_users_code(make: Any) -> None:
    """Note [oracle]."""
    profile, seen = Profile(), []

    class Threads:
        hold, release = (lambda: seen.append("hold")), (lambda: seen.append("release"))

    guard: Any = make(profile, Threads)
    assert guard.run("closure", "closure", lambda: seen.append(profile.clock.part)) is None
    assert (seen, profile.clock.part) == (["release", "closure", "hold"], "solver")
    assert profile.counts == {"closure": 1}
    guard.check()

    def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        guard.run("closure", None, fail)
    assert caught.value is guard.error
    assert "fail" in [entry.name for entry in caught.traceback]
    assert (seen[3:], profile.clock.part) == (["release", "hold"], "solver")
    with pytest.raises(KeyError) as again:
        guard.check()
    assert again.value is caught.value
    guard.forget()
    guard.check()
    seen.clear()
    guard.hold()
    guard.end()
    guard.run("closure", None, lambda: None)
    assert seen == ["hold", "release"]
    alive = weakref.ref(guard)
    del guard, caught, again, fail
    gc.collect()
    assert alive() is None
