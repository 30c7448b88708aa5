"""The whole command in two processes: started by us or by torchrun, stopped, killed, resumed, refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from bench.cli import bench
from bench.core.errors import BenchError
from pretrain import run
from pretrain.plan import Options, make_plan
from tests.helpers.groups import ONE_TASK_OF_SLURM, all_gone
from tests.helpers.two_processes import make_data

SETTINGS = (
    "backbone.arch=resnet18",
    "view.crop_px=32",
    "batch_size=4",
    "epochs=2",
    "parts.queue_size=18",
    "optimizer.kind=sgd",
    "loop.num_workers=0",
    "loop.log_steps=1",
    "monitor.every_epochs=1",
    "monitor.crop_px=32",
)
NUM_STEPS = 20  # of four of 40 images
MODULE = (sys.executable, "-W", "ignore", "-m")
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
LIMIT_SECONDS = 240
"""For what takes ten on an idle machine."""


def arguments(data: Path, out: Path, *more: str, method: str = "moco_v2") -> list[str]:
    changes = [part for value in SETTINGS for part in ("--set", value)]
    places = ["--data", str(data), "--out", str(out)]
    return ["pretrain", method, "--smoke", "--precision", "fp32", *changes, *places, *more]


def start(command: list[str], cache: Path) -> subprocess.Popen[str]:
    pipe, environment = subprocess.PIPE, {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    if environment.pop("PYTHONDONTWRITEBYTECODE", None):
        # A dozen processes import torch here: compiled once, they need half the time.
        environment["PYTHONPYCACHEPREFIX"] = str(cache)
    return subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        return process.communicate(timeout=LIMIT_SECONDS)
    finally:
        if not all_gone(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail("a process of the training went on")


def rows(folder: Path) -> int:
    """Steps in the log of a run."""
    try:
        return len((folder / "log.csv").read_text(encoding="utf-8").splitlines()) - 1
    except FileNotFoundError:
        return -1


def newest(folder: Path) -> int:
    """The step of the newest checkpoint."""
    return max((int(path.name[-8:]) for path in folder.glob("checkpoints/step-*")), default=0)


def wait_for_a_step(process: subprocess.Popen[str], folder: Path) -> None:
    """Until it has made two steps more than are saved."""
    saved, deadline = newest(folder), time.monotonic() + LIMIT_SECONDS
    # The log of a run that goes on is cut to what is saved, once.
    before = rows(folder)
    while rows(folder) < saved + 2 or rows(folder) == before:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def trainers(process: subprocess.Popen[str]) -> list[int]:
    """The processes that train, in the order of their start: by rank."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8")
    found = [int(number) for number in listed.split()]
    return sorted(pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("images") / "data")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, data: Path) -> tuple[Path, str, str]:
    """Two seeds in one piece under torchrun: the folder of the first, stdout, stderr."""
    out = tmp_path_factory.mktemp("straight")
    command = [*MODULE, *TORCHRUN, "bench", *arguments(data, out, "--seeds", "0,1")]
    process = start(command, data.parent / "cache")
    printed, said = finish(process)
    assert process.returncode == 0, said
    return next(out.glob("pretrain/*/seed-0")), printed, said


@pytest.mark.slow
def test_processes_that_torchrun_started_hold_write_and_print_once(
    straight: tuple[Path, str, str],
) -> None:
    """A second holder of the folder would be refused, and its exit code be that of all."""
    folder, printed, said = straight
    assert [line.split("  ")[:2] for line in printed.splitlines()] == [
        ["resnet18.moco_v2_smoke", "seed 0"],
        ["resnet18.moco_v2_smoke_seed1", "seed 1"],
    ]
    assert said.count("2 CPU processes, started by torchrun") == 1
    assert said.count("Epoch 2 of 2: knn") == 2
    assert "Traceback" not in said
    assert rows(folder) == rows(folder.parent / "seed-1") == NUM_STEPS
    assert (folder / "weights.safetensors").exists()


@pytest.mark.slow
def test_processes_stay_connected_from_seed_to_seed(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under torchrun a second meeting finds the addresses of the first, now and then: a race, shown here."""
    events: list[int | str] = []
    monkeypatch.setattr(run, "_run", lambda fabric, job: events.append(job.seed))
    monkeypatch.setattr(run, "_result", lambda seed, path: None)
    monkeypatch.setattr(run.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(run.dist, "destroy_process_group", lambda: events.append("apart"))
    options = Options(what="moco_v2", data=data, out=tmp_path, seeds=(0, 1), smoke=True, overrides=SETTINGS)
    run.execute(make_plan(options))
    assert events == [0, 1, "apart"]


def terminate(process: subprocess.Popen[str]) -> None:
    process.terminate()


def signal_both(process: subprocess.Popen[str]) -> None:
    """One signal to the second of those that train, another to the parent."""
    os.kill(trainers(process)[1], signal.SIGUSR2)
    process.send_signal(signal.SIGUSR1)


def kill_the_second(process: subprocess.Popen[str]) -> None:
    os.kill(trainers(process)[1], signal.SIGKILL)


@pytest.mark.slow
def test_stopped_and_killed_and_gone_on_with_it_ends_as_in_one_piece(
    tmp_path: Path, data: Path, straight: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stop saves in both at one step; started by us or by torchrun, the tensors are the same bits."""
    for name, value in ONE_TASK_OF_SLURM.items():
        monkeypatch.setenv(name, value)
    command = [*MODULE, "bench", *arguments(data, tmp_path, "--devices", "2", "--resume")]
    folder = tmp_path / "pretrain" / straight[0].parent.name / "seed-0"
    steps = [0]
    for act, code, message in [
        (terminate, 75, "SIGTERM: saved after step"),
        (signal_both, 75, ": saved after step"),
        (kill_the_second, 6, "a process of the training was killed"),
    ]:
        process = start(command, data.parent / "cache")
        wait_for_a_step(process, folder)
        acted = time.monotonic()
        act(process)
        printed, said = finish(process)
        assert time.monotonic() - acted < 60, "it took too long to end"
        assert process.returncode == code, said
        assert message in said.splitlines()[-1]
        assert printed == ""
        steps.append(newest(folder))
        if code == 75:
            assert f"saved after step {steps[-1]};" in said
            assert steps[-2] < steps[-1] < NUM_STEPS
    assert not (folder / "weights.safetensors").exists()

    process = start(command, data.parent / "cache")
    printed, said = finish(process)
    assert process.returncode == 0, said
    assert f"Going on after step {steps[-1]}." in said
    assert printed.count("\n") == 1
    name = Path("checkpoints") / f"step-{NUM_STEPS:08d}" / "tensors.safetensors"
    ours, theirs = (load_file(place / name) for place in (folder, straight[0]))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    for file in ("log.csv", "weights.safetensors"):
        assert (folder / file).read_bytes() == (straight[0] / file).read_bytes(), file


@pytest.mark.parametrize(
    ("method", "more", "code", "message"),
    [
        ("moco_v2", ("--precision", "fp16"), 6, "precision fp16 needs a GPU"),
        ("simclr", ("--set", "backbone.norm=sync_batch"), 6, "SyncBN over several processes needs GPUs"),
        ("moco_v2", ("--set", "batch_size=5"), 3, "does not divide by 2 devices times 1 parts"),
        ("moco_v2", ("--set", "loop.accumulation_steps=3"), 3, "does not divide by 2 devices times 3 parts"),
        ("moco_v2", ("--set", "batch_size=2"), 3, "leaves each part one image"),
    ],
)
def test_what_two_processes_cannot_do_is_refused_before_anything_is_written(
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    more: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    out = tmp_path / "out"
    changes = [part for value in SETTINGS[:2] for part in ("--set", value)]
    line = ["pretrain", method, "--smoke", *changes, "--data", str(data), "--out", str(out)]
    sized = ["--set", "batch_size=4", "--devices", "2", *more]
    error = CliRunner().invoke(bench, [*line, *sized], standalone_mode=False).exception
    assert isinstance(error, BenchError)
    assert error.exit_code == code
    assert message in str(error)
    assert not out.exists()
