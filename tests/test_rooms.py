"""The rooms of the package (docs/architecture.md): imports go one way, downwards."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytorch_minimize

PACKAGE = Path(pytorch_minimize.__file__).parent
NAME = PACKAGE.name
NOTE = re.compile(r"Note \[([a-z0-9' ]+)\]")

# From the roof to the ground. Rooms of one floor do not import each other; a room that is only
# planned may stand here. What lies in no folder and is not on the ground is the face.
FLOORS = (
    ("the face",),
    ("scipy_global", "multistart", "least_squares"),
    ("scipy_minimize",),
    ("solvers",),
    ("run",),
    ("region",),
    ("problem",),
    ("curvature",),
    ("closure",),
    ("distributed",),
    ("bridge",),
    ("record",),
    ("the ground",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
GROUND = (
    *(
        "_C",
        "_C_testing",
        "extension",
        "kinds",
        "rebuild",
        "row",
        "settings",
        "signatures",
        "typing",
    ),
    "wording",
)


MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def room_of(module: str) -> str:
    """The room of a module of the package, or of a name in it, without the package's name."""
    first = module.partition(".")[0]
    if (PACKAGE / first).is_dir():
        return first
    return "the ground" if first in GROUND else "the face"


def imported(module: str) -> Iterator[str]:
    """What a module imports of the package, wherever in it, for type checkers as well."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [NAME, *module.split(".")][: -node.level] if node.level else []
            base += [node.module] if node.module else []
            # What is imported from a folder may be one of its modules.
            names = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith(f"{NAME}."):
                yield name.removeprefix(f"{NAME}.")


def upwards() -> dict[str, set[str]]:
    """The rooms that each module must not import, and does."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for module in MODULES:
        own = room_of(module)
        for name in imported(module):
            room = room_of(name)
            if room != own and FLOOR[room] <= FLOOR[own]:
                found[module].add(room)
    return dict(found)


def test_every_folder_is_a_room_and_says_what_it_holds() -> None:
    folders = {path.parent.name for path in PACKAGE.rglob("__init__.py")} - {NAME}
    assert folders <= FLOOR.keys()
    for folder in folders:
        tree = ast.parse((PACKAGE / folder / "__init__.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), folder


def test_imports_go_one_way() -> None:
    assert upwards() == {}


@pytest.mark.parametrize(
    ("module", "room"),
    [("bridge.vectors", "bridge"), ("optim", "the face"), ("_C.ParameterBridge", "the ground")],
)
def test_the_room_of_a_module(module: str, room: str) -> None:
    assert room_of(module) == room


def test_an_import_upwards_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "vectors.py"
    path.write_text("def late():\n    from ..run import watch\n    from ..typing import Array\n")
    monkeypatch.setitem(MODULES, "bridge.vectors", path)
    assert upwards()["bridge.vectors"] == {"run"}


def test_the_page_names_every_room_that_is_there() -> None:
    page = Path(__file__).parent.parent / "docs" / "architecture.md"
    if not page.exists():
        pytest.skip("docs/architecture.md is not beside these tests")
    text = page.read_text(encoding="utf-8")
    rooms = {room_of(module) for module in MODULES} - {"the face", "the ground"}
    assert {room for room in rooms if f"`{room}/`" not in text} == set()


def test_every_note_is_defined_once() -> None:
    root = Path(__file__).parent.parent
    page = root / "docs" / "architecture.md"
    if not page.exists():
        pytest.skip("docs/architecture.md is not beside these tests")
    defined = re.findall(r"^- \*\*\[([a-z0-9' ]+)\]\*\*", page.read_text("utf-8"), re.MULTILINE)
    assert len(defined) == len(set(defined))
    cited = set()
    for folder in ("pytorch_minimize", "csrc", "tests"):
        for path in sorted((root / folder).rglob("*.*")):
            if path.suffix in (".py", ".h", ".cpp", ".cu"):
                cited |= set(NOTE.findall(path.read_text(encoding="utf-8")))
    assert cited <= set(defined)
