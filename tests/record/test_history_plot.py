"""The picture of a history."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from problems import rosenbrock

from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.record.history import History

matplotlib = pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def made(losses: list[float], grad_norm: float = 1.0) -> History:
    history = History()
    history.begin_segment()
    for k, loss in enumerate(losses, start=1):
        history.append(
            loss=loss, grad_norm=grad_norm, step_length=1.0, evaluations=2 * k, seconds=0.1 * k
        )
    return history


def fitted(method: str = "BFGS") -> History:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": method})
    optimizer.step(instance.closure(1))
    return optimizer.history


def test_pyplot_has_it_so_that_it_is_shown() -> None:
    axes = fitted().plot()
    assert [plt.figure(number) for number in plt.get_fignums()] == [axes.figure]


def test_both_panels_are_logarithmic_and_say_what_they_show() -> None:
    history = fitted()
    above, below = history.plot().figure.axes
    assert above.get_yscale() == below.get_yscale() == "log"
    assert above.get_ylabel() == "loss"
    assert below.get_xlabel() == "iteration"
    assert np.array_equal(above.lines[0].get_ydata(), history.loss)
    assert np.array_equal(below.lines[0].get_ydata(), history.grad_norm)


def test_the_title_says_why_the_step_ended() -> None:
    history = fitted()
    title = " ".join(history.plot().get_title().split())
    assert title == history.endings[-1] == "BFGS: Optimization terminated successfully."


def test_a_loss_below_zero_is_drawn_above_its_lowest() -> None:
    axes = made([3.0, 1.0, -1.0]).plot()
    drawn = axes.lines[0].get_ydata()
    assert drawn[:2].tolist() == [4.0, 2.0]
    assert np.isnan(drawn[2])  # the lowest itself, which no log scale shows
    assert axes.get_yscale() == "log"
    assert axes.get_ylabel() == "loss + 1"


def test_what_is_subtracted_can_be_said() -> None:
    axes = made([3.0, 2.5]).plot(minus=2.0)
    assert axes.lines[0].get_ydata().tolist() == [1.0, 0.5]
    assert axes.get_ylabel() == "loss - 2"


def test_it_draws_into_given_axes_and_makes_no_figure() -> None:
    figure, axes = plt.subplots()
    for label, history in (("first", made([2.0, 1.0])), ("second", made([3.0, 1.0]))):
        assert history.plot(axes, against="evaluations", label=label, color="red") is axes
    assert plt.get_fignums() == [figure.number]
    assert [line.get_label() for line in axes.lines] == ["first", "second"]
    assert axes.lines[1].get_xdata().tolist() == [2.0, 4.0]
    assert axes.get_xlabel() == "evaluations of the closure"
    assert axes.get_title() == ""


def test_seconds_have_their_unit() -> None:
    _, below = made([2.0, 1.0]).plot(against="seconds").figure.axes
    assert below.lines[0].get_xdata().tolist() == [0.1, 0.2]
    assert below.get_xlabel() == "time in step (s)"


def test_without_gradients_there_is_a_word_instead_of_a_line() -> None:
    _, below = fitted("Nelder-Mead").plot().figure.axes
    assert [text.get_text() for text in below.texts] == ["the method uses no gradient"]


def test_steps_are_divided_by_a_line() -> None:
    history = made([2.0, 1.0])
    history.begin_segment()
    history.append(loss=0.5, grad_norm=1.0, step_length=1.0, evaluations=1, seconds=0.3)
    assert [line.get_xdata()[0] for line in history.plot().lines[1:]] == [2.5]


@pytest.mark.parametrize("losses", [[], [0.0], [np.nan, np.nan], [np.nan, 1.0], [0.0, 0.0]])
def test_anything_can_be_drawn(losses: list[float]) -> None:
    axes = made(losses).plot()
    axes.figure.canvas.draw()
    assert len(axes.lines[0].get_xdata()) == len(losses)


@pytest.mark.parametrize("rows", [1, 40])
def test_single_iterations_are_seen(rows: int) -> None:
    lines = [axes.lines[0] for axes in made([1.0] * rows).plot().figure.axes]
    assert {line.get_marker() for line in lines} == ({""} if rows == 40 else {"."})


def test_an_unknown_axis_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected one of iterations.*did you mean iterations"):
        made([1.0]).plot(against="iteration")  # type: ignore[arg-type]
    assert plt.get_fignums() == []
