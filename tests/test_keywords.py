"""Keywords of every optimizer: stated once, and shown wherever users look."""

from __future__ import annotations

import inspect
import pydoc
import re
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch

from bench.pages.__main__ import rewritten
from pytorch_minimize import optim
from pytorch_minimize.settings import RunKeywords, Settings
from pytorch_minimize.signatures import KEYWORDS_HERE

OPTIMIZERS = [getattr(optim, name) for name in optim.__all__ if name.endswith("Wrapper")]
PAGE = Path(__file__).parents[1] / "docs" / "keywords.md"


def test_there_are_eight() -> None:
    assert len(OPTIMIZERS) == 9


def test_type_checkers_are_told_the_same() -> None:
    """That the types go together is seen by mypy, in typed_calls.py."""
    assert get_type_hints(RunKeywords) == get_type_hints(Settings)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_signature_has_each_keyword(optimizer: type) -> None:
    parameters = inspect.signature(optimizer).parameters
    assert str(parameters["timeout"]) == "timeout: float | None = None"
    assert all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters.values())
    keywords = {p.name: p for p in parameters.values() if p.kind is p.KEYWORD_ONLY}
    hints = get_type_hints(Settings)
    assert {name: (p.annotation, p.default) for name, p in keywords.items()} == {
        field.name: (hints[field.name], field.default) for field in fields(Settings)
    }


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_docstring_has_each_keyword(optimizer: type) -> None:
    text = inspect.getdoc(optimizer)
    assert text is not None
    assert KEYWORDS_HERE not in text
    words = " ".join(text.split())
    for parameter in inspect.signature(optimizer).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert re.search(rf"^    {parameter.name} \(", text, re.MULTILINE)
            kind = str(parameter).removeprefix(f"{parameter.name}: ")
            assert f" {parameter.name} ({kind}): " in words
    for field in fields(Settings):
        assert field.metadata["meaning"] in words
    assert max(map(len, text.splitlines())) <= 100
    assert "timeout: float | None = None" in pydoc.render_doc(optimizer)


@pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
def test_a_default_is_accepted_and_the_meaning_is_a_sentence(field: Field[Any]) -> None:
    assert field.metadata["accepts"](field.default)
    assert field.metadata["meaning"].endswith(".")


def test_a_subclass_with_arguments_of_its_own_has_its_own_signature() -> None:
    class Own(optim.MinimizeWrapper):
        def __init__(self, params: list[torch.Tensor], fast: bool) -> None:
            super().__init__(params, {}, progress=fast)

    class Other(optim.MinimizeWrapper):
        pass

    assert list(inspect.signature(Own).parameters) == ["params", "fast"]
    assert inspect.signature(Other) == inspect.signature(optim.MinimizeWrapper)


def test_the_page_has_each_keyword() -> None:
    if not PAGE.exists():
        pytest.skip("docs/keywords.md is not beside these tests")
    page = PAGE.read_text(encoding="utf-8")
    assert rewritten(page, {"cases": {}}) == page
    assert re.findall(r"^- `(\w+): ", page, re.MULTILINE) == [f.name for f in fields(Settings)]
