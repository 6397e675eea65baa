"""What is shipped: everything is in the sdist, and the wheel made from it works elsewhere."""

from __future__ import annotations

import email
import subprocess
import tarfile
import zipfile
from email.message import Message
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from shipped import ROOT, Shipped, call_backend, copy_of_the_tree, run, ship

import pytorch_minimize

pytestmark = pytest.mark.skipif(
    not (ROOT / "setup.py").exists(), reason="setup.py is not there: an installed package"
)

FIT = """
import torch
from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize import _C

x = torch.nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
optimizer = MinimizeWrapper([x], dict(method="L-BFGS-B"))
optimizer.step(lambda: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2)
assert optimizer.res.success and type(optimizer.bridge) is _C.ParameterBridge
torch.testing.assert_close(x.detach(), torch.ones_like(x), rtol=1e-3, atol=0)
print(_C.__file__)
"""


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    return ship(tmp_path_factory.mktemp("shipped"))


def requirements(metadata: Message) -> set[str]:
    """Those of the package itself, extras aside."""
    stated = metadata.get_all("Requires-Dist") or []
    return {requirement for requirement in stated if ";" not in requirement}


def test_the_sdist_is_the_whole_source_tree(shipped: Shipped) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout, whose files git could list")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    expected = {path for path in listed.stdout.splitlines() if (ROOT / path).exists()}
    with tarfile.open(shipped.sdist) as archive:
        files = {Path(member.name) for member in archive if member.isfile()}
    assert expected <= {str(Path(*path.parts[1:])) for path in files}


def test_the_sdist_leaves_the_torch_to_the_wheel(shipped: Shipped) -> None:
    with tarfile.open(shipped.sdist) as archive:
        (name,) = (name for name in archive.getnames() if name.count("/") == 1 and "PKG" in name)
        stated = archive.extractfile(name)
        assert stated is not None
        metadata = email.message_from_bytes(stated.read())
    assert "torch>=2.10" in requirements(metadata)
    assert "requires-dist" in [name.lower() for name in metadata.get_all("Dynamic") or []]


def test_the_wheel_has_the_package_and_one_extension(shipped: Shipped) -> None:
    with zipfile.ZipFile(shipped.wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = ROOT / "pytorch_minimize"
    sources = {
        str(path.relative_to(ROOT)) for path in package.rglob("*") if path.suffix in (".py", ".pyi")
    }
    assert names >= sources | {"pytorch_minimize/py.typed"}
    (extension,) = names - sources - {"pytorch_minimize/py.typed"}
    assert extension.startswith("pytorch_minimize/_C.")


def test_the_wheel_requires_the_torch_that_it_was_built_for(shipped: Shipped) -> None:
    with zipfile.ZipFile(shipped.wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    (of_torch,) = (line for line in requirements(metadata) if line.startswith("torch"))
    assert of_torch == f"torch=={version('torch')}"
    assert metadata["Version"] == pytorch_minimize.__version__


def test_the_wheel_fits_elsewhere(shipped: Shipped, tmp_path: Path) -> None:
    extension = Path(run([shipped.python, "-c", FIT], tmp_path).strip())
    assert extension.is_relative_to(shipped.python.parents[1])


def test_the_wheel_under_another_torch_says_how_to_build_it(
    shipped: Shipped, tmp_path: Path
) -> None:
    code = """
import torch
torch.__version__ = "2.0.1"
try:
    import pytorch_minimize
except ImportError as error:
    print(error)
"""
    message = run([shipped.python, "-c", code], tmp_path)
    assert f"built for torch {torch.__version__}, but torch 2.0.1 is running" in message
    sdist = shipped.sdist.name
    assert message.endswith(f"--no-deps --no-cache-dir --no-build-isolation {sdist}\n")


def test_without_the_extension_any_torch_will_do(tmp_path: Path) -> None:
    """Which is how the Makefile installs the source tree, to compile it in place."""
    tree = copy_of_the_tree(tmp_path)
    hook = "prepare_metadata_for_build_editable"
    made = call_backend(hook, tree, tmp_path / "metadata", EXTENSION="0")
    metadata = email.message_from_bytes((made / "METADATA").read_bytes())
    assert "torch>=2.10" in requirements(metadata)
