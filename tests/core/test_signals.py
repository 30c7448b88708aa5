"""Stop signals: noted, not obeyed at once; a second Ctrl-C stops; everything is put back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from bench.core.signals import watch

WATCHED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)


@pytest.fixture(autouse=True)
def _harmless() -> object:
    """Should a handler of ours be missing, the signal fails the test and does not end the test run."""

    def fail(number: int, _frame: object) -> None:
        raise AssertionError(f"signal {number} was not noted")

    before = {number: signal.signal(number, fail) for number in WATCHED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", WATCHED)
def test_a_signal_is_noted_and_work_goes_on(number: signal.Signals) -> None:
    with watch() as stop:
        assert not stop
        assert stop.name is None
        send(number)
        assert stop
        assert stop.name == number.name


@pytest.mark.parametrize("first", WATCHED)
def test_the_keyboard_stops_at_once_the_second_time(first: signal.Signals) -> None:
    with watch() as stop:
        send(first)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        assert stop


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGUSR1])
def test_a_scheduler_may_repeat_itself(second: signal.Signals) -> None:
    with watch() as stop:
        for number in (signal.SIGTERM, second, second):
            send(number)
        assert stop


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in WATCHED]
    with watch():
        assert all(signal.getsignal(number) not in before for number in WATCHED)
    assert [signal.getsignal(number) for number in WATCHED] == before
    with pytest.raises(ValueError, match="inside"), watch():
        raise ValueError("inside")
    assert [signal.getsignal(number) for number in WATCHED] == before


def test_watching_inside_a_watch() -> None:
    with watch() as outer:
        with watch() as inner:
            send(signal.SIGTERM)
        assert inner
        assert not outer
        send(signal.SIGTERM)
        assert outer


def test_a_real_process_leaves_its_loop() -> None:
    code = """
import sys, time
from bench.core.signals import watch
with watch() as stop:
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    for _ in range(1000):
        if stop:
            sys.exit(75)
        time.sleep(0.01)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        if process.stdout is not None:
            assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 75


def test_a_parent_ends_although_its_workers_hear_no_signal() -> None:
    """Python waits at exit for children it has sent SIGTERM to."""
    script = (
        "import multiprocessing, sys, time\n"
        "from bench.core import signals\n"
        "def work(started):\n"
        "    signals.leave_stopping_to_the_parent()\n"
        "    started.set()\n"
        "    time.sleep(60)\n"
        "context = multiprocessing.get_context('fork')\n"
        "started = context.Event()\n"
        "child = context.Process(target=work, args=(started,), daemon=True)\n"
        "child.start()\n"
        "started.wait()\n"
        "if sys.argv[1] == 'kill':\n"
        "    signals.end_workers_at_exit()\n"
        "print(child.pid, flush=True)\n"
        "sys.exit(3)\n"
    )
    command = [sys.executable, "-c", script]
    ended = subprocess.run([*command, "kill"], capture_output=True, timeout=20, check=False)
    assert ended.returncode == 3
    waiting = subprocess.Popen([*command, "wait"], stdout=subprocess.PIPE)
    assert waiting.stdout is not None
    child = int(waiting.stdout.readline())
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=2)
    for process in (child, waiting.pid):
        os.kill(process, signal.SIGKILL)
    waiting.wait()
    waiting.stdout.close()
