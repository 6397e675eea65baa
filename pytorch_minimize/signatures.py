"""The keywords of every optimizer, shown where users look: signatures, docstrings, a page."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from inspect import Parameter
from typing import Any, TypeVar, get_type_hints

from .settings import Settings

__all__ = ["KEYWORDS_HERE", "keyword_list", "with_run_keywords"]

C = TypeVar("C", bound=type)

_INDENT = 8  # of an entry of ``Args:`` in a class

KEYWORDS_HERE = "{run_keywords}"
"""In a docstring, where the keywords are to be listed."""


def with_run_keywords(cls: C) -> C:
    """Show the keywords one by one, of an optimizer whose ``__init__`` has ``**run_keywords``.

    Type checkers read them from that annotation; this is for ``help``, ``inspect.signature`` and
    the editors that ask a running Python.

    Example:
        >>> from pytorch_minimize.settings import RunKeywords
        >>> from typing_extensions import Unpack
        >>> @with_run_keywords
        ... class Search:
        ...     def __init__(self, params: list, **run_keywords: Unpack[RunKeywords]) -> None: ...
        >>> inspect.signature(Search).parameters["timeout"]
        <Parameter "timeout: float | None = None">
    """
    init: Callable[..., Any] = vars(cls)["__init__"]
    whole = inspect.signature(init, eval_str=True)
    own = [p for p in whole.parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
    # On the function, from which a subclass with an __init__ of its own does not inherit it.
    vars(init)["__signature__"] = whole.replace(parameters=[*own, *_parameters()])
    if cls.__doc__ is not None:  # None under python -OO
        # Since Python 3.13 docstrings come without the indentation of their block.
        before = cls.__doc__.partition(KEYWORDS_HERE)[0]
        indent = " " * (len(before) - len(before.rstrip(" ")))
        entries = textwrap.indent(_entries(), indent).lstrip()
        cls.__doc__ = cls.__doc__.replace(KEYWORDS_HERE, entries)
    return cls


def keyword_list() -> str:
    """The keywords as a list in Markdown, for docs/keywords.md."""
    return "\n".join(
        _wrapped(f"- `{parameter}`: {meaning.replace('``', '`')}", "", "  ", 100)
        for parameter, meaning in zip(_parameters(), _meanings(), strict=True)
    )


@cache
def _parameters() -> list[Parameter]:
    hints = get_type_hints(Settings)
    return [
        Parameter(f.name, Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
        for f in fields(Settings)
    ]


def _meanings() -> list[str]:
    return [field.metadata["meaning"] for field in fields(Settings)]


@cache
def _entries() -> str:
    """As entries of ``Args:`` in the docstring of a class."""
    entries = []
    for parameter, meaning in zip(_parameters(), _meanings(), strict=True):
        name, _, kind = str(parameter).partition(": ")
        entries.append(_wrapped(f"{name} ({kind}): {meaning}", "", "    ", 100 - _INDENT))
    return "\n".join(entries)


def _wrapped(text: str, first: str, others: str, width: int) -> str:
    return textwrap.fill(
        text,
        width,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
