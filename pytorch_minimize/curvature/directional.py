"""Whether a gradient is that of the loss: differences of the loss along a few directions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.optimize import Bounds

from ..bridge.interface import Bridge
from ..bridge.layout import reals
from ..bridge.vectors import clip
from ..closure.loss import read_loss
from ..closure.runner import ClosureRunner
from ..typing import Array
from .trial import SEEN, Trial, agree, kink_between

__all__ = ["Verdicts", "contradictions", "verdicts"]

# The step is made longer where the loss does not move, and shorter where nothing is decided; so
# many times.
_LONGER, _TIMES_LONGER = 16.0, 4
_SHORTER, _TIMES_SHORTER = 0.4, 8
# How many shorter ones may then still show that it does, down to so many roundings of a variable;
# and by which factor longer ones, up to such a share of a variable.
_SHORTEST, _ROUNDINGS = 3, 100.0
_STAIRS, _SHARE = 8.0, 0.1


class _Surroundings:
    """The loss around the point that the parameters hold.

    Args:
        runner: runs the closure.
        value, gradient: at the point.
        room: how far each variable may go from there.
        kinds: of the numbers, in the parameters and the loss.
    """

    def __init__(
        self,
        runner: ClosureRunner,
        value: float,
        gradient: Array,
        room: Array,
        kinds: Sequence[torch.finfo],
    ) -> None:
        self._runner, self._value, self._gradient, self._room = runner, value, gradient, room
        self._x = runner.bridge.flatten_params()
        self._kinds, self._eps = kinds, max(kind.eps for kind in kinds)

    def verdict(self, direction: Array) -> Trial | bool:
        """A trial that the gradient does not fit; True where it fits, False where none can tell.

        A step that does not fit may be too long for the function, or drown in rounding of which we
        do not know. So several must agree on what is missing, and no other one may fit.
        """
        tolerance = self._eps**0.2
        longer = self._first_to_move(direction, tolerance)
        if longer.is_finite and not longer.moves:
            # In a narrow room the step may be too short for what the loss is rounded to.
            is_still = bool(np.isinf(self._room).all())
            return longer if is_still and abs(longer.predicted) > SEEN * longer.noise else False
        if longer.fits_at_once(tolerance):
            return True
        off: list[Trial] = []
        for _ in range(_TIMES_SHORTER):
            trial = self._trial(direction, longer.length * _SHORTER)
            if trial.is_finite and not trial.moves:
                return False
            if trial.is_finite and longer.is_finite:
                kink = kink_between(longer, trial)
                if trial.is_off(kink, tolerance):
                    off.append(trial)
                elif trial.decides(kink):
                    return True
                else:
                    off.clear()
            if agree(off):
                if self._fits_shorter(direction, trial, tolerance):
                    return False
                return False if self._is_of_stairs(direction, trial) else trial
            longer = trial
        return False

    def _first_to_move(self, direction: Array, tolerance: float) -> Trial:
        """By so much that shorter steps move the loss as well, unless it fits."""
        trial = self._trial(direction, 1.0)
        for _ in range(_TIMES_LONGER):
            enough = trial.moves_much(_SHORTER) or trial.fits_at_once(tolerance)
            if enough or not trial.is_finite or not direction.any():
                break
            trial = self._trial(direction, trial.length * _LONGER)
        return trial

    def _fits_shorter(self, direction: Array, found: Trial, tolerance: float) -> bool:
        size = max(abs(found.up), abs(found.down))
        least = max(
            4.0 * SEEN * found.noise / size * found.length, _ROUNDINGS * self._eps ** (2 / 3)
        )
        if least >= found.length:
            return False
        for length in np.geomspace(found.length, least, _SHORTEST + 1)[1:]:
            longer, trial = (self._trial(direction, at) for at in (length / _SHORTER, length))
            if trial.moves and not trial.is_off(kink_between(longer, trial), tolerance):
                return True
        return False

    def _is_of_stairs(self, direction: Array, found: Trial) -> bool:
        """Whether longer steps fit: the loss is computed in a coarser dtype, as under autocast."""
        if abs(found.change) > 0.75 * abs(found.predicted):
            return False
        length = found.length * _STAIRS
        while length <= _SHARE * self._eps ** (-1 / 3):
            trial = self._trial(direction, length)
            if abs(trial.change - trial.predicted) <= 0.25 * abs(trial.predicted):
                return True
            length *= _STAIRS
        return False

    def _trial(self, direction: Array, length: float) -> Trial:
        x, gradient = self._x, self._gradient
        step = np.clip(length * direction, -self._room, self._room)
        (upper, above), (lower, below) = self._at(x + step), self._at(x - step)
        up, down = above - self._value, self._value - below
        scale = max(abs(self._value), abs(above), abs(below))
        rounding = 10.0 * max(kind.eps * (scale + kind.tiny) for kind in self._kinds)
        with np.errstate(over="ignore", invalid="ignore"):
            ahead, behind = float(gradient @ (upper - x)), float(gradient @ (x - lower))
            # Where x is rounded the steps are not of one length, and curvature looks like a slope.
            apart = float(np.linalg.norm(upper - lower)) or 1.0
            uneven = float(np.linalg.norm((upper - x) - (x - lower))) / apart
        noise = rounding + uneven * abs(up - ahead - down + behind)
        return Trial(up, down, ahead, behind, length, noise)

    def _at(self, x: Array) -> tuple[Array, float]:
        """The point that the parameters really hold, and the loss there."""
        self._runner.bridge.load_params(x)
        return self._runner.bridge.flatten_params(), read_loss(self._runner.value())


Verdicts = dict[str, Trial | bool]
"""By direction: a trial that contradicts the gradient, True where it fits, False if unknown."""


def verdicts(
    runner: ClosureRunner, value: float, gradient: Array, bounds: Bounds | None
) -> tuple[Verdicts, Array]:
    """Hold a gradient against the loss: up the gradient, at random, and where it is zero.

    Costs two runs of the closure for each direction where it fits, and one more where the
    parameters must be moved to have room inside the bounds. Where it does not, or nothing can be
    told, as at a minimum or a kink of every variable, what is found nearby counts, if anything is.

    Returns:
        The verdicts, and the gradient that they are of. The parameters are left anywhere.
    """
    bridge = runner.bridge
    dtypes = {param.dtype for param in bridge.params} | {runner.loss_like.dtype}
    kinds = [torch.finfo(d) for d in dtypes if d.is_floating_point or d.is_complex]
    x, scale = bridge.flatten_params(), _scale(bridge)
    reach = max(kind.eps for kind in kinds) ** (1 / 3) * scale
    random = np.random.default_rng(0)
    found: Verdicts = {}
    for start in (x, x + 0.1 * scale * random.standard_normal(x.size)):
        room = _make_room(bridge, start, 2 * reach, bounds)
        if not np.array_equal(bridge.flatten_params(), x):
            value = read_loss(runner.value_and_gradient())
            here = bridge.flatten_grads()
        else:
            here = gradient
        if not (math.isfinite(value) and np.isfinite(here).all()):
            continue
        around = _Surroundings(runner, value, here, room, kinds)
        new = {name: around.verdict(d) for name, d in _directions(here, reach, random)}
        fits = any(new.values()) and not contradictions(new)
        # Nothing tells more than a zero that is none.
        if not found or fits or (any(new.values()) and not isinstance(found.get("zero"), Trial)):
            found, gradient = new, here
        if fits:
            break
    return found, gradient


def contradictions(found: Verdicts) -> list[Trial]:
    """The trials among the verdicts."""
    return [verdict for verdict in found.values() if isinstance(verdict, Trial)]


def _make_room(bridge: Bridge, x: Array, margin: Array, bounds: Bounds | None) -> Array:
    """Load x, moved so far inside the bounds; how far each variable may go from there."""
    if bounds is None:
        bridge.load_params(x)
        return np.full_like(x, math.inf)
    margin = np.minimum((bounds.ub - bounds.lb) / 4, margin)
    bridge.load_params(clip(x, Bounds(bounds.lb + margin, bounds.ub - margin)))
    x = bridge.flatten_params()
    room: Array = np.maximum(np.minimum(x - bounds.lb, bounds.ub - x), 0.0)
    return room


def _directions(
    gradient: Array, reach: Array, random: np.random.Generator
) -> Iterator[tuple[str, Array]]:
    yield "gradient", reach * np.sign(gradient)
    if gradient.size > 1:
        yield "random", reach * random.standard_normal(reach.size)
        yield "another", reach * random.standard_normal(reach.size)
    zero = gradient == 0.0
    if zero.any():
        yield "zero", reach * random.standard_normal(reach.size) * zero


def _scale(bridge: Bridge) -> Array:
    """The size of each variable; where it is zero, of others of its tensor, or of all, or 1."""
    sizes = np.abs(bridge.flatten_params())
    begin = 0
    for param in bridge.params:
        part = sizes[begin : begin + reals(param)]
        part[part == 0.0] = np.sqrt(np.mean(part**2)) if part.size else 0.0
        begin += part.size
    sizes[sizes == 0.0] = np.sqrt(np.mean(sizes**2)) or 1.0
    return sizes
