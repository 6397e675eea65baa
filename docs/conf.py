"""How `make docs` builds the manual, with warnings as errors.

Nothing is needed beyond this tree and its environment. Where other projects' inventories can be
reached their names become links; where not, they stay as they are printed, without a warning.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from sphinx.application import Sphinx

import pytorch_minimize
from pytorch_minimize.settings import Settings

HERE = Path(__file__).parent

project = "pytorch_minimize"
author = copyright = "The pytorch_minimize authors"
version = release = pytorch_minimize.__version__
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",  # the docstrings have Args and Raises
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["gallery"]  # the scripts; what is made of them is in made/
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["manual.css"]
html_title = f"pytorch_minimize {release}"
html_show_sphinx = False
html_copy_source = False

myst_heading_anchors = 3
suppress_warnings = ["config.cache"]  # sphinx_gallery's own settings hold a class

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature says them, and so does the text
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
maximum_signature_line_length = 80

# What is not found in an inventory: other packages' names, rooms of ours that are not for users,
# and sentences of Raises and Returns that begin without a name.
nitpick_ignore_regex = [
    ("py:.*", r"(torch|scipy|numpy|np|matplotlib|collections|pathlib|os)\b.*"),
    ("py:.*", r"pytorch_minimize\.\w+\..*"),
    ("py:.*", r"[^.]*|.*\s.*"),
]


# The theme's colours set the root logger to INFO, and the gallery's runs would be told of.
for name in ("pytorch_minimize", "matplotlib"):
    logging.getLogger(name).setLevel(logging.WARNING)


def reachable(inventory: str) -> bool:
    try:
        with urlopen(inventory, timeout=3.0):
            return True
    except (URLError, TimeoutError, OSError):
        return False


_OTHERS = {
    "python": "https://docs.python.org/3",
    "numpy": "https://numpy.org/doc/stable",
    "scipy": "https://docs.scipy.org/doc/scipy",
    "torch": "https://docs.pytorch.org/docs/stable",
}
intersphinx_mapping = {
    name: (address, None)
    for name, address in _OTHERS.items()
    if reachable(f"{address}/objects.inv")
}
intersphinx_timeout = 10

sphinx_gallery_conf = {
    "examples_dirs": [str(HERE / "gallery")],
    "gallery_dirs": ["made/gallery"],
    "filename_pattern": r"plot_\w+\.py$",
    "ignore_pattern": r"(^|/)(?!plot_)\w+\.py$",  # what a page starts in processes of its own
    "plot_gallery": os.environ.get("GALLERY", "1") == "1",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "min_reported_time": 1e9,
    "within_subsection_order": "FileNameSortKey",
}

# The keywords of every optimizer have a page of their own, and are not said again for each.
_KEYWORDS = [field.name for field in fields(Settings)]
_ENTRY = re.compile(rf"    ({'|'.join(_KEYWORDS)}) \(")
_THEIR_PAGE = "    **keywords: those that :doc:`every optimizer </keywords>` takes."


def shorten_docstring(
    app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]
) -> None:
    """Leave the keywords out; and the module's own line, which the first page has."""
    if what == "module":
        lines.clear()
    entries = [number for number, line in enumerate(lines) if _ENTRY.match(line)]
    if len(entries) < len(_KEYWORDS):
        return
    end = entries[-1] + 1
    while end < len(lines) and lines[end].startswith(" " * 8):
        end += 1
    lines[entries[0] : end] = [_THEIR_PAGE]


def shorten_signature(
    app: Sphinx, what: str, name: str, obj: object, options: Any, signature: str | None, back: str
) -> tuple[str, str] | None:
    """The same in a signature."""
    head, found, _ = (signature or "").partition(f", *, {_KEYWORDS[0]}")
    return (f"{head}, **keywords)", back) if found else None


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", shorten_docstring, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", shorten_signature)
