"""torchvision's ResNet-50 as a classifier: known features, exact numbers, exact resume, every protocol."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from bench.core import rng
from bench.core.card import InputSpec
from bench.core.errors import DataError, DivergedError, Stopped
from tests.helpers.engine import options
from tests.helpers.known_network import COLOURS, colour_set, known_features, known_file
from tests.helpers.often import often
from tests.transfer.engines.test_detectron2 import StopAfter
from transfer.api import TASKS, Job, Output
from transfer.engines import load_engine
from transfer.engines import train as training_room
from transfer.engines.torchvision.features import features_of
from transfer.engines.torchvision.loader import epochs
from transfer.engines.torchvision.network import Backbone, build_backbone
from transfer.engines.trial import one_device
from transfer.metrics.accuracy import unpack
from transfer.run import make_plan

PROTOCOLS = {
    "linear-features": "linear-probe",
    "in1k-linear-100ep": "linear-probe",
    "in1k-linear-60ep-pycontrast": "linear-probe",
    "in1k-linear-90ep-lars": "linear-probe",
    "in1k-semi-10pct-swav": "low-shot",
    "finetune-cls-50ep": "finetune-cls",
    "in1k-knn-k20": "knn",
    "logreg-45": "logreg",
}
SMALL = {
    "linear-features": ("input.test.resize_px=40", "input.test.crop_px=32"),
    "in1k-knn-k20": ("input.resize_px=40", "input.crop_px=32"),
    "logreg-45": ("input.resize_px=40", "input.crop_px=32"),
}
VIEWS = ("input.test.resize_px=40", "input.test.crop_px=32", "input.train_view.crop_px=32")
TRAINED = ("solver.epochs=3", "solver.images_per_batch=12")
FEW_EPOCHS = {
    "linear-features": ("solver.epochs=40", "solver.images_per_batch=12", "solver.learning_rate=0.5"),
    "in1k-linear-100ep": (*TRAINED, "solver.schedule.epochs=[2]", "solver.learning_rate=0.5"),
    "in1k-linear-60ep-pycontrast": (*TRAINED, "solver.schedule.epochs=[2]"),
    "in1k-linear-90ep-lars": TRAINED,
    "in1k-semi-10pct-swav": (
        *TRAINED, "solver.schedule.epochs=[2]", "data.train_share=0.5", "solver.precision='fp32'",
    ),
    "finetune-cls-50ep": (*TRAINED, "solver.precision='fp32'"),
}  # fmt: skip


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_set(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return known_file(tmp_path_factory.mktemp("known"))


def make_job(
    tmp_path: Path, data: Path, slug: str, checkpoint: Path | str, *more: str, **changes: Any
) -> Job:
    asked = options(
        tmp_path,
        data,
        checkpoint=str(checkpoint),
        protocol=slug,
        overrides=(*SMALL.get(slug, VIEWS), *FEW_EPOCHS.get(slug, ()), *more),
    )
    return replace(make_plan(TASKS.get(PROTOCOLS[slug]), asked).job(0), **changes)


def run(job: Job) -> Output:
    return load_engine("torchvision").run_job(job)


def checkpoint_of(job: Job) -> dict[str, torch.Tensor]:
    newest = max((job.run_dir / "checkpoints").iterdir())
    return load_file(newest / "tensors.safetensors")


@pytest.mark.parametrize(
    "slug",
    often(
        ["linear-features", "in1k-linear-100ep", "in1k-knn-k20", "logreg-45"],
        ["in1k-linear-100ep", "in1k-knn-k20"],
    ),
)
def test_a_known_embedding_reaches_the_accuracy_computed_by_hand(
    tmp_path: Path, colours: Path, known: Path, slug: str
) -> None:
    """Ten test images a class, one of which has the colour of another class: 27 of 30 are right."""
    output = run(make_job(tmp_path, colours, slug, known))
    assert output.metrics == {"top1": pytest.approx(90.0), "mean_per_class": pytest.approx(90.0)}
    assert output.details["num_correct"] == 27
    assert output.details["verified"]["backbone"].startswith("265 of 265")
    assert output.predictions is not None
    kept = unpack(output.predictions.data, output.predictions.sha256, "kept")
    wrong = [
        name
        for name, there, found in zip(kept.names, kept.truth, kept.ranked, strict=True)
        if there != found[0]
    ]
    assert wrong == [f"{name}/000.png" for name in COLOURS]


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(InputSpec(), marks=pytest.mark.slow),
        InputSpec(channel_order="bgr", mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0)),
        pytest.param(
            InputSpec(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5), stride_in="1x1"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            InputSpec(mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0), padding="tf_same"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["rgb", "bgr", "1x1", "tf_same"],
)
def test_features_are_what_the_card_says(tmp_path: Path, colours: Path, spec: InputSpec) -> None:
    """RGB or BGR, mean and std, by hand; a probe on the other order would count other colours."""
    job = make_job(tmp_path, colours, "in1k-knn-k20", known_file(tmp_path, spec))
    with one_device(job) as fabric:
        backbone, _ = build_backbone(job)
        found = features_of(
            fabric,
            job,
            backbone,
            job.data.train,
            np.arange(36),
            job.protocol.input,
            "fp32",
            everywhere=True,
            title="F",
        )
    for index in range(36):
        pixel = job.data.train.read(index)[0, 0]
        expected = known_features(tuple(pixel.tolist()), spec)
        assert found[index].numpy() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_cached_features_train_as_images_would(tmp_path: Path, colours: Path, known: Path) -> None:
    """Against a plain loop over images: the same network, order and rates, nothing kept."""
    job = make_job(
        tmp_path, colours, "linear-features", known, "solver.epochs=4", "solver.schedule.epochs=[2]"
    )
    run(job)
    ours = checkpoint_of(job)
    backbone, _ = build_backbone(job)
    backbone.eval()
    torch.manual_seed(rng.derive(0, "init", 1))
    layer = nn.Linear(2048, 3)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5, momentum=0.9)
    places = epochs(36, images_per_batch=12, seed=0, start=0)
    for _ in range(12):
        iteration, numbers = next(places)
        optimizer.param_groups[0]["lr"] = 0.5 * (0.1 if iteration >= 6 else 1.0)
        images = torch.stack([torch.from_numpy(job.data.train.read(n)[4:36, 8:40].copy()) for n in numbers])
        with torch.no_grad():
            features = backbone(images.permute(0, 3, 1, 2))
        labels = torch.tensor([n // 12 for n in numbers])
        optimizer.zero_grad()
        nn.functional.cross_entropy(layer(features), labels).backward()
        optimizer.step()
    for name, value in layer.state_dict().items():
        assert torch.allclose(ours[f"model.{name}"], value, atol=1e-6)


@pytest.mark.parametrize(
    "slug",
    [
        "in1k-linear-60ep-pycontrast",
        *(
            pytest.param(slug, marks=pytest.mark.slow)
            for slug in ("in1k-semi-10pct-swav", "linear-features", "in1k-linear-90ep-lars")
        ),
    ],
)
def test_a_resumed_run_is_the_run_that_was_not_stopped(
    tmp_path: Path, colours: Path, checkpoint: Path, slug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit, with a worker and without, the rate falling after the stop."""
    straight = make_job(tmp_path / "a", colours, slug, checkpoint)
    expected = run(straight)
    stopped = make_job(tmp_path / "b", colours, slug, checkpoint, "run.num_workers=1")
    real = training_room.train
    with monkeypatch.context() as patch:
        patch.setattr(
            "transfer.engines.trial.train",
            lambda training, loader, state, stop: real(
                training, StopAfter(loader, 2, signal.SIGTERM), state, stop
            ),
        )
        with pytest.raises(Stopped):
            run(stopped)
    output = run(replace(stopped, resume=True))
    ours, theirs = checkpoint_of(stopped), checkpoint_of(straight)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (output.metrics, output.predictions) == (expected.metrics, expected.predictions)
    assert (stopped.run_dir / "log.csv").read_text() == (straight.run_dir / "log.csv").read_text()


@pytest.mark.parametrize("slug", often(["in1k-linear-100ep", "finetune-cls-50ep"], ["finetune-cls-50ep"]))
def test_what_is_frozen_stays_and_what_is_trained_moves(
    tmp_path: Path, colours: Path, checkpoint: Path, slug: str
) -> None:
    """A probe keeps nothing of the backbone in its checkpoint; fine-tuning moves all, norms included."""
    job = make_job(tmp_path, colours, slug, checkpoint)
    run(job)
    after = {
        key.removeprefix("model."): value
        for key, value in checkpoint_of(job).items()
        if key.startswith("model.")
    }
    if slug == "in1k-linear-100ep":
        assert set(after) == {"weight", "bias"}
        return
    assert job.weights is not None
    still = [
        name
        for name, value in job.weights.tensors.items()
        if np.array_equal(after[f"backbone.network.{name}"].numpy(), value)
    ]
    assert still == []


def test_the_backbone_of_a_probe_is_in_evaluation(
    tmp_path: Path, colours: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch norm in training mode would change its statistics, which belong to what is measured."""
    modes: set[bool] = set()
    real = Backbone.forward

    def forward(self: Backbone, images: torch.Tensor) -> torch.Tensor:
        modes.update(module.training for module in self.modules())
        return real(self, images)

    monkeypatch.setattr(Backbone, "forward", forward)
    run(make_job(tmp_path, colours, "in1k-linear-100ep", checkpoint))
    assert modes == {False}


def test_a_low_shot_trains_on_the_chosen_images_alone(
    tmp_path: Path, colours: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Names that no test image has.
    names = [f"{name}/{number:03d}.png" for name in COLOURS for number in (10, 11)]
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n")
    more = (f"data.train_list='{tmp_path / 'list.txt'}'", "solver.images_per_batch=6", "run.num_workers=0")
    job = make_job(tmp_path, colours, "in1k-semi-10pct-swav", checkpoint, *more)
    seen: set[str] = set()
    real = type(job.data.train).read
    monkeypatch.setattr(
        type(job.data.train), "read", lambda self, index: seen.add(self.name(index)) or real(self, index)
    )
    run(job)
    tested = {job.data.test.name(index) for index in range(len(job.data.test))}
    assert seen == tested | set(names)


def test_a_probe_that_diverges_says_where(tmp_path: Path, colours: Path, known: Path) -> None:
    job = make_job(
        tmp_path, colours, "linear-features", known, "solver.learning_rate=100.0", "solver.weight_decay=1.0"
    )
    with pytest.raises(DivergedError, match=r"iteration \d.*images .*png.*learning rate"):
        run(job)


def test_an_image_that_is_gone_is_a_data_error(tmp_path: Path, known: Path) -> None:
    root = colour_set(tmp_path / "set")
    job = make_job(tmp_path, root, "in1k-knn-k20", known)
    (root / "train" / "red" / "004.png").write_bytes(b"x" * (root / "train/red/004.png").stat().st_size)
    with pytest.raises(DataError, match=r"red/004\.png"):
        run(job)


def test_features_that_were_kept_are_not_computed_again(
    tmp_path: Path,
    colours: Path,
    known: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By any task with the same crop; a damaged part is, and the number stays."""
    calls: list[int] = []
    real = Backbone.forward
    monkeypatch.setattr(
        Backbone, "forward", lambda self, images: calls.append(len(images)) or real(self, images)
    )
    first = run(make_job(tmp_path, colours, "in1k-knn-k20", known))
    assert sum(calls) == 66
    calls.clear()
    run(make_job(tmp_path, colours, "logreg-45", known))
    assert calls == [], "kept by another task"
    part = max((tmp_path / "runs/features").rglob("*.safetensors"), key=lambda path: path.stat().st_size)
    data = bytearray(part.read_bytes())
    data[-1000] ^= 1
    part.write_bytes(data)
    again = run(make_job(tmp_path, colours, "in1k-knn-k20", known))
    assert "damaged" in capsys.readouterr().err
    assert sum(calls) == 36
    assert again.metrics == first.metrics


def test_seeds_of_random_weights_do_not_share_features(tmp_path: Path, colours: Path) -> None:
    job = make_job(tmp_path, colours, "in1k-knn-k20", "random")
    run(job)
    num_kept = len(list((tmp_path / "runs/features").iterdir()))
    run(replace(job, seed=1))
    assert len(list((tmp_path / "runs/features").iterdir())) == 2 * num_kept == 4


@pytest.mark.parametrize("slug", often(PROTOCOLS, ["in1k-linear-100ep", "in1k-knn-k20"]))
def test_an_estimate_is_made_of_every_protocol(tmp_path: Path, colours: Path, slug: str) -> None:
    found = load_engine("torchvision").estimate_job(make_job(tmp_path, colours, slug, "random"))
    assert found.memory_bytes > 94_000_000, "the weights alone"
    assert found.train_seconds > 0 < found.test_seconds
    assert found.disk_bytes > 10 * 8192
    assert not (tmp_path / "runs").exists()
