"""What an import under another torch advises, by how the package came to be there."""

from __future__ import annotations

import json
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from pytorch_minimize import rebuild
from pytorch_minimize.rebuild import how_to_rebuild

REINSTALL = "pip install --force-reinstall --no-deps --no-cache-dir --no-build-isolation"


class Installed(Distribution):
    """A distribution that pip installed from `origin`, as PEP 610 records it."""

    def __init__(self, origin: dict[str, Any] | None) -> None:
        self.origin_text = None if origin is None else json.dumps(origin)

    def read_text(self, filename: str) -> str | None:
        return self.origin_text if filename == "direct_url.json" else None

    def locate_file(self, path: Any) -> Any:
        raise AssertionError("nothing else of the distribution is asked for")


@pytest.fixture
def installed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rebuild, "__file__", str(tmp_path / "pytorch_minimize" / "rebuild.py"))
    return tmp_path


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        (None, "--no-binary=:all: pytorch-minimize-bridge"),
        ({"url": "file:///src/p", "dir_info": {}}, "file:///src/p"),
        ({"url": "file:///my%20src/p-1.tar.gz", "archive_info": {}}, "file:///my%20src/p-1.tar.gz"),
        ({"url": "file:///w/a_b-1.0-cp311-x-y.whl", "archive_info": {}}, "a_b-1.0.tar.gz"),
        (
            {"url": "https://host/p.git", "vcs_info": {"vcs": "git", "commit_id": "abc123"}},
            "git+https://host/p.git@abc123",
        ),
    ],
    ids=["index", "folder", "sdist", "wheel", "git"],
)
def test_an_installed_package_is_built_from_where_it_came_from(
    origin: dict[str, Any] | None,
    source: str,
    installed_in: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rebuild, "distribution", lambda name: Installed(origin))
    assert how_to_rebuild() == f"from its source: {REINSTALL} {source}"


def test_a_copied_folder_has_no_record(installed_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def distribution(name: str) -> Distribution:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(rebuild, "distribution", distribution)
    assert (
        how_to_rebuild()
        == f"from its source: {REINSTALL} --no-binary=:all: {rebuild._DISTRIBUTION}"
    )


def test_a_source_tree_is_built_in_place(installed_in: Path) -> None:
    (installed_in / "csrc").mkdir()
    (installed_in / "setup.py").touch()
    command = "python setup.py build_ext --inplace --force"
    assert how_to_rebuild() == f"in the source tree {installed_in}: {command}"
