"""Real Detectron2 at toy size: the proof of loading, exact resume, stops, and the evaluator."""

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bench.core.errors import CheckpointError, DivergedError, EngineError, Stopped, WeightsError
from tests.helpers.engine import options, voc_det
from transfer.adapters.load import load_backbone
from transfer.api import Job, Output
from transfer.data.voc import VocDataset, truth_of
from transfer.engines import load_engine
from transfer.engines import train as training_room
from transfer.engines.detectron2.evaluate import detect
from transfer.engines.detectron2.model import build_config, build_detector
from transfer.metrics.voc_result import measure
from transfer.run import make_plan

TOY = (
    "solver.iterations=6",
    "solver.steps=[4]",
    "solver.warmup_iterations=2",
    "solver.images_per_batch=2",
    "solver.precise_bn_iterations=2",
    "input.train_short_sides_px=[64, 96]",
    "input.test_short_side_px=64",
    "model.anchor_sizes_px=[32]",
    "model.rpn_post_nms_train=20",
    "model.rpn_post_nms_test=8",
    "model.roi_batch_per_image=8",
    "model.roi_pool_resolution=4",
    "run.checkpoint_iterations=3",
)


def make_job(
    tmp_path: Path,
    voc: Path,
    *overrides: str,
    checkpoint: str = "random",
    protocol: str = "voc0712-r50c4-24k",
    **changes: Any,
) -> Job:
    asked = options(tmp_path, voc, checkpoint=checkpoint, protocol=protocol, overrides=(*TOY, *overrides))
    return replace(make_plan(voc_det(), asked).job(0), run_dir=tmp_path / "run", **changes)


def run(job: Job) -> Output:
    return load_engine("detectron2").run_job(job)


def final_tensors(job: Job) -> dict[str, torch.Tensor]:
    return load_file(job.run_dir / "checkpoints" / "step-00000006" / "tensors.safetensors")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, voc: Path, checkpoint: Path) -> tuple[Job, Output]:
    """A run that nothing stops."""
    job = make_job(tmp_path_factory.mktemp("straight"), voc, checkpoint=str(checkpoint))
    return job, run(job)


def test_weights_arrive_and_are_proven(straight: tuple[Job, Output]) -> None:
    job, output = straight
    assert output.details["verified"]["backbone"].startswith("265 of 265")
    assert output.details["verified"]["largest_feature_difference"] == 0.0
    assert "roi_heads.res5.norm" in output.details["verified"]["new_layers"]
    assert set(output.metrics) == {"AP", "AP50", "AP75"}
    assert all(0.0 <= value <= 100.0 for value in output.metrics.values())
    assert (job.run_dir / "weights.pkl").is_file()
    assert (job.run_dir / "detectron2.yaml").is_file()
    assert len((job.run_dir / "log.csv").read_text().splitlines()) == 7


def test_everything_trains(straight: tuple[Job, Output]) -> None:
    """Nothing is frozen: each parameter has moved, down to the stem."""
    job, _ = straight
    cfg = build_config({"MODEL.WEIGHTS": "", **_entries(job)}, "cpu")
    start, _ = build_detector(cfg, job.weights, seed=job.seed)
    after = final_tensors(job)
    still = [
        name
        for name, value in start.named_parameters()
        if torch.equal(after[f"model.{name}"], value.detach())
    ]
    assert not still


def _entries(job: Job) -> dict[str, Any]:
    from transfer.adapters.detectron2_config import detectron2_config

    assert isinstance(job.data, VocDataset)
    return detectron2_config(
        job.protocol,
        job.card.input,
        num_classes=len(job.data.classes),
        train_names=("a",),
        test_name="b",
        weights_file="",
        seed=job.seed,
    )


class StopAfter:
    """A loader that sends this process a signal while it hands out a given batch."""

    def __init__(self, loader: Iterator[Any], batch: int, number: signal.Signals) -> None:
        self.loader, self.left, self.number = loader, batch, number

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)
        return next(self.loader)


@pytest.mark.parametrize(
    ("number", "batch", "num_workers"),
    [
        pytest.param(signal.SIGTERM, 2, 0, marks=pytest.mark.slow),
        (signal.SIGUSR1, 5, 1),
        pytest.param(signal.SIGINT, 3, 0, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_is_the_run_that_was_not_stopped(
    tmp_path: Path,
    voc: Path,
    checkpoint: Path,
    straight: tuple[Job, Output],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    batch: int,
    num_workers: int,
) -> None:
    assert threading.current_thread() is threading.main_thread()
    job = make_job(tmp_path, voc, f"run.num_workers={num_workers}", checkpoint=str(checkpoint))
    real = training_room.train
    with monkeypatch.context() as patch:
        patch.setattr(
            "transfer.engines.trial.train",
            lambda training, loader, state, stop: real(
                training, StopAfter(loader, batch, number), state, stop
            ),
        )
        with pytest.raises(Stopped) as stopped:
            run(job)
    assert stopped.value.exit_code == 75
    assert (job.run_dir / "checkpoints" / f"step-{batch:08d}").is_dir()

    output = run(replace(job, resume=True))
    expected_job, expected = straight
    ours, theirs = final_tensors(job), final_tensors(expected_job)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert output.metrics == expected.metrics
    assert (job.run_dir / "log.csv").read_text() == (expected_job.run_dir / "log.csv").read_text()


@pytest.mark.slow
def test_another_seed_is_another_run(tmp_path: Path, voc: Path, straight: tuple[Job, Output]) -> None:
    expected_job, _ = straight
    job = make_job(tmp_path, voc, weights=expected_job.weights, card=expected_job.card, seed=1)
    run(job)
    ours, theirs = final_tensors(job), final_tensors(expected_job)
    assert not torch.equal(
        ours["model.backbone.stem.conv1.weight"], theirs["model.backbone.stem.conv1.weight"]
    )


def test_a_checkpoint_of_another_run_is_refused(
    tmp_path: Path, voc: Path, straight: tuple[Job, Output]
) -> None:
    job, _ = straight
    other = replace(job, identity="0" * 64, resume=True)
    with pytest.raises(CheckpointError, match="another run"):
        run(other)


def test_a_checkpoint_of_other_software_is_refused(
    straight: tuple[Job, Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = straight
    monkeypatch.setattr("transfer.engines.training.package_versions", lambda: {"torch": "1.4.0"})
    with pytest.raises(CheckpointError, match=r"1\.4\.0"):
        run(replace(job, resume=True))


def test_a_signal_during_the_test_is_heard(
    tmp_path: Path, voc: Path, straight: tuple[Job, Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training is over and saved: the run stops, and only its test is done again."""
    job, expected = straight
    real = detect

    def signalled(*arguments: Any, **values: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **values)

    with monkeypatch.context() as patch:
        patch.setattr("transfer.engines.detectron2.engine.detect", signalled)
        with pytest.raises(Stopped):
            run(replace(job, resume=True))
    assert run(replace(job, resume=True)).metrics == expected.metrics


def test_precise_bn_comes_before_the_test_and_the_task_measures(
    straight: tuple[Job, Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, expected = straight
    calls: list[Any] = []

    def precise(*arguments: Any, **values: Any) -> None:
        calls.append((values["num_batches"], values["num_parts"]))

    def seen(*arguments: Any, **values: Any) -> Any:
        calls.append("detect")
        return detect(*arguments, **values)

    def measured(found: Any) -> Any:
        calls.append("measure")
        return job.measure(found)

    monkeypatch.setattr("transfer.engines.detectron2.engine.precise_bn", precise)
    monkeypatch.setattr("transfer.engines.detectron2.engine.detect", seen)
    output = run(replace(job, measure=measured, resume=True))
    assert calls == [(2, 1), "detect", "measure"]
    assert output.predictions != expected.predictions, "the statistics make a difference"


@pytest.mark.slow
def test_accumulation_reaches_the_model(tmp_path: Path, voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each update and each batch of precise BN goes through the detector in parts."""
    from detectron2.modeling import GeneralizedRCNN

    job = make_job(tmp_path, voc, "solver.images_per_batch=4", "solver.accumulation_steps=2")
    sizes: list[int] = []
    real = GeneralizedRCNN.forward

    def forward(self: Any, batch: list[Any]) -> Any:
        if self.training:
            sizes.append(len(batch))
        return real(self, batch)

    monkeypatch.setattr(GeneralizedRCNN, "forward", forward)
    run(job)
    solver = job.protocol.solver
    assert sizes == [2] * 2 * (solver.iterations + solver.precise_bn_iterations)


@pytest.mark.parametrize("slug", ["voc0712-r50c4-24k", "voc0712-r50fpn-24k"])
def test_a_run_that_really_diverges_says_where(tmp_path: Path, voc: Path, slug: str) -> None:
    """With such a rate it is Detectron2's RPN that meets boxes of nan first, in a forward pass."""
    anchors = ["model.anchor_sizes_px=[32, 32, 64, 64, 64]"] if "fpn" in slug else []
    job = make_job(
        tmp_path, voc, "solver.learning_rate=100.0", "solver.warmup_iterations=0", *anchors, protocol=slug
    )
    with pytest.raises(DivergedError, match=r"iteration \d.*images .*learning rate"):
        run(job)


def test_another_machine_is_said_and_recorded(
    straight: tuple[Job, Output], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job, expected = straight
    monkeypatch.setattr("transfer.engines.trial.hardware", lambda: {"cpu": "Another", "threads": "7"})
    output = run(replace(job, resume=True))
    assert "now on Another, 7 threads" in capsys.readouterr().err
    assert output.details["machine"]["machines"][1] == "Another, 7 threads"
    assert "machines" not in expected.details["machine"]
    assert output.metrics == expected.metrics


def test_a_loss_that_is_not_finite_stops_before_the_update(
    tmp_path: Path, voc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, voc)
    real = training_room._guard
    seen: list[int] = []

    def spoil(training: Any, state: Any, losses: Any, loss: Any, batch: Any) -> None:
        seen.append(state.iteration)
        if state.iteration == 4:
            next(iter(training.model.parameters())).grad.fill_(float("nan"))
        real(training, state, losses, loss, batch)

    monkeypatch.setattr(training_room, "_guard", spoil)
    with pytest.raises(DivergedError, match="iteration 5"):
        run(job)
    saved = sorted(path.name for path in (job.run_dir / "checkpoints").iterdir())
    assert saved == ["step-00000003"]
    tensors = load_file(job.run_dir / "checkpoints" / "step-00000003" / "tensors.safetensors")
    assert all(bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point())


def test_a_stride_in_the_wrong_place_is_found(tmp_path: Path, voc: Path, checkpoint: Path) -> None:
    """The silent failure: all shapes fit, other pixels are sampled."""
    job = make_job(tmp_path, voc, checkpoint=str(checkpoint))
    cfg = build_config({**_entries(job), "MODEL.RESNETS.STRIDE_IN_1X1": True}, "cpu")
    with pytest.raises(WeightsError, match=r"C3 differs"):
        build_detector(cfg, job.weights, seed=0)


@pytest.mark.parametrize("stride_in", ["3x3", "1x1"])
def test_features_equal_the_source_networks(
    tmp_path: Path, voc: Path, checkpoint: Path, stride_in: str
) -> None:
    job = make_job(tmp_path, voc, checkpoint=str(checkpoint))
    assert job.weights is not None
    spec = job.card.input.model_copy(update={"stride_in": stride_in})
    weights = replace(job.weights, card=job.card.model_copy(update={"input": spec}))
    cfg = build_config(_entries(replace(job, card=weights.card)), "cpu")
    _, verified = build_detector(cfg, weights, seed=0)
    assert verified["largest_feature_difference"] <= 1e-5


def test_a_tensor_that_did_not_arrive_is_found(
    tmp_path: Path, voc: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, voc, checkpoint=str(checkpoint))
    cfg = build_config(_entries(job), "cpu")
    weights = load_backbone(checkpoint)
    real = torch.nn.Module.load_state_dict

    def forget(self: torch.nn.Module, state: dict[str, Any], strict: bool = True) -> Any:
        state = {**state, "roi_heads.res5.2.conv3.weight": state["roi_heads.res5.2.conv3.weight"] + 1e-7}
        return real(self, state, strict)

    monkeypatch.setattr(torch.nn.Module, "load_state_dict", forget)
    with pytest.raises(WeightsError, match=r"layer4\.2\.conv3\.weight"):
        build_detector(cfg, weights, seed=0)


def test_detections_come_in_the_order_of_the_split(tmp_path: Path, voc: Path) -> None:
    """A detector that returns the ground truth has AP 100 on every class that is there."""
    from detectron2.structures import Boxes, Instances

    job = make_job(tmp_path, voc)
    data: VocDataset = job.data
    cfg = build_config(_entries(job), "cpu")
    truth = {image.image_id: image for image in data.test}

    class Perfect(torch.nn.Module):
        def forward(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
            image = truth[inputs[0]["image_id"]]
            found = Instances((image.height, image.width))
            boxes = [[box[0] - 1, box[1] - 1, box[2], box[3]] for box in (o.box for o in image.objects)]
            found.pred_boxes = Boxes(torch.tensor(boxes))
            found.scores = torch.full((len(boxes),), 0.9)
            found.pred_classes = torch.tensor([item.class_index for item in image.objects])
            return [{"instances": found}]

    class Spoiled(Perfect):
        def forward(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
            (output,) = super().forward(inputs)
            output["instances"].scores[0] = float("nan")
            return [output]

    found = detect(Perfect(), cfg, data, check_stop=lambda: None)
    assert found is not None
    assert found.image.tolist() == [index for index, image in enumerate(data.test) for _ in image.objects]
    present = {item.class_index for image in data.test for item in image.objects if not item.difficult}
    result = measure(truth_of(data.test, data.classes), found, "voc07_11point")
    for metric in result.metrics.values():
        assert metric == pytest.approx(100.0 * len(present) / len(data.classes))
    with pytest.raises(EngineError, match="not finite"):
        detect(Spoiled(), cfg, data, check_stop=lambda: None)
