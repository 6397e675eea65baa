"""README and the manual: every example runs as it is printed, every picture and link is there."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pytorch_minimize.scipy_minimize.methods import METHODS
from pytorch_minimize.solvers.methods import ROWS

sybil = pytest.importorskip("sybil", reason="the extra 'test' is not installed")

from sybil.parsers.markdown import PythonCodeBlockParser  # noqa: E402

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FIRST_FIT = DOCS / "first-fit.md"

# Those of frameworks are run where these are installed (tests/frameworks).
PAGES = [
    ROOT / "README.md",
    *sorted(DOCS.glob("*.md")),
    *(
        page
        for folder in ("guide", "coming-from", "reference")
        for page in sorted(DOCS.glob(f"{folder}/*.md"))
    ),
]
LINK = re.compile(r"!?\[[^]]*\]\(([^)\s]+)\)")


def run(page: Path, names: dict[str, Any]) -> int:
    """Run every example of a page, one after the other; how many there were."""
    document = sybil.Document.parse(str(page), PythonCodeBlockParser())
    document.namespace.update(names)
    count = 0
    for example in document:
        example.evaluate()
        count += 1
    names.update(document.namespace)
    return count


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process group of one process, where an example begins one."""
    start = torch.distributed.init_process_group
    store = {"init_method": f"file://{tmp_path / 'store'}", "rank": 0, "world_size": 1}
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda: start("gloo", **store))
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """A page sets the logger up as a user would, for the whole process."""
    logger, root = logging.getLogger("pytorch_minimize"), logging.getLogger()
    level, handlers = logger.level, root.handlers[:]
    yield
    logger.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture(scope="module")
def first_fit() -> dict[str, Any]:
    """The names of that page."""
    found: dict[str, Any] = {}
    run(FIRST_FIT, found)
    return found


@pytest.fixture
def names(first_fit: dict[str, Any]) -> dict[str, Any]:
    """What the pages go on from: those names, the model as before the fit, and two closures."""
    for layer in (first_fit["model"][0], first_fit["model"][-1]):
        layer.reset_parameters()

    def closure_with_backward() -> Tensor:
        first_fit["optimizer"].zero_grad()
        loss: Tensor = first_fit["closure"]()
        loss.backward()
        return loss

    return first_fit | {"closure_with_backward": closure_with_backward}


# What pages say that the optimizer warns of.
@pytest.mark.filterwarnings("ignore:the start is outside the bounds")
@pytest.mark.filterwarnings("ignore:the closure gave a loss of")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_examples_run(
    page: Path,
    names: dict[str, Any],
    alone: None,
    logging_restored: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    assert run(page, {} if page.name == "README.md" else names) == text.count("```python\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_it_links_is_there(page: Path) -> None:
    """Anchors in the manual are looked after by its build."""
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target) or "made/gallery/" in path:
            continue
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if linked.suffix == ".png":
            assert linked.read_bytes().startswith(b"\x89PNG")
        elif anchor:
            assert anchor in anchors(linked), target


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short_and_counts_right() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert f"[{len(METHODS | ROWS)} methods]" in text


def test_every_page_is_in_the_table_of_contents() -> None:
    """Where a page is reached from; the build refuses those that are not, but is no test."""
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    for page in PAGES[1:]:
        name = str(page.relative_to(DOCS).with_suffix(""))
        assert name == "index" or re.search(rf"^{name}$", index, re.MULTILINE), name
