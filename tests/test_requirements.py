"""What the package imports is declared, and what is pinned exists for each Python it names."""

from __future__ import annotations

import ast
import contextlib
import importlib.metadata
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from setuptools.config.pyprojecttoml import read_configuration

import pytorch_minimize

ROOT = Path(__file__).parent.parent
PROJECT = ROOT / "pyproject.toml"
PACKAGE = Path(pytorch_minimize.__file__).parent

pytestmark = pytest.mark.skipif(not PROJECT.exists(), reason="not a source tree")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """As setuptools reads it, since Python 3.10 has nothing of its own that reads TOML."""
    project: dict[str, Any] = read_configuration(PROJECT, expand=False)["project"]
    return project


@pytest.fixture
def pythons(project: dict[str, Any]) -> list[str]:
    found = re.findall(r":: Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert found
    return found


@pytest.fixture
def required(project: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[Requirement]:
    """What the package and its extras require, from the sources: what is installed may be older."""
    told: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **keywords: told.update(keywords))
    monkeypatch.setenv("EXTENSION", "0")
    runpy.run_path(str(ROOT / "setup.py"))
    extras = project["optional-dependencies"].values()
    return [Requirement(line) for lines in (told["install_requires"], *extras) for line in lines]


def pins_for(python: str) -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    here = {"python_version": python}
    return [pin for pin in pins if pin.marker is None or pin.marker.evaluate(here)]


def version_of(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "==", f"{pin} is no pin"
    return specifier.version


def imported() -> Iterator[str]:
    """Top-level modules that any module of the package imports, wherever in it."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
                yield node.module.split(".")[0]


def test_every_import_is_declared(required: list[Requirement]) -> None:
    declared = {canonicalize_name(requirement.name) for requirement in required}
    provided = importlib.metadata.packages_distributions()
    peers = {"torchmin", "autograd_minimize", "botorch"}  # what the report compares with
    others = set(imported()) - sys.stdlib_module_names - {PACKAGE.name, *peers}
    for module in others:
        names = {canonicalize_name(name) for name in provided[module]}
        assert names & declared, f"{module} is imported, but none of {names} is declared"


def test_the_oldest_python_is_the_required_one(project: dict[str, Any], pythons: list[str]) -> None:
    assert project["requires-python"] == f">={pythons[0]}"


def test_each_python_has_one_pin_for_each_requirement(
    required: list[Requirement], pythons: list[str]
) -> None:
    for python in pythons:
        pinned: dict[str, str] = {}
        for pin in pins_for(python):
            name = canonicalize_name(pin.name)
            assert name not in pinned, f"{name} is pinned twice for Python {python}"
            pinned[name] = version_of(pin)
        for requirement in required:
            version = pinned.get(canonicalize_name(requirement.name))
            assert version is not None, f"{requirement} is not pinned for Python {python}"
            assert requirement.specifier.contains(version), f"{requirement} on Python {python}"


def test_what_is_pinned_for_a_python_is_made_for_it(pythons: list[str]) -> None:
    """As far as what is installed here tells: where it is the very release that is pinned."""
    for python in pythons:
        for pin in pins_for(python):
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                here = importlib.metadata.distribution(pin.name)
                if here.version.split("+")[0] == version_of(pin):
                    made_for = SpecifierSet(here.metadata["Requires-Python"] or "")
                    assert made_for.contains(f"{python}.99"), f"{pin} on Python {python}"
