"""SIGKILL in the middle of a fine-tuning in MMSegmentation: the run that goes on ends in the same bits."""

from __future__ import annotations

import multiprocessing
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.core import atomic
from bench.core.checkpoint import newest_step
from tests.faults.test_kill_training import at_call
from tests.helpers.often import often
from tests.transfer.engines.test_segmentors import final_tensors, make_job, run
from transfer.api import Job, Output
from transfer.engines import train as loop


def run_and_die(job: Job, place: str) -> None:
    """In the third of four iterations, or in the middle of the second checkpoint."""
    torch.set_num_threads(1)
    if place == "update":
        loop._update = at_call(3, loop._update)
    else:
        atomic.StagedFolder.write = at_call(3 + 1, atomic.StagedFolder.write)  # type: ignore[method-assign]
    run(job)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, voc: Path, checkpoint: Path) -> tuple[Job, Output]:
    """A run that nothing kills."""
    job = make_job(tmp_path_factory.mktemp("straight"), voc, checkpoint=str(checkpoint))
    return job, run(job)


@pytest.mark.parametrize(("place", "saved"), often([("update", 2), ("saving", 2)], [("update", 2)]))
def test_a_killed_run_ends_as_the_one_that_was_not(
    tmp_path: Path, voc: Path, straight: tuple[Job, Output], place: str, saved: int
) -> None:
    whole, expected = straight
    job = make_job(tmp_path, voc, weights=whole.weights, card=whole.card)
    child = multiprocessing.get_context("fork").Process(target=run_and_die, args=(job, place))
    child.start()
    child.join(300)
    assert child.exitcode == -signal.SIGKILL
    assert newest_step(job.run_dir / "checkpoints") == saved
    output = run(replace(job, resume=True))
    ours, theirs = final_tensors(job), final_tensors(whole)
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    assert (job.run_dir / "log.csv").read_text() == (whole.run_dir / "log.csv").read_text()
    assert (output.metrics, output.details) == (expected.metrics, expected.details)
    assert output.predictions == expected.predictions
