"""One process a folder; the kernel frees the lock of a dead one."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.core.errors import DiskError, UsageError
from bench.core.lock import hold, holder

CODE = """
import sys, time
from pathlib import Path
from bench.core.lock import hold
with hold(Path(sys.argv[1])):
    sys.stdout.write("held\\n")
    sys.stdout.flush()
    sys.stdin.read()
"""


@contextmanager
def other_process(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", CODE, str(folder)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process


def test_another_process_is_named_and_its_end_frees(tmp_path: Path) -> None:
    with other_process(tmp_path / "run") as process:
        with pytest.raises(UsageError) as caught, hold(tmp_path / "run"):
            pass
        for part in (str(tmp_path / "run"), str(process.pid), socket.gethostname()):
            assert part in str(caught.value)
        with hold(tmp_path / "another"):
            pass
        process.communicate()
    with hold(tmp_path / "run"):
        pass


def test_a_killed_process_leaves_no_stale_lock(tmp_path: Path) -> None:
    with other_process(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)
        with hold(tmp_path):
            assert str(os.getpid()) in (tmp_path / ".lock").read_text()
            assert str(process.pid) not in (tmp_path / ".lock").read_text()


def test_one_process_cannot_hold_a_folder_twice(tmp_path: Path) -> None:
    with hold(tmp_path), pytest.raises(UsageError, match=str(os.getpid())), hold(tmp_path):
        pass
    with hold(tmp_path):
        pass


def test_an_error_inside_frees(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), hold(tmp_path):
        raise ValueError("inside")
    with hold(tmp_path):
        pass


def test_the_content_of_a_damaged_lock_file_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_bytes(b"\xff\x00" * 4000)
    with hold(tmp_path):
        assert len((tmp_path / ".lock").read_bytes()) < 400


@pytest.mark.parametrize("below", ["", "run"])
def test_a_file_in_the_way_is_a_disk_error(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DiskError, match="file"), hold(tmp_path / "file" / below):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_no_handle_is_left(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        with hold(tmp_path), pytest.raises(UsageError), hold(tmp_path):
            pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_holder_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    assert holder(tmp_path / "run") is None
    assert not (tmp_path / "run").exists()
    with other_process(tmp_path / "run") as process:
        assert holder(tmp_path / "run") == f"process {process.pid} on {socket.gethostname()}"
        process.communicate()
    assert holder(tmp_path / "run") is None


def test_who_asks_for_the_holder_keeps_nobody_out(tmp_path: Path) -> None:
    """Its shared lock lasts an instant; a process that begins then tries again."""
    with hold(tmp_path):
        pass
    asking = os.open(tmp_path / ".lock", os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    threading.Timer(0.07, os.close, [asking]).start()
    with hold(tmp_path):
        pass


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(DiskError, match="no locks"), hold(tmp_path):
        pass
