"""The config, the lists and the `.pth` of a run train and test in stock MMSegmentation, by its own tools."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.helpers.often import often
from tests.transfer.engines.test_segmentors import FCN, SEMFPN, UPERNET, make_job, run

# A test has no time for more; with a rate of 0, what was loaded is what is saved.
OPTIONS = (
    "train_cfg.max_iters=2",
    "train_cfg.val_interval=2",
    "optim_wrapper.optimizer.lr=0",
    *(f"{loader}_dataloader.num_workers=0" for loader in ("train", "val", "test")),
)


@pytest.mark.slow
@pytest.mark.parametrize("slug", often([FCN, UPERNET, SEMFPN], [FCN]))
def test_the_stock_tools_take_our_files(
    tmp_path: Path, voc: Path, checkpoint: Path, slug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mmseg

    job = make_job(tmp_path, voc, "solver.precision='fp32'", slug=slug, checkpoint=str(checkpoint))
    # As with the default --out: a relative folder, and another one to start MMSegmentation from.
    monkeypatch.chdir(tmp_path)
    job = replace(job, run_dir=Path("runs") / "mine")
    ours = run(job)
    folder, out = tmp_path / job.run_dir, tmp_path / "out"
    tool = Path(str(mmseg.__file__)).parent / ".mim" / "tools" / "train.py"
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            str(tool),
            str(folder / "mmseg.py"),
            "--work-dir",
            str(out),
            "--cfg-options",
            *OPTIONS,
            *([] if slug == FCN else ["param_scheduler.0.eta_min=0"]),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    assert f"Iter(val) [{len(job.data.test)}/{len(job.data.test)}]" in said
    assert "mIoU: " in said
    saved = torch.load(out / "iter_2.pth", map_location="cpu", weights_only=False)["state_dict"]
    assert job.weights is not None
    learnt = [name for name in job.weights.tensors if "running" not in name]
    assert len(learnt) > 150
    for name in learnt:
        assert torch.equal(saved[f"backbone.{name}"], torch.from_numpy(job.weights.tensors[name])), name
    heads = {name.split(".")[0] for name in saved} - {"backbone"}
    assert heads == {name.split(".")[0] for name in ours.details["verified"]["new_layers"]}
