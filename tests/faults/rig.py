"""A fork server: forks children that write, kills or cuts them, and looks at what is left on the disk.

Runs as a process of its own (`python -m tests.faults.rig JOB FOLDER`), since a fork of the test run would
carry threads along. It imports torch only for checkpoints, and runs no kernel: a child of a process with
a pool of threads would wait for ever. Prints one JSON object; ends itself after a minute.
"""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.core import atomic

MIB = 1 << 20
CUT = 77
"""Exit code of a child that was cut at its crash point."""

CALLS = (
    "open",
    "replace",
    "fsync",
    "link",
    "rename",
    "unlink",
    "rmdir",
    "mkdir",
    "fchmod",
    "chmod",
    "fdopen",
)
"""What the writer asks of the system, through `os`, also by way of tempfile, pathlib and shutil."""

MAY_BE_FULL = ("open", "replace", "fsync", "link", "rename", "mkdir", "fchmod", "chmod", "fdopen", "write")


class HalfFile:
    """A file whose `write` is a call like the others, and does half of its work before it."""

    def __init__(self, file: Any, act: Callable[[str], None]) -> None:
        self._file, self._act = file, act

    def __enter__(self) -> HalfFile:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> None:
        self._file.write(data[: len(data) // 2])
        self._file.flush()
        self._act("write")
        self._file.write(data[len(data) // 2 :])


@contextmanager
def hooked(act: Callable[[str], None]) -> Iterator[None]:
    """Every call of the writer passes `act` with its name first, which may raise or end the process."""
    real = {name: getattr(os, name) for name in CALLS}

    def hook(name: str) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            act(name)
            result = real[name](*args, **more)
            return HalfFile(result, act) if name == "fdopen" else result

        return call

    def open_file(path: Path, mode: str) -> HalfFile:
        act("open")
        return HalfFile(open(path, mode), act)

    for name in CALLS:
        setattr(os, name, hook(name))
    atomic.open = open_file  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for name in CALLS:
            setattr(os, name, real[name])
        del atomic.open  # type: ignore[attr-defined]


def no_links(*_args: Any, **_more: Any) -> None:
    """In place of `os.link`, on a file system without hard links."""
    raise OSError(errno.EPERM, "no links here")


def child(work: Callable[[], None]) -> int:
    """Fork, do `work`, leave without cleaning up."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException as error:  # the child must never come back into the parent's code
        sys.stderr.write(f"child: {error!r}\n")
        os._exit(99)


def finished(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def crash_points(prepare: Callable[[], None], work: Callable[[], None], look: Callable[[], str]) -> list[str]:
    """For each call of `work` in turn: prepare, die in place of that call, and look."""
    found = []
    for point in range(1000):
        prepare()

        def cut_work(point: int = point) -> None:
            left = [point]

            def cut(_name: str) -> None:
                if not left[0]:
                    os._exit(CUT)
                left[0] -= 1

            with hooked(cut):
                work()

        code = finished(child(cut_work))
        found.append(look())
        if code == 0:
            return found
        if code != CUT:
            raise RuntimeError(f"crash point {point}: exit code {code}")
    raise RuntimeError("the work does not end")


def kills(work: Callable[[int], None], look: Callable[[], str], *, num: int, until: float) -> dict[str, int]:
    """SIGKILL children that call `work(0)`, `work(1)`, ... at random moments; counts what is left."""
    draw, counts = random.Random(0), dict[str, int]()

    def forever() -> None:
        number = 0
        while True:
            work(number)
            number += 1

    for _ in range(num):
        pid = child(forever)
        time.sleep(draw.uniform(0.002, until))
        os.kill(pid, signal.SIGKILL)
        finished(pid)
        state = look()
        counts[state] = counts.get(state, 0) + 1
    return counts


def block(number: int, size: int) -> bytes:
    return bytes([65 + number % 26]) * size


def state_of(path: Path, size: int) -> str:
    """Whether a file is whole: of full size, one letter throughout."""
    if not path.exists():
        return "gone"
    data = path.read_bytes()
    return "whole" if len(data) == size and data.count(data[:1]) == size else "torn"


def in_place(path: Path, data: bytes) -> None:
    """The naive writer, a negative control."""
    with open(path, "wb") as file:
        file.write(data)


def delete_then_rename(path: Path, data: bytes) -> None:
    """The other naive writer: never torn, but sometimes gone."""
    temp = path.with_name("temp")
    in_place(temp, data)
    path.unlink(missing_ok=True)
    time.sleep(0.001)
    temp.rename(path)


WRITERS = {"atomic": atomic.write_bytes, "in_place": in_place, "delete": delete_then_rename}


def job_kill(folder: Path, writer: str, size: str, num: str) -> dict[str, int]:
    path, count = folder / "file", int(size)
    in_place(path, block(0, count))
    write = WRITERS[writer]
    counts = kills(
        lambda number: write(path, block(number, count)),
        lambda: state_of(path, count),
        num=int(num),
        until=0.03,
    )
    atomic.sweep(folder)
    return counts


def job_limit(folder: Path) -> dict[str, Any]:
    """Write with RLIMIT_FSIZE at points through the file: the exit code of each, and what is left."""
    path = folder / "file"
    found = {}
    for limit in (0, 1, 4096, MIB // 2, MIB - 1, MIB):
        in_place(path, b"old" * 1000)

        def work(limit: int = limit) -> None:
            from bench.core.errors import DiskError

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            try:
                atomic.write_bytes(path, block(0, MIB))
            except DiskError as error:
                os._exit(error.exit_code)

        code = finished(child(work))
        left = "old" if path.read_bytes() == b"old" * 1000 else state_of(path, MIB)
        found[str(limit)] = [code, left, len(list(folder.iterdir()))]
    return found


def job_checkpoint(folder: Path) -> dict[str, Any]:
    """Cut a save at every point, then kill saves at random moments; the newest step each time."""
    import numpy as np
    import torch

    from bench.core import checkpoint as checkpoints

    def save(step: int) -> None:
        tensors = {"weight": torch.from_numpy(np.full(1024, step, dtype=np.float32))}
        checkpoints.save(folder, checkpoints.Checkpoint(step=step, tensors=tensors, state={"step": step}))

    for step in (1, 2):
        save(step)
    template = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def prepare() -> None:
        for entry in folder.iterdir():
            shutil.rmtree(entry)
        for path, data in template.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)

    def look() -> str:
        found, damaged = checkpoints.newest(folder)
        if found is None:
            return "none"
        if found.state != {"step": found.step} or (found.tensors["weight"].numpy() != found.step).any():
            return "wrong"
        return f"{found.step}{' damaged' * len(damaged)}"

    points = {str(step): crash_points(prepare, lambda step=step: save(step), look) for step in (2, 3)}
    prepare()
    seen = [2]

    def next_save(_number: int) -> None:
        found, _ = checkpoints.newest(folder)
        save(found.step + 1 if found else 0)

    def look_on() -> str:
        state = look()
        if not state.isdigit() or int(state) < seen[-1]:
            return f"{state} after {seen[-1]}"
        seen.append(int(state))
        return "whole"

    counts = kills(next_save, look_on, num=15, until=0.03)
    return {"points": points, "kills": counts, "last": seen[-1]}


if __name__ == "__main__":
    signal.alarm(60)
    jobs = {"kill": job_kill, "limit": job_limit, "checkpoint": job_checkpoint}
    result = jobs[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
    sys.stdout.write(json.dumps(result))
