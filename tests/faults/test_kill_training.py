"""SIGKILL in the middle of a fine-tuning: the resumed run is the run that was never killed, bit for bit.

The kill comes at the worst places of an iteration, which are drawn by chance: while a batch is loaded, after
the forward pass, between the update of the weights and the count of the iteration, while a checkpoint is
written. The child is forked, and nothing of it survives but its files.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bench.core import atomic
from bench.core.checkpoint import newest_step
from tests.transfer.engines.test_detectron2 import make_job, run
from transfer.api import Job, Output
from transfer.engines import train as loop
from transfer.engines import training
from transfer.engines.detectron2 import engine

ITERATIONS, EVERY = 10, 3
RUN = (
    f"solver.iterations={ITERATIONS}",
    "solver.steps=[7]",
    f"run.checkpoint_iterations={EVERY}",
    "solver.images_per_batch=4",
    "solver.accumulation_steps=2",
)
KILLS = [
    (place, iteration)
    for place, iteration in zip(
        ("loading", "forward", "update", "saving", "loading"),
        random.Random(20261126).sample(range(1, ITERATIONS + 1), 5),
        strict=True,
    )
]


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which kills this process when it returns for the n-th time."""
    calls = iter(range(1, 10_000))

    def called(*arguments: Any, **values: Any) -> Any:
        result = function(*arguments, **values)
        if next(calls) == number:
            kill()
        return result

    return called


def arm(place: str, iteration: int) -> None:
    """Make this process die in the given iteration, counted from 1."""
    if place == "loading":
        real = engine.train_loader

        def loader(*arguments: Any, **values: Any) -> Any:
            for index, batch in enumerate(real(*arguments, **values), start=1):
                if index == iteration:
                    kill()
                yield batch

        engine.train_loader = loader
    elif place == "forward":
        loop._forward_and_backward = at_call(iteration, loop._forward_and_backward)
    elif place == "update":
        loop._update = at_call(iteration, loop._update)
    else:
        # In the middle of the folder of the next checkpoint: its tensors are written, its manifest is not.
        checkpoint = -(-iteration // EVERY)
        atomic.StagedFolder.write = at_call(3 * checkpoint - 2, atomic.StagedFolder.write)


def run_and_die(job: Job, place: str, iteration: int) -> None:
    torch.set_num_threads(1)
    arm(place, iteration)
    run(job)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, voc: Path, checkpoint: Path) -> tuple[Job, Output]:
    """A run that nothing kills."""
    job = make_job(tmp_path_factory.mktemp("straight"), voc, *RUN, checkpoint=str(checkpoint))
    return job, run(job)


def last_tensors(job: Job) -> dict[str, torch.Tensor]:
    return load_file(job.run_dir / "checkpoints" / f"step-{ITERATIONS:08d}" / "tensors.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(("place", "iteration"), KILLS)
def test_a_killed_run_ends_as_the_one_that_was_not(
    tmp_path: Path, voc: Path, straight: tuple[Job, Output], place: str, iteration: int
) -> None:
    whole, expected = straight
    job = make_job(tmp_path, voc, *RUN, weights=whole.weights, card=whole.card)
    child = multiprocessing.get_context("fork").Process(target=run_and_die, args=(job, place, iteration))
    child.start()
    child.join(300)
    assert child.exitcode == -signal.SIGKILL
    saved = newest_step(job.run_dir / "checkpoints")
    assert saved is None or saved < iteration

    output = run(replace(job, resume=True))
    ours, theirs = last_tensors(job), last_tensors(whole)
    assert ours.keys() == theirs.keys()
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    assert (job.run_dir / "log.csv").read_text() == (whole.run_dir / "log.csv").read_text()
    assert output.metrics == expected.metrics
    assert output.details == expected.details
    assert output.predictions == expected.predictions


@pytest.mark.slow
def test_a_resume_that_forgets_something_is_seen(
    tmp_path: Path, straight: tuple[Job, Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: without the momentum, the end is another one."""
    whole, _ = straight
    job = replace(whole, run_dir=tmp_path / "run", resume=True)
    kept = f"step-{ITERATIONS - ITERATIONS % EVERY:08d}"
    shutil.copytree(whole.run_dir / "checkpoints" / kept, job.run_dir / "checkpoints" / kept)
    real = training._from_checkpoint

    def forgetful(now: training.Training, found: Any) -> training.Progress:
        progress = real(now, found)
        now.optimizer.state.clear()
        return progress

    monkeypatch.setattr(training, "_from_checkpoint", forgetful)
    run(job)
    ours, theirs = last_tensors(job), last_tensors(whole)
    assert any(not torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_kills_are_five() -> None:
    assert len({iteration for _, iteration in KILLS}) == 5
    assert {place for place, _ in KILLS} == {"loading", "forward", "update", "saving"}
