"""Two real gloo processes on a CPU: they train together, stop together, and their errors come home."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bench.core.errors import CheckpointError, EngineError
from bench.core.processes import _as_raised
from tests.helpers.groups import ONE_TASK_OF_SLURM, all_gone
from tests.transfer.engines.test_detectron2 import TOY, final_tensors, make_job, run

TWO = ("model.norm='naiveSyncBN'", "solver.precision='fp32'")


def command(voc: Path, out: Path, *arguments: str) -> list[str]:
    toy = [part for value in (*TOY, "solver.precision='fp32'") for part in ("--set", value)]
    task = ["transfer", "voc-det", "--checkpoint", "random", "--data", str(voc), "--smoke"]
    places = ["--out", str(out / "runs"), "--results", str(out / "results")]
    return [sys.executable, "-W", "ignore", "-m", "bench", *task, *toy, *places, *arguments]


def steps(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("runs/**/checkpoints/step-*"))


def start(arguments: list[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(arguments, stderr=pipe, stdout=pipe, text=True, start_new_session=True)


def wait_for_a_checkpoint(process: subprocess.Popen[str], out: Path) -> None:
    deadline = time.monotonic() + 240
    while not steps(out) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on_exactly(tmp_path: Path, voc: Path) -> None:
    """One signal to the parent alone: all save at one iteration, exit 75; resumed, the end is the same."""
    two = ("--devices", "2", "--accumulate", "2", "--set", "solver.images_per_batch=4")
    straight = subprocess.run(
        command(voc, tmp_path / "a", *two),
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **ONE_TASK_OF_SLURM},
    )
    assert straight.returncode == 0, straight.stderr
    assert "naiveSyncBN" in straight.stderr
    assert "4 images in 2 parts" in straight.stderr

    often = [*command(voc, tmp_path / "b", *two), "--set", "run.checkpoint_iterations=1"]
    process = start(often)
    wait_for_a_checkpoint(process, tmp_path / "b")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    assert out == ""
    assert all_gone(process.pid), "a process of the training went on"
    assert steps(tmp_path / "b")[-1] < "step-00000006", "the signal came too late to show anything"

    resumed = subprocess.run([*often, "--resume"], capture_output=True, text=True, timeout=300)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == straight.stdout
    first, second = (
        load_file(next((tmp_path / name).glob("runs/**/step-00000006/tensors.safetensors")))
        for name in ("a", "b")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_a_signal_to_the_group_of_a_run_with_workers_saves(tmp_path: Path, voc: Path) -> None:
    """Schedulers signal every process; a loader worker that dies of it would take the run with it."""
    changes = ("run.num_workers=1", "solver.iterations=200", "run.checkpoint_iterations=1")
    process = start([*command(voc, tmp_path), *(part for value in changes for part in ("--set", value))])
    wait_for_a_checkpoint(process, tmp_path)
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    assert steps(tmp_path)
    assert "Traceback" not in err


@pytest.mark.slow
def test_an_error_of_a_process_keeps_its_kind(tmp_path: Path, voc: Path) -> None:
    job = make_job(tmp_path, voc, *TWO[1:])
    run(job)
    assert final_tensors(job)
    model = job.protocol.model.model_copy(update={"norm": "naiveSyncBN"})
    two = replace(job, protocol=job.protocol.model_copy(update={"model": model}), num_devices=2)
    with pytest.raises(CheckpointError, match="another run"):
        run(replace(two, resume=True))


def test_errors_are_read_from_a_traceback() -> None:
    text = (
        "-- Process 1 terminated\nTraceback (most recent call last):\nbench.core.errors.CheckpointError: a\nb"
    )
    error = _as_raised(text)
    assert isinstance(error, CheckpointError)
    assert str(error) == "a\nb"
    assert isinstance(_as_raised("...\ntorch.OutOfMemoryError: CUDA out of memory."), EngineError)
    gone = "RuntimeError: [/pytorch/third_party/gloo/transport/tcp/pair.cc:547] Connection closed by peer"
    assert isinstance(_as_raised(f"Traceback\n{gone}"), EngineError)
    with pytest.raises(RuntimeError):
        _as_raised("ValueError: ours")
