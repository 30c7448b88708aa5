"""The loop: it stops before a bad update, shares a batch out into parts, and keeps its logs exact."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.cli import main
from bench.core.errors import CheckpointError, DivergedError
from bench.core.weights import WEIGHTS_FILE
from pretrain import loop
from pretrain import run as product
from pretrain import step as one_step
from pretrain import training as room
from pretrain.api import METHODS, MethodModel
from pretrain.backbones import resnet
from pretrain.logs import RunLog
from pretrain.run import Job
from pretrain.training import Training
from tests.helpers.often import often
from tests.helpers.pretraining import (
    SOME,
    WITH_QUEUE,
    batches,
    copy_run,
    differences,
    last_tensors,
    losses,
    make_images,
    move,
    narrow_networks,
    prepare,
    published_optimizer,
    result,
    resume,
    run,
    run_until,
    saved_step,
    step,
    toy_job,
    toy_overrides,
    toy_plan,
)

SHORT = ("batch_size=20", "monitor.every_epochs=0")
"""Three steps an epoch, with a checkpoint after the third and the sixth."""
OFF, ON = 5, 6
OFTEN = ("infomin",)
"""A step without a checkpoint after it, and one with."""


@pytest.fixture(scope="module", autouse=True)
def _narrow() -> Iterator[None]:
    with narrow_networks():
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Callable[[str], Job]:
    """A method's run that was stopped after its first epoch of three steps."""
    jobs: dict[str, Job] = {}

    def of(name: str) -> Job:
        if name not in jobs:
            job = toy_job(tmp_path_factory.mktemp(name), images, name, *SHORT, *published_optimizer(name))
            run_until(job, 3)
            jobs[name] = job
        return jobs[name]

    return of


def first(model: MethodModel, kind: str) -> Tensor:
    """A tensor of a model: "weight" is trained, "momentum copy" is not, the others are buffers."""
    if kind in ("weight", "momentum copy"):
        # No bias of a norm: behind a ReLU, one of -inf shows at the next save only.
        found = [v for v in model.parameters() if v.ndim > 1 and v.requires_grad == (kind == "weight")]
    else:
        found = [value for key, value in model.named_buffers() if key.endswith(kind)]
    return found[len(found) // 2].data


def spoil(tensor: Tensor | None, value: float) -> None:
    assert tensor is not None
    tensor[(0,) * tensor.ndim] = value


def inject(patch: pytest.MonkeyPatch, what: str, value: float, at: int) -> None:
    """Spoil one thing in a step, counted from 1."""
    real_prepare, real_rate = product.prepare, one_step.learning_rate
    real_forward = one_step._forward_and_backward

    def prepare_spoilt(*arguments: Any) -> Training:
        now = real_prepare(*arguments)
        forward = now.model.forward

        def spoilt(batch: Any, place: Any) -> Any:
            loss, scalars = forward(batch, place)
            if place.step + 1 == at:
                # Plus: its gradient is still finite.
                loss = loss + value
                scalars["loss"] = loss.detach()
            return loss, scalars

        now.model.forward = spoilt  # type: ignore[method-assign]
        return now

    def forward_spoilt(now: Training, parts: Any, done: int) -> dict[str, Tensor]:
        if done + 1 == at and what not in ("loss", "gradient"):
            spoil(first(now.model, what), value)
        scalars = real_forward(now, parts, done)
        if done + 1 == at and what == "gradient":
            trained = [value for value in now.model.parameters() if value.requires_grad]
            spoil(trained[len(trained) // 2].grad, value)
        return scalars

    def rate_spoilt(*arguments: Any, **values: Any) -> float:
        return value if values["step"] + 1 == at else real_rate(*arguments, **values)

    if what == "loss":
        patch.setattr(product, "prepare", prepare_spoilt)
    elif what == "learning rate":
        patch.setattr(one_step, "learning_rate", rate_spoilt)
    else:
        patch.setattr(one_step, "_forward_and_backward", forward_spoilt)


def injections(name: str) -> list[tuple[str, float]]:
    kinds = [("loss", math.nan), ("loss", math.inf), ("loss", -math.inf)]
    kinds += [("gradient", math.nan), ("gradient", math.inf), ("weight", math.nan), ("weight", -math.inf)]
    kinds += [("learning rate", math.nan), ("learning rate", math.inf), ("running_var", math.nan)]
    if name in WITH_QUEUE:
        kinds += [("momentum copy", math.nan), ("momentum copy", math.inf), ("queues.0.keys", math.nan)]
        kinds += [("queues.0.keys", math.inf), ("queues.0.keys", -math.inf)]
    return kinds


@pytest.mark.parametrize("at", often([OFF, ON], [OFF]))
@pytest.mark.parametrize(
    ("name", "what", "value"),
    often([(name, *kind) for name in SOME for kind in injections(name)], lambda case: case[0] in OFTEN),
)
def test_what_is_not_finite_ends_the_run_before_any_harm(
    tmp_path: Path,
    started: Callable[[str], Job],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    what: str,
    value: float,
    at: int,
) -> None:
    job = copy_run(started(name), tmp_path)
    before = (job.run_dir / "checkpoints" / "step-00000003" / "tensors.safetensors").read_bytes()
    updates: list[int] = []
    real = loop.update

    def counted(now: Training, state: Any, norm: Tensor) -> None:
        updates.append(state.step + 1)
        real(now, state, norm)

    monkeypatch.setattr(loop, "update", counted)
    inject(monkeypatch, what, value, at)
    with pytest.raises(DivergedError) as caught:
        resume(job)
    assert caught.value.exit_code == 7
    # These two do not show in the loss of their own step: what they spoil is not saved.
    hidden = what in ("learning rate", "running_var")
    assert updates == list(range(4, at if not hidden else max(updates) + 1))
    stopped_at = int(str(caught.value).split(":")[0].removeprefix("step "))
    assert stopped_at == (at if not hidden or at == ON else ON)
    if "nothing was saved" not in str(caught.value):
        assert "images " in str(caught.value)
        assert "learning rate " in str(caught.value)
        assert str(caught.value).endswith("Nothing of it was saved; the last checkpoint is of step 3.")
    assert [path.name for path in (job.run_dir / "checkpoints").iterdir()] == ["step-00000003"]
    assert (job.run_dir / "checkpoints" / "step-00000003" / "tensors.safetensors").read_bytes() == before
    assert all(torch.isfinite(tensor).all() for tensor in last_tensors(job).values())
    assert not job.weights_path.exists()


def test_a_run_that_diverged_goes_on_as_if_it_had_not(
    tmp_path: Path, started: Callable[[str], Job], images: Path
) -> None:
    job = copy_run(started(SOME[0]), tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        inject(patch, "loss", math.nan, OFF)
        with pytest.raises(DivergedError):
            resume(job)
    resume(job)
    whole = move(job, tmp_path / "whole")
    run(whole)
    assert differences(job, whole) == []


def test_one_bad_part_of_a_batch_is_enough(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = one_step.Place
    seen = []

    def place(seed: int, at: int, part: int) -> Any:
        seen.append(part)
        return real(seed, at if part != 1 else 98, part)

    job = toy_job(tmp_path, images, SOME[0], *SHORT, "loop.accumulation_steps=2")
    monkeypatch.setattr(one_step, "Place", place)
    inject(monkeypatch, "loss", math.nan, 99)
    with pytest.raises(DivergedError, match=r"step 1: the loss is nan .*; there is no checkpoint yet"):
        run(job)
    assert seen == [0, 1]


def test_the_command_ends_with_7(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = SOME[0]
    flags = [part for override in toy_overrides(name, *SHORT) for part in ("--set", override)]
    where = ["--smoke", "--data", str(images), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["bench", "pretrain", name.replace("-", "_"), *where, *flags])
    inject(monkeypatch, "loss", math.inf, 2)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 7
    assert "bench: step 2: the loss is inf" in capsys.readouterr().err


IN_PARTS = ["byol", "cmc", "cmc-v2", "densecl", "infomin", "instdis", "moco-v1", "moco-v2", "pirl", "simsiam"]
IN_PARTS.append("supervised")
"""Where no image is compared with others of its batch, or with their mean: of parts, that is another loss."""


@pytest.mark.parametrize("name", IN_PARTS)
def test_parts_of_a_batch_are_the_batch_where_no_norm_mixes_images(
    name: str, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resnet, "GROUPS", 2)  # of the narrow network
    queue = ("parts.queue_size=36",) if METHODS.get(name).preset.memory == "queue" else ()
    found = []
    for parts in (1, 3):
        norm = ("backbone.norm='group'", "backbone.zero_init_residual=false")
        more = (*norm, *queue, *published_optimizer(name), f"loop.accumulation_steps={parts}")
        job = toy_job(images.parent, images, name, *more)
        now = prepare(job, dtype=torch.float64)
        steps = batches(job, now, 0, 3)
        assert {len(batch) for batch in steps} == {parts}
        numbers = [step(now, batch, at)["loss"] for at, batch in enumerate(steps)]
        tensors = room._to_checkpoint(now, room.Progress()).tensors
        if queue:
            # Three batches, each in an order of its own.
            for label in [key for key in tensors if key.endswith(".keys")]:
                keys = tensors[label].view(3, 12, -1)
                tensors[label] = torch.stack([rows[rows[:, 0].argsort()] for rows in keys])
        found.append({"numbers": torch.stack(numbers), **tensors})
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("epochs", "batch_size", "steps"), [(1, 60, 1), (3, 16, 9), (2, 31, 2)])
def test_the_steps_of_the_plan_are_made(
    tmp_path: Path, images: Path, epochs: int, batch_size: int, steps: int
) -> None:
    more = (f"epochs={epochs}", f"batch_size={batch_size}", "monitor.every_epochs=0", "loop.log_steps=4")
    name = SOME[-1]
    assert toy_plan(tmp_path, images, name, *more).num_steps == steps
    job = toy_job(tmp_path, images, name, *more)
    assert run(job) == []
    assert result(job)["steps"] == steps == saved_step(job)
    rows = [line.split(",")[:2] for line in (job.run_dir / "log.csv").read_text().splitlines()[1:]]
    assert [int(row[0]) for row in rows] == sorted({*range(4, steps + 1, 4), steps})
    assert all(int(epoch) == -(-int(at) // (60 // batch_size)) for at, epoch in rows)


@pytest.mark.parametrize(
    ("every", "asked"), [(1, [0, 1, 2, 3, 4, 5]), (2, [0, 2, 4, 5]), (5, [0, 5]), (9, [0, 5]), (0, [])]
)
def test_the_monitor_asks_at_first_every_so_many_epochs_and_at_the_end(
    tmp_path: Path, images: Path, every: int, asked: list[int]
) -> None:
    job = toy_job(tmp_path, images, SOME[-1], "epochs=5", "batch_size=30", f"monitor.every_epochs={every}")
    rows = run(job)
    assert [(row["epoch"], row["step"]) for row in rows] == [(epoch, 2 * epoch) for epoch in asked]
    assert all(0.0 <= row["knn"] <= 100.0 for row in rows)
    without = replace(move(job, tmp_path / "without"), val=None)
    assert run(without) == []
    found = differences(job, without)
    assert set(found) <= {"monitor", WEIGHTS_FILE}, "asking changes no tensor; the card names its number"


def test_what_is_logged_after_the_checkpoint_goes_again(
    tmp_path: Path, started: Callable[[str], Job]
) -> None:
    job = copy_run(started(SOME[0]), tmp_path)
    log = job.run_dir / "log.csv"
    kept = log.read_text()
    assert [line.split(",")[0] for line in kept.splitlines()] == ["step", "1", "2", "3"]
    log.write_text(kept + "4,2,0.5,1,1,1,1\n5,2,0.5,1,1,1,1\n6,2,0.")
    resume(job)
    lines = log.read_text().splitlines()
    assert "\n".join(lines[:4]) + "\n" == kept
    assert [line.split(",")[0] for line in lines] == ["step", "1", "2", "3", "4", "5", "6"]
    assert all(line.split(",")[2] != "0.5" for line in lines)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("1,1,0.5,2.0\n2,1,0.5,2.0\n3,2,0.5,2.0\n", 2),
        ("1,1,0.5,2.0\n2,1,0.5,2.", 1),
        ("1,1,0.5,2.0\n2", 1),
        ("1,1,0.5,2.0\n2,1,0.5,2.0", 1),
        ("", 0),
        ("12,1,0.5,2.0\n", 0),
    ],
)
def test_a_log_is_cut_to_its_whole_lines_up_to_the_checkpoint(tmp_path: Path, text: str, kept: int) -> None:
    header = "step,epoch,learning_rate,loss\n"
    (tmp_path / "log.csv").write_text(header + text)
    with RunLog(tmp_path, ("loss",), start_step=2, active=True):
        pass
    assert (tmp_path / "log.csv").read_text() == header + "".join(text.splitlines(keepends=True)[:kept])


def test_a_log_of_other_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("step,epoch,learning_rate,loss\n1,1,0.5,2.0\n")
    with pytest.raises(CheckpointError, match="its columns are not those of this run"):
        RunLog(tmp_path, ("loss", "i_nce"), start_step=1, active=True)
    assert (tmp_path / "log.csv").read_text().endswith("2.0\n")


def test_tensorboard_has_the_numbers_of_the_log_and_the_monitor(tmp_path: Path, images: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    job = toy_job(tmp_path, images, SOME[0])
    run_until(job, 7)
    rows = resume(job)
    events = EventAccumulator(str(job.run_dir / "tensorboard"))
    events.Reload()
    values = {tag: {at.step: at.value for at in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
    assert list(values["loss"]) == list(range(1, 11))
    assert list(values["loss"].values()) == pytest.approx(losses(job))
    assert values["knn"] == pytest.approx({int(row["step"]): row["knn"] for row in rows})
    assert {"learning_rate", "i_nce", "images_per_second", "waiting_percent"} <= values.keys()


def test_another_config_seed_or_data_has_another_folder(tmp_path: Path, images: Path) -> None:
    name = SOME[0]
    plan = toy_plan(tmp_path, images, name)
    folders = {plan.run_dir(0), plan.run_dir(1)}
    folders.add(toy_plan(tmp_path, images, name, "optimizer.learning_rate=0.5").run_dir(0))
    folders.add(toy_plan(tmp_path, images, SOME[1]).run_dir(0))
    folders.add(toy_plan(tmp_path, images / "val", name, "batch_size=5").run_dir(0))
    folders.add(toy_plan(tmp_path, images, name, "batch_size=5").run_dir(0))
    assert len(folders) == 6
    # What cannot move a number stays in the folder.
    assert toy_plan(tmp_path, images, name, "loop.num_workers=3").run_dir(0) in folders


@pytest.mark.parametrize("field", ["identity", "seed", "processes", "knn", "software"])
def test_the_checkpoint_of_another_run_is_refused_by_name(
    tmp_path: Path, started: Callable[[str], Job], monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    job = copy_run(started(SOME[-1]), tmp_path)
    log = (job.run_dir / "log.csv").read_bytes()
    real = room._owner
    other: dict[str, Any] = {"identity": "other", "seed": 7, "software": {"torch": "0.4"}}
    other |= {"processes": {"per_node": 1, "nodes": 2}, "knn": {"neighbours": 1}}
    monkeypatch.setattr(room, "_owner", lambda now: real(now) | {field: other[field]})
    with pytest.raises(CheckpointError, match=rf"its checkpoints are of another run \({field}: "):
        resume(job)
    assert (saved_step(job), (job.run_dir / "log.csv").read_bytes()) == (3, log)
    assert list(real(prepare(replace(job, seed=7, identity="other"))).items())[:2] == list(other.items())[:2]
