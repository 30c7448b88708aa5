"""voc-det on a real GPU: every precision trains, a resumed run goes on as one that was not stopped."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bench.core.errors import Stopped
from tests.transfer.engines.test_detectron2 import make_job, run
from transfer.api import Job
from transfer.engines import load_engine
from transfer.engines import train as training_room

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]


def losses(job: Job) -> list[float]:
    with open(job.run_dir / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [sum(float(row[name]) for name in row if name.startswith("loss")) for row in rows]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_trains(tmp_path: Path, voc: Path, checkpoint: Path, precision: str) -> None:
    job = make_job(tmp_path, voc, f"solver.precision='{precision}'", checkpoint=str(checkpoint))
    output = run(job)
    assert output.details["verified"]["largest_feature_difference"] <= 1e-5
    assert all(0.0 <= value <= 100.0 for value in output.metrics.values())
    assert all(value == value for value in losses(job))


def test_a_resumed_run_goes_on(
    tmp_path: Path, voc: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = make_job(tmp_path, voc, "solver.precision='fp32'", checkpoint=str(checkpoint))
    real = training_room.train

    def stop_soon(training, loader, state, stop):  # type: ignore[no-untyped-def]
        short = replace(training, iterations=3)
        real(short, loader, state, stop)
        raise Stopped("after 3")

    with monkeypatch.context() as patch:
        patch.setattr("transfer.engines.trial.train", stop_soon)
        with pytest.raises(Stopped):
            run(stopped)
    saved = load_file(stopped.run_dir / "checkpoints" / "step-00000003" / "tensors.safetensors")
    loaded: list[bool] = []

    def compare_first(training, loader, state, stop):  # type: ignore[no-untyped-def]
        assert state.iteration == 3
        for name, value in training.model.state_dict().items():
            loaded.append(torch.equal(value.cpu(), saved[f"model.{name}"]))
        for index, entry in training.optimizer.state_dict()["state"].items():
            loaded.append(torch.equal(entry["momentum_buffer"].cpu(), saved[f"momentum.{index}"]))
        real(training, loader, state, stop)

    # CUDA's sums have no fixed order, so the end is not compared bit for bit; the state that goes on is.
    monkeypatch.setattr("transfer.engines.trial.train", compare_first)
    run(replace(stopped, resume=True))
    assert len(loaded) > 500
    assert all(loaded)
    assert len(losses(stopped)) == 6


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_is_estimated(tmp_path: Path, voc: Path, precision: str) -> None:
    """fp16's loss scaler refuses an update without a step before it."""
    job = make_job(tmp_path, voc, f"solver.precision='{precision}'")
    before = torch.cuda.memory_reserved()
    found = load_engine("detectron2").estimate_job(job)
    assert found.train_seconds > 0 and found.device_bytes is not None
    assert torch.cuda.memory_reserved() <= before, "the training that follows needs it"
