"""Real MMSegmentation at toy size: the proof of loading, every head, exact resume, stops."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bench.core.errors import DivergedError, EngineError, Stopped
from tests.helpers.engine import options, semseg
from tests.transfer.engines.test_detectron2 import StopAfter
from transfer.api import Job, Output
from transfer.engines import load_engine
from transfer.engines import train as training_room
from transfer.engines.mmseg.engine import _config
from transfer.engines.mmseg.model import build_segmentor
from transfer.metrics.label_result import unpack
from transfer.run import make_plan

TOY = (
    "solver.iterations=4",
    "solver.images_per_batch=2",
    "input.train_scale_px=[256, 64]",
    "input.test_scale_px=[256, 64]",
    "input.crop_px=64",
    "run.checkpoint_iterations=2",
)
STEPS = ("solver.schedule.steps=[2, 3]",)
FCN, UPERNET, SEMFPN = "voc12aug-fcn-moco", "ade20k-upernet-160k", "ade20k-semfpn-80k"
HEADS = {
    FCN: (*STEPS, "model.decode_head.channels=32"),
    UPERNET: ("model.decode_head.channels=32",),
    SEMFPN: ("model.decode_head.channels=32",),
}


def make_job(
    tmp_path: Path, voc: Path, *overrides: str, slug: str = FCN, checkpoint: str = "random", **changes: Any
) -> Job:
    asked = options(
        tmp_path,
        voc,
        checkpoint=checkpoint,
        protocol=slug,
        overrides=(*TOY, *HEADS.get(slug, ()), *overrides),
    )
    return replace(make_plan(semseg(), asked).job(0), run_dir=tmp_path / "run", **changes)


def run(job: Job) -> Output:
    return load_engine("mmseg").run_job(job)


def final_tensors(job: Job) -> dict[str, torch.Tensor]:
    return load_file(job.run_dir / "checkpoints" / "step-00000004" / "tensors.safetensors")


@pytest.fixture(
    scope="module", params=[FCN, *(pytest.param(head, marks=pytest.mark.slow) for head in (UPERNET, SEMFPN))]
)
def straight(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, voc: Path, checkpoint: Path
) -> tuple[Job, Output]:
    """A run of each head that nothing stops."""
    folder = tmp_path_factory.mktemp("straight")
    job = make_job(folder, voc, slug=request.param, checkpoint=str(checkpoint))
    return job, run(job)


def test_weights_arrive_and_are_proven(straight: tuple[Job, Output]) -> None:
    job, output = straight
    verified = output.details["verified"]
    assert verified["backbone"].startswith("265 of 265")
    assert verified["largest_feature_difference"] <= 1e-5
    assert any(name.startswith("decode_head") for name in verified["new_layers"])
    assert {name.split(".")[0] for name in verified["new_layers"]} <= {
        "decode_head",
        "auxiliary_head",
        "neck",
    }
    assert set(output.metrics) == {"mIoU", "pixel_accuracy", "mean_accuracy"}
    assert all(0.0 <= value <= 100.0 for value in output.metrics.values())
    for name in ("weights.pth", "mmseg.py", "train-1.txt", "test-1.txt"):
        assert (job.run_dir / name).is_file()
    assert len((job.run_dir / "log.csv").read_text().splitlines()) == 5


def test_everything_trains(straight: tuple[Job, Output]) -> None:
    """Nothing is frozen: each parameter has moved, down to the stem."""
    job, _ = straight
    assert job.protocol.task == "semseg"
    start, _ = build_segmentor(_config(job), job.protocol.model, job.weights, seed=job.seed)  # type: ignore[arg-type]
    after = final_tensors(job)
    still = [
        name
        for name, value in start.named_parameters()
        if torch.equal(after[f"model.{name}"], value.detach())
    ]
    assert not still


def test_a_resumed_run_is_the_run_that_was_not_stopped(
    tmp_path: Path,
    voc: Path,
    checkpoint: Path,
    straight: tuple[Job, Output],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the last bit of weights, running statistics, momentum, losses and kept counts.

    The rate falls after the stop: MMEngine's own state of a schedule does not survive JSON.
    """
    expected_job, expected = straight
    slug = expected_job.protocol.slug
    job = make_job(tmp_path, voc, "run.num_workers=1", slug=slug, checkpoint=str(checkpoint))
    real = training_room.train
    with monkeypatch.context() as patch:
        patch.setattr(
            "transfer.engines.trial.train",
            lambda training, loader, state, stop: real(
                training, StopAfter(loader, 1, signal.SIGTERM), state, stop
            ),
        )
        with pytest.raises(Stopped):
            run(job)
    assert (job.run_dir / "checkpoints" / "step-00000001").is_dir()
    output = run(replace(job, resume=True))
    ours, theirs = final_tensors(job), final_tensors(expected_job)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert output.metrics == expected.metrics
    assert output.predictions == expected.predictions
    log = (job.run_dir / "log.csv").read_text()
    assert log == (expected_job.run_dir / "log.csv").read_text()
    rates = [float(line.split(",")[1]) for line in log.splitlines()[1:]]
    assert rates[-1] < rates[1]
    if slug == FCN:
        assert rates == pytest.approx([0.003, 0.003, 0.0003, 0.00003])


def test_the_kept_file_makes_the_number_again(straight: tuple[Job, Output]) -> None:
    job, output = straight
    assert output.predictions is not None
    kept = unpack(output.predictions.data, output.predictions.sha256, "kept")
    again = semseg().measure(job.data, kept, job.protocol)
    assert again.metrics == output.metrics
    assert [image.image_id for image in job.data.test] == list(kept.image_ids)
    assert len(kept.samples) == len(job.data.test), "few enough to keep all"


def test_accumulation_reaches_the_model(tmp_path: Path, voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transfer.engines.mmseg.repairs import load_mmseg

    load_mmseg()
    from mmseg.models import EncoderDecoder

    job = make_job(
        tmp_path, voc, "solver.images_per_batch=4", "solver.accumulation_steps=2", "solver.iterations=2",
        "solver.schedule.steps=[1]",
    )  # fmt: skip
    sizes: list[int] = []
    real = EncoderDecoder.loss

    def loss(self: Any, inputs: Any, samples: Any) -> Any:
        sizes.append(len(inputs))
        return real(self, inputs, samples)

    monkeypatch.setattr(EncoderDecoder, "loss", loss)
    run(job)
    assert sizes == [2] * 4


def test_a_run_that_diverges_says_where(tmp_path: Path, voc: Path) -> None:
    job = make_job(
        tmp_path, voc, "solver.learning_rate=100.0", "solver.weight_decay=1.0", "solver.iterations=40",
        "solver.schedule.steps=[39]", "solver.precision='fp32'",
    )  # fmt: skip
    with pytest.raises(DivergedError, match=r"iteration \d.*images .*learning rate"):
        run(job)


def test_scores_that_are_not_finite_are_no_result(
    tmp_path: Path, voc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Argmax of nan is 0, the background: a number would come out."""
    from transfer.engines.mmseg.repairs import load_mmseg

    load_mmseg()
    from mmseg.models import EncoderDecoder

    job = make_job(tmp_path, voc, "solver.iterations=1", "solver.schedule.steps=[]")
    real = EncoderDecoder.whole_inference
    monkeypatch.setattr(
        EncoderDecoder, "whole_inference", lambda self, *values: real(self, *values) * float("nan")
    )
    with pytest.raises(EngineError, match="not finite"):
        run(job)
