"""`bench convert` that fails or is stopped: what was there stays, and nothing half-done lies beside it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from click import Abort

from bench.core import atomic
from bench.core.errors import DiskError, Stopped, WeightsError
from bench.core.weights import Weights
from tests.helpers.run_convert import files, run
from transfer.adapters import convert as adapters_convert
from transfer.adapters import load as adapters_load
from transfer.adapters.load import load_backbone
from transfer.engines import proof
from transfer.engines.proof import Proof


@pytest.fixture(scope="module")
def plain(checkpoint: Path) -> Weights:
    return load_backbone(checkpoint)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, plain: Weights) -> None:
    """The checkpoint was read already, and the file is a short one."""
    monkeypatch.setattr(adapters_load, "load_backbone", lambda *_, **__: plain)
    monkeypatch.setattr(adapters_convert, "file_bytes", lambda *_: b"converted")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [WeightsError("C3 differs"), KeyboardInterrupt(), ZeroDivisionError()])
def test_a_proof_that_fails_leaves_nothing(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    seen: list[Path] = []

    def prove(target: str, path: Path, weights: Weights) -> tuple[Proof, ...]:
        seen.append(path)
        raise error

    monkeypatch.setattr(proof, "prove", prove)
    (tmp_path / "net.pkl").write_bytes(b"mine")
    with pytest.raises((type(error), Abort)):
        run(checkpoint, "--to", "detectron2", "-o", tmp_path / "net.pkl", "--force")
    assert files(tmp_path) == {"net.pkl": b"mine"}
    assert seen and not seen[0].parent.exists()


MMSEG = ("net.pth.card.json", "net.py", "net.pth")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("there", [(), ("net.pth",), MMSEG])
@pytest.mark.parametrize(("module", "call"), [(atomic, "_write_synced"), (os, "rename")])
@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_what_stops_halfway_changes_nothing(
    tmp_path: Path,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: tuple[str, ...],
    module: ModuleType,
    call: str,
    count: int,
    error: BaseException,
) -> None:
    """The disk is full, or a key is pressed, at the n-th file: no card of others lies beside the weights."""
    real, calls = getattr(module, call), []

    def fail(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == count + 1:
            raise error
        return real(*arguments)

    folder = tmp_path / "out"
    if there:
        folder.mkdir()
    for name in there:
        (folder / name).write_bytes(b"mine")
    monkeypatch.setattr(module, call, fail)
    with pytest.raises((DiskError, Abort)):
        run(checkpoint, "--to", "mmseg", "-o", folder / "net.pth", "--no-verify", "--force")
    assert len(calls) > count
    assert files(tmp_path) == dict.fromkeys(there, b"mine")
    assert folder.exists() == bool(there)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("target", "config", "name"), [("mmseg", "net.py", "net.pth"), ("detectron2", "net.yaml", "net.pkl")]
)
def test_the_weights_come_last(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, target: str, config: str, name: str
) -> None:
    """A kill undoes nothing: without card and config they would be taken for what their names say."""
    asked: list[str] = []
    monkeypatch.setattr(atomic, "write_files", lambda files: asked.extend(path.name for path in files))
    run(checkpoint, "--to", target, "-o", tmp_path / name, "--no-verify")
    assert asked == [f"{name}.card.json", config, name]


SLEEP = """
import sys, time
from types import SimpleNamespace
import transfer.engines.proof as proof
import transfer.adapters.convert as convert
import bench.cli

def prove(target, path, weights):
    print(path.parent, flush=True)
    try:
        time.sleep(60)
    except Exception:
        pass  # as engines do

proof.prove = prove
convert.file_bytes = lambda *_: b"converted"
sys.argv = ["bench", "convert", *sys.argv[1:]]
bench.cli.main()
"""


@pytest.mark.parametrize(
    ("number", "there"), [(signal.SIGTERM, True), pytest.param(signal.SIGHUP, False, marks=pytest.mark.slow)]
)
def test_a_signal_during_the_proof_leaves_nothing(
    tmp_path: Path, checkpoint: Path, number: signal.Signals, there: bool
) -> None:
    (tmp_path / "temp").mkdir()
    out = tmp_path / "out" / "net.pth"
    if there:
        out.parent.mkdir()
        out.write_bytes(b"mine")
    command = [sys.executable, "-c", SLEEP, str(checkpoint), "--to", "timm", "-o", str(out), "--force"]
    environment = os.environ | {"TMPDIR": str(tmp_path / "temp")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.parent == tmp_path / "temp" and any(folder.iterdir())
        process.send_signal(number)
        code, said = process.wait(30), process.stderr.read()
    assert code == Stopped.exit_code
    assert number.name in said and "Traceback" not in said
    assert list((tmp_path / "temp").iterdir()) == []
    assert files(tmp_path) == ({"net.pth": b"mine"} if there else {})


@pytest.mark.usefixtures("quick")
def test_handlers_are_put_back_and_an_ignored_signal_stays_ignored(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def prove(*_: object) -> tuple[Proof, ...]:
        seen.extend(signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP))
        return ()

    monkeypatch.setattr(proof, "prove", prove)
    before = signal.getsignal(signal.SIGTERM)
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run(checkpoint, "--to", "timm", "-o", tmp_path / "net.pth")
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, hangup)
    assert seen[0] is not before and seen[1] is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) is before
