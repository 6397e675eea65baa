"""How `make docs` builds the manual, with warnings as errors.

Nothing is needed beyond this tree and its environment. Where other projects' inventories can be
reached their names become links; where not, they stay as they are printed, without a warning.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytorch_minimize

HERE = Path(__file__).parent

project = "pytorch_minimize"
author = "The pytorch_minimize authors"
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
    "plot_gallery": os.environ.get("GALLERY", "1") == "1",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "min_reported_time": 1e9,
    "within_subsection_order": "FileNameSortKey",
}
