"""What to do about an extension that does not fit the torch that is running.

An extension fits one torch, and how it came here says how to build it for another.
"""

from __future__ import annotations

import json
import shlex
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

__all__ = ["how_to_rebuild"]

_DISTRIBUTION = "pytorch-minimize-bridge"

# Without the cache, where pip keeps the wheel that it has built, which fits the torch of that day.
_REINSTALL = "pip install --force-reinstall --no-deps --no-cache-dir --no-build-isolation"


def how_to_rebuild() -> str:
    """A sentence's end: where the package lies, and the command that builds it there."""
    tree = Path(__file__).parents[1]
    if (tree / "setup.py").exists() and (tree / "csrc").exists():
        # By force, because without ninja an extension that is newer than its sources is kept.
        return f"in the source tree {tree}: python setup.py build_ext --inplace --force"
    return f"from its source: {_REINSTALL} {_source()}"


def _source() -> str:
    """Where pip had the package from, as it takes it again."""
    try:
        recorded = distribution(_DISTRIBUTION).read_text("direct_url.json")
    except PackageNotFoundError:  # a copy of the folder
        recorded = None
    if recorded is None:  # from an index, whose wheels may be for other torches as well
        return f"--no-binary=:all: {_DISTRIBUTION}"
    origin = json.loads(recorded)
    if origin["url"].endswith(".whl"):  # it was built elsewhere; the source has this name
        name, version = Path(origin["url"]).name.split("-")[:2]
        return f"{name}-{version}.tar.gz"
    if "vcs_info" in origin:
        revision = origin["vcs_info"]
        return shlex.quote(f"{revision['vcs']}+{origin['url']}@{revision['commit_id']}")
    return shlex.quote(origin["url"])
