"""The pictures of a report: units, error bars, axes no longer than what they show."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

matplotlib = pytest.importorskip("matplotlib", reason="the extra 'report' is not installed")
from matplotlib.figure import Figure  # noqa: E402

from bench.pages.__main__ import RESULTS, measured  # noqa: E402
from bench.plots import draw  # noqa: E402


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if not RESULTS.exists():
        pytest.skip("bench/results is not beside these tests")
    drawn: dict[str, Any] = {}

    def keep(figure: Any, path: pathlib.Path, **_: Any) -> None:
        figure.draw_without_rendering()
        drawn[path.stem] = figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", keep)
        draw(measured(), tmp_path_factory.mktemp("pictures"))
    return drawn


def test_fits_fill_their_axes_and_name_the_unit(pictures: dict[str, Any]) -> None:
    for axes in pictures["fits"].axes:
        (whiskers,) = (line for line in axes.collections if line.get_segments())
        longest = max(end for segment in whiskers.get_segments() for end, _ in segment)
        longest = max(longest, *(bar.get_width() for bar in axes.patches))
        assert axes.get_xlim()[1] <= 1.1 * longest
        assert "(s)" in axes.get_xlabel()
        for label in axes.get_yticklabels():
            assert "evaluations, loss" in label.get_text()


def test_every_bar_has_its_spread(pictures: dict[str, Any]) -> None:
    for axes in (*pictures["fits"].axes, pictures["memory"].axes[1]):
        (whiskers,) = (line for line in axes.collections if line.get_segments())
        assert len(whiskers.get_segments()) == len(axes.get_yticks())


def test_times_have_their_unit(pictures: dict[str, Any]) -> None:
    assert pictures["overhead"].axes[0].get_ylabel().startswith("µs")
    assert pictures["memory"].axes[0].get_ylabel().startswith("MB")
