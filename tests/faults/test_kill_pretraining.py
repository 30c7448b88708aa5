"""SIGKILL in the middle of a pretraining: the resumed run is the run that was never killed, bit for bit.

The kills come at random steps, at the worst places: while views are made, after the forward pass, between the
update of the weights and the count of the step, within a line of the log, while a checkpoint is written,
while the monitor asks. The child is forked, and nothing of it survives but its files.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from bench.cli import main
from bench.core import atomic
from bench.core.checkpoint import newest_step
from bench.core.weights import WEIGHTS_FILE
from bench.images.views import make_patches
from pretrain import loop, monitor, samples, training
from pretrain import run as product
from pretrain import step as one_step
from pretrain.contrast import QueueContrast
from pretrain.data.loader import Sample
from pretrain.queue import KeyQueue
from pretrain.run import Job
from pretrain.samples import Views
from pretrain.training import Progress, Training
from tests.helpers.often import often
from tests.helpers.pretraining import (
    BATCH_SIZE,
    SOME,
    STEPS,
    STEPS_PER_EPOCH,
    WITH_QUEUE,
    at_call,
    differences,
    make_images,
    narrow_networks,
    published_optimizer,
    resume,
    run,
    run_until,
    saved_step,
    toy_job,
    toy_overrides,
)
from tests.helpers.views import make_view

EVERY_STEP = "loop.checkpoint_minutes=0.000001"
PLACES = ("loading", "forward", "update", "saving", "monitor")
STOPS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)
MAKE_JOB = Callable[..., Job]


def kills_of(name: str) -> list[tuple[str, int]]:
    """Five places and steps, the same in every test run."""
    steps = random.Random(f"20261126 {name}").sample(range(1, STEPS + 1), len(PLACES))
    return list(zip(PLACES, steps, strict=True))


OFTEN = ("infomin",)
KILLS = [(name, place, step) for name in SOME for place, step in kills_of(name)]


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(place: str, step: int, start: int) -> None:
    """Make this process, which goes on after `start` steps, die in a step, counted from 1."""
    number = step - start
    if place == "loading":
        made = (number - 1) * BATCH_SIZE + BATCH_SIZE // 2
        Views.__call__ = at_call(made, Views.__call__, kill)  # type: ignore[method-assign]
    elif place == "forward":
        one_step._forward_and_backward = at_call(number, one_step._forward_and_backward, kill)
    elif place == "update":
        loop.update = at_call(number, loop.update, kill)
    elif place == "count":
        loop.Clock.seconds = at_call(number, loop.Clock.seconds, kill)  # type: ignore[method-assign]
    elif place == "log":
        real, calls = atomic.append_text, iter(range(1, STEPS + 1))

        def torn(path: Path, text: str) -> None:
            last = next(calls) == number
            real(path, text[: len(text) // 2] if last else text)
            if last:
                kill()

        atomic.append_text = torn
    elif place == "saving":
        # Its tensors are written, its manifest is not.
        atomic.StagedFolder.write = at_call(3 * number - 2, atomic.StagedFolder.write, kill)  # type: ignore[method-assign]
    elif place == "monitor":
        # Of the epoch in which the step is; those that vote have been seen, those that are judged have not.
        asked = step // STEPS_PER_EPOCH - -(-start // STEPS_PER_EPOCH)
        monitor.extract = at_call(2 * asked + 1, monitor.extract, kill)  # type: ignore[attr-defined]
    elif place == "weights":
        product.write_weights = lambda *_: kill()  # type: ignore[attr-defined]
    else:
        raise KeyError(place)


def run_and_die(job: Job, place: str, step: int, start: int) -> None:
    arm(place, step, start)
    run(job)


def kill_at(job: Job, place: str, step: int) -> None:
    """Run or go on in a child that dies."""
    start = saved_step(job) or 0
    arguments = (replace(job, resume=True), place, step, start)
    child = multiprocessing.get_context("fork").Process(target=run_and_die, args=arguments)
    child.start()
    child.join(300)
    assert child.exitcode == -signal.SIGKILL
    assert not job.weights_path.exists()


@pytest.fixture(scope="module", autouse=True)
def _narrow() -> Iterator[None]:
    with narrow_networks():
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def make_job(images: Path) -> MAKE_JOB:
    """A method's toy job with its own optimiser."""

    def make(out: Path, name: str, *more: str) -> Job:
        return toy_job(out, images, name, *published_optimizer(name), *more)

    return make


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, make_job: MAKE_JOB) -> Callable[[str], Job]:
    """A run of a method that nothing kills."""
    jobs: dict[str, Job] = {}

    def of(name: str) -> Job:
        if name not in jobs:
            job = make_job(tmp_path_factory.mktemp(name), name)
            rows = run(job)
            assert [row["step"] for row in rows] == [0, STEPS_PER_EPOCH, STEPS]
            jobs[name] = job
        return jobs[name]

    return of


@pytest.mark.parametrize(("name", "place", "step"), often(KILLS, lambda kill: kill[0] in OFTEN))
def test_a_killed_run_ends_as_the_one_that_was_not(
    tmp_path: Path, make_job: MAKE_JOB, straight: Callable[[str], Job], name: str, place: str, step: int
) -> None:
    # Half of them go on in mid-epoch.
    in_mid_epoch = place in ("forward", "update", "saving")
    job = make_job(tmp_path, name, *([EVERY_STEP] if in_mid_epoch else []))
    kill_at(job, place, step)
    last = step - 1 if in_mid_epoch else (step - (place != "monitor")) // STEPS_PER_EPOCH * STEPS_PER_EPOCH
    assert saved_step(job) == (last or None)
    resume(job)
    assert differences(job, straight(name)) == []


@pytest.mark.parametrize("name", often(SOME, OFTEN))
def test_a_run_that_is_killed_again_and_again_ends_as_the_one_that_was_not(
    tmp_path: Path, make_job: MAKE_JOB, straight: Callable[[str], Job], name: str
) -> None:
    job = make_job(tmp_path, name, EVERY_STEP)
    for place, step in (
        ("count", 2),
        ("log", 4),
        ("monitor", 5),
        ("count", 7),
        ("log", 9),
        ("weights", STEPS),
    ):
        kill_at(job, place, step)
        assert saved_step(job) == (step if place in ("monitor", "weights") else step - 1)
    resume(job)
    assert differences(job, straight(name)) == []


def test_a_run_is_killed_with_its_workers_and_goes_on_with_another_number_of_them(
    tmp_path: Path, make_job: MAKE_JOB, straight: Callable[[str], Job]
) -> None:
    name = SOME[-1]
    kill_at(make_job(tmp_path, name, "loop.num_workers=2", EVERY_STEP), "forward", 8)
    job = make_job(tmp_path, name, "loop.num_workers=1")
    assert saved_step(job) == 7
    resume(job)
    assert differences(job, straight(name)) == []


@pytest.mark.parametrize("name", often(SOME, OFTEN))
def test_a_run_stopped_by_each_signal_goes_on_with_any_number_of_workers(
    tmp_path: Path, make_job: MAKE_JOB, straight: Callable[[str], Job], name: str
) -> None:
    draw = random.Random(f"stops of {name}")
    steps = [draw.choice((1, 2)), draw.choice((3, 4)), draw.choice((6, 7)), draw.choice((8, 9))]
    signals = draw.sample(STOPS, len(STOPS))
    for step, number, workers in zip(steps, signals, (0, 2, 1, 0), strict=True):
        run_until(make_job(tmp_path, name, f"loop.num_workers={workers}"), step, number)
    job = make_job(tmp_path, name, "loop.num_workers=2")
    resume(job)
    assert differences(job, straight(name)) == []


def command(out: Path, images: Path, name: str, *more: str) -> None:
    """`bench pretrain` in this process, which ends with it."""
    overrides = toy_overrides(name, *published_optimizer(name), "epochs=4")
    flags = [part for override in overrides for part in ("--set", override)]
    where = ["--smoke", "--data", str(images), "--out", str(out)]
    sys.argv = ["bench", "pretrain", name.replace("-", "_"), *where, *flags, *more]
    main()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "name"),
    often(zip((signal.SIGTERM, signal.SIGUSR1), SOME, strict=False), lambda case: case[0] == signal.SIGTERM),
)
def test_the_command_leaves_with_75_at_a_signal_from_outside_and_goes_on_with_resume(
    tmp_path: Path, images: Path, number: signal.Signals, name: str
) -> None:
    fork = multiprocessing.get_context("fork").Process
    row = random.Random(name).randint(1, 8)
    child = fork(target=command, args=(tmp_path, images, name))
    child.start()
    while child.is_alive() and row >= sum(len(log.read_bytes().splitlines()) for log in logs(tmp_path)):
        time.sleep(0.002)
    os.kill(child.pid or 0, number)
    child.join(300)
    assert child.exitcode == 75
    (log,) = logs(tmp_path)
    stopped_at = newest_step(log.parent / "checkpoints")
    assert stopped_at is not None
    assert row <= stopped_at < 20
    assert log.read_text().splitlines()[-1].startswith(f"{stopped_at},")
    assert not (log.parent / WEIGHTS_FILE).exists()

    again = fork(target=command, args=(tmp_path, images, name, "--resume"))
    whole = fork(target=command, args=(tmp_path / "whole", images, name))
    for process in (again, whole):
        process.start()
        process.join(300)
        assert process.exitcode == 0
    (other,) = logs(tmp_path / "whole")
    for file in ("log.csv", WEIGHTS_FILE):
        assert (log.parent / file).read_bytes() == (other.parent / file).read_bytes()


def logs(out: Path) -> list[Path]:
    return list(out.glob("pretrain/*/*/log.csv"))


def saves(job: Job, *, minutes_a_step: float | None = None) -> list[int]:
    """Run a job; after which steps there was a checkpoint."""
    steps: list[int] = []
    real, forward, now = loop.save, one_step._forward_and_backward, [0.0]

    def noted(training: Training, state: Progress) -> None:
        steps.append(state.step)
        real(training, state)

    def later(*arguments: Any) -> Any:
        now[0] += 60.0 * (minutes_a_step or 0.0)
        return forward(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "save", noted)
        patch.setattr(one_step, "_forward_and_backward", later)
        if minutes_a_step:
            patch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now[0]))
        run(job)
    return steps


def test_a_checkpoint_is_made_every_so_many_minutes_and_after_each_epoch(
    tmp_path: Path, make_job: MAKE_JOB, straight: Callable[[str], Job]
) -> None:
    name = SOME[0]
    assert saves(make_job(tmp_path / "a", name)) == [5, 10]
    job = make_job(tmp_path / "b", name, EVERY_STEP)
    assert saves(job) == list(range(1, STEPS + 1))
    assert differences(job, straight(name)) == []
    job = make_job(tmp_path / "c", name, "loop.checkpoint_minutes=2.0")
    assert saves(job, minutes_a_step=1.0) == [2, 4, 5, 7, 9, 10]


class GlobalViews(Views):
    """Drawn from one generator, which nobody saves."""

    draw: ClassVar[np.random.Generator]

    def __call__(self, image: npt.NDArray[np.uint8], index: int, epoch: int) -> Sample:
        views = tuple(make_view(view, image, self.draw) for view in self.views)
        return Sample(views, make_patches(self.jigsaw, image, self.draw) if self.jigsaw else None)


def forget(patch: pytest.MonkeyPatch, what: str) -> None:
    """Spoil what is saved, or what is brought back."""
    if what == "queue":
        real_init = KeyQueue.__init__

        def init(self: KeyQueue, *arguments: Any) -> None:
            real_init(self, *arguments)
            self.register_buffer("keys", self.keys, persistent=False)

        patch.setattr(KeyQueue, "__init__", init)
        return
    real = training._from_checkpoint

    def forgetful(now: Training, found: Any) -> Progress:
        state, model = real(now, found), now.model
        assert isinstance(model, QueueContrast)
        if what == "pointer":
            model.queues[0].pointer.zero_()
        elif what == "optimiser":
            now.optimizer.state.clear()
        elif what == "momentum copy":
            model.key.load_state_dict(model.query.state_dict())
        return state

    patch.setattr(training, "_from_checkpoint", forgetful)


@pytest.mark.parametrize(
    "what", often(["nothing", "queue", "pointer", "optimiser", "momentum copy"], ["nothing", "pointer"])
)
def test_a_resume_that_forgets_something_is_seen(
    tmp_path: Path,
    make_job: MAKE_JOB,
    straight: Callable[[str], Job],
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    """The negative controls."""
    name = WITH_QUEUE[-1]
    job = make_job(tmp_path, name)
    forget(monkeypatch, what)
    run_until(job, 7)
    resume(job)
    found = differences(job, straight(name))
    assert ("log.csv" in found, WEIGHTS_FILE in found) == (what != "nothing",) * 2


@pytest.mark.slow
def test_views_from_a_global_generator_are_seen(
    tmp_path: Path, make_job: MAKE_JOB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A negative control, too; each part of a run starts as a new process would."""
    monkeypatch.setattr(samples, "Views", GlobalViews)
    whole, job = (make_job(tmp_path / place, SOME[0]) for place in ("whole", "parts"))
    for part in (lambda: run(whole), lambda: run_until(job, 7), lambda: resume(job)):
        GlobalViews.draw = np.random.default_rng(0)
        part()
    assert {"log.csv", WEIGHTS_FILE} <= set(differences(job, whole))


def test_the_kills_are_five_a_method() -> None:
    for name in SOME:
        mine = [(place, step) for other, place, step in KILLS if other == name]
        assert [place for place, _ in mine] == list(PLACES)
        assert len({step for _, step in mine}) == 5
