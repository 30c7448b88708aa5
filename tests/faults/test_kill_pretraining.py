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
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.core import atomic
from pretrain import loop, monitor
from pretrain import run as product
from pretrain.run import Job
from pretrain.samples import Views
from tests.helpers.pretraining import (
    BATCH_SIZE,
    EPOCHS,
    NAMES,
    STEPS,
    STEPS_PER_EPOCH,
    at_call,
    differences,
    make_images,
    move,
    narrow_networks,
    published_optimizer,
    resume,
    run,
    run_until,
    saved_step,
    toy_job,
)

EVERY_STEP = "loop.checkpoint_minutes=0.000001"
PLACES = ("loading", "forward", "update", "saving", "monitor")
MAKE_JOB = Callable[..., Job]


def kills_of(name: str) -> list[tuple[str, int]]:
    """Five places and steps, the same in every test run."""
    steps = random.Random(f"20261126 {name}").sample(range(1, STEPS + 1), len(PLACES))
    return list(zip(PLACES, steps, strict=True))


KILLS = [(name, place, step) for name in NAMES for place, step in kills_of(name)]


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(place: str, step: int, start: int) -> None:
    """Make this process, which goes on after `start` steps, die in a step, counted from 1."""
    number = step - start
    if place == "loading":
        made = (number - 1) * BATCH_SIZE + BATCH_SIZE // 2
        Views.__call__ = at_call(made, Views.__call__, kill)  # type: ignore[method-assign]
    elif place == "forward":
        loop._forward_and_backward = at_call(number, loop._forward_and_backward, kill)
    elif place == "update":
        loop._update = at_call(number, loop._update, kill)
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
def make_job(tmp_path_factory: pytest.TempPathFactory) -> MAKE_JOB:
    """A method's toy job with its own optimiser."""
    images = make_images(tmp_path_factory.mktemp("images"))

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


@pytest.mark.parametrize(("name", "place", "step"), KILLS)
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


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_is_killed_again_and_again_ends_as_the_one_that_was_not(
    tmp_path: Path, make_job: MAKE_JOB, straight: Callable[[str], Job], name: str
) -> None:
    job = make_job(tmp_path, name, EVERY_STEP)
    for place, step in (("count", 2), ("log", 4), ("monitor", 5), ("count", 7), ("log", 9), ("weights", STEPS)):
        kill_at(job, place, step)
        assert saved_step(job) == (step if place in ("monitor", "weights") else step - 1)
    resume(job)
    assert differences(job, straight(name)) == []


def test_the_kills_are_five_a_method() -> None:
    for name in NAMES:
        mine = [(place, step) for other, place, step in KILLS if other == name]
        assert [place for place, _ in mine] == list(PLACES)
        assert len({step for _, step in mine}) == 5
