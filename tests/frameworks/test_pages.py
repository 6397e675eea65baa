"""Every example of docs/frameworks runs, with the framework that it is of.

`make test-frameworks` installs them; where one is missing its page is skipped.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "frameworks"
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


class Page(NamedTuple):
    """One page.

    Attributes:
        module: that it needs; "" for none.
        check: what must hold after its examples.
        processes: in so many it runs at once; one run for each number.
    """

    module: str
    check: str
    processes: tuple[int, ...] = (1,)


CONVERGED = "assert optimizer.res.success, optimizer.res"
CASES = {
    "index": Page("", CONVERGED),
    "lightning": Page(
        "lightning",
        """
import csv, pathlib
assert model.optimizers().res.success and model.optimizers().res.fun < 1e-5
(metrics,) = pathlib.Path(".").rglob("metrics.csv")
rows = [float(row["loss"]) for row in csv.DictReader(metrics.open())]
assert rows == logged.optimizers().history.loss.tolist() and len(rows) > 10
steps = epochs.optimizers().history.segments
assert 2 < len(steps) <= 50 and epochs.optimizers().res.fun < 1e-5
saved = torch.load("fit.ckpt", weights_only=True)["optimizer_states"][0]["run"]
assert "hess_inv" in saved and saved["loss"] == epochs.optimizers().history.loss.min()
again = Epochs()
trainer = L.Trainer(max_epochs=len(steps) + 1, accelerator="cpu", **quiet)
trainer.fit(again, DataLoader(data, batch_size=len(data)), ckpt_path="fit.ckpt")
assert len(again.optimizers().history.segments) == len(steps) + 1
assert again.optimizers().res.fun <= saved["loss"]
class Checked(Fit):
    def configure_optimizers(self):
        return MinimizeWrapper(self.parameters(), dict(method="BFGS"), check_closure=True)
trainer = L.Trainer(max_epochs=1, accelerator="cpu", gradient_clip_val=0.01, **quiet)
try:
    trainer.fit(Checked(), DataLoader(data, batch_size=len(data)))
except RuntimeError as error:
    assert "clipped" in str(error)
else:
    raise AssertionError("the clipped gradient was not noticed")
""",
    ),
    "gpytorch": Page("gpytorch", CONVERGED + "; assert 0.003 < likelihood.noise.item() < 0.03"),
    "botorch": Page(
        "botorch",
        CONVERGED
        + """
from botorch.fit import fit_gpytorch_mll
other = SingleTaskGP(inputs, torch.sin(6 * inputs.sum(1, keepdim=True)))
theirs = ExactMarginalLogLikelihood(other.likelihood, other)
fit_gpytorch_mll(theirs)
theirs.train()
assert optimizer.res.fun <= get_loss_closure(theirs)().item() + 1e-4
""",
    ),
    "deepxde": Page(
        "deepxde",
        """
assert losses.metrics_test[-1][0] < 1e-4, losses.metrics_test
assert len(optimizer.history.segments) == 8
assert np.isclose(np.sum(losses.loss_train[-1]), optimizer.res.fun, rtol=1e-6)
""",
    ),
    "skorch": Page(
        "skorch",
        """
assert net.optimizer_.res.fun < 1e-2
assert search.best_params_["module__width"] in (2, 8)
net.save_params(f_optimizer="optimizer.pt")
net.load_params(f_optimizer="optimizer.pt")
""",
    ),
    "pyro": Page(
        "pyro",
        CONVERGED
        + """
assert abs(guide.median()["mean"] - data.mean()) < 0.1
assert fitted.res.success and abs(normal.median()["mean"] - data.mean()) < 0.1
""",
    ),
    "accelerate": Page("accelerate", CONVERGED, processes=(1, 2)),
    "torch_geometric": Page("torch_geometric", "assert optimizer.res.fun < 0.5, optimizer.res"),
    "ddp": Page("", CONVERGED + "; assert again.res.fun <= optimizer.res.fun", processes=(2,)),
}


def run(script: Path, processes: int) -> None:
    """The script as users start it, in a folder of its own."""
    many = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes))
    command = [sys.executable, *(many if processes > 1 else ()), str(script)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    settings = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(
        command,
        cwd=script.parent,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.mark.parametrize("name", CASES)
def test_the_examples_run(name: str, tmp_path: Path) -> None:
    if not PAGES.exists():
        pytest.skip("docs/frameworks is not beside these tests")
    page = CASES[name]
    if page.module and importlib.util.find_spec(page.module) is None:
        pytest.skip(f"{page.module} is not installed: make test-frameworks")
    blocks = _BLOCK.findall((PAGES / f"{name}.md").read_text(encoding="utf-8"))
    assert blocks
    script = tmp_path / "fit.py"
    script.write_text("\n".join([*blocks, page.check]), encoding="utf-8")
    for processes in page.processes:
        run(script, processes)


def test_lightning_in_two_processes(tmp_path: Path) -> None:
    """Its first example, changed as the page says."""
    pytest.importorskip("lightning", reason="not installed: make test-frameworks")
    code, *_ = _BLOCK.findall((PAGES / "lightning.md").read_text(encoding="utf-8"))
    for old, new in (
        ('dict(method="L-BFGS-B"))', 'dict(method="L-BFGS-B"), distributed=True)'),
        ('accelerator="cpu"', 'accelerator="cpu", devices=2, strategy="ddp"'),
        ("batch_size=len(data)", "batch_size=len(data) // 2"),
    ):
        assert code.count(old) == 1
        code = code.replace(old, new)
    check = """
optimizer, (inputs, targets) = model.optimizers(), data.tensors
with torch.no_grad():
    loss = nn.functional.mse_loss(model.net(inputs), targets).item()
assert optimizer.res.success and abs(loss / optimizer.res.fun - 1) < 1e-9, (loss, optimizer.res)
"""
    script = tmp_path / "fit.py"
    script.write_text(code + check, encoding="utf-8")
    run(script, 1)


def test_every_page_is_run() -> None:
    if not PAGES.exists():
        pytest.skip("docs/frameworks is not beside these tests")
    assert {path.stem for path in PAGES.glob("*.md")} == CASES.keys()
