"""Forged files in a child with limits: each is refused in its own words, and nothing of it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.container_corpus import forged_containers, full_containers
from tests.helpers.cost_corpus import costly_pickles, thrifty_pickles
from tests.helpers.name_corpus import forged_names, odd_files
from tests.helpers.often import often
from tests.helpers.pickle_corpus import forged_pickles

MAX_SECONDS = 10  # of the processor; what blows up takes minutes
MAX_MB = 300  # above what the interpreter has with numpy and our modules


def _corpus(canary: Path) -> dict[str, tuple[bytes, str]]:
    """Name -> (file, words of the refusal). A file that runs leaves `canary` behind."""
    parts = (forged_pickles(canary), forged_names(canary), forged_containers(), costly_pickles())
    files = {name: file for part in parts for name, file in part.items()}
    assert sum(map(len, parts)) == len(files)
    return files


def _read_files() -> dict[str, bytes]:
    """Name -> a file that is read all the same."""
    return odd_files() | full_containers() | thrifty_pickles()


# Reads each file of a folder under an audit hook; prints name, outcome, seconds, MB and bad events of each.
_CHILD = """
import json, pickle, resource, sys, time
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
import numpy, safetensors, codecs
from bench.core.errors import WeightsError
from bench.core.weights import read_checkpoint
import encodings.latin_1, encodings.raw_unicode_escape

folder, reader = Path(sys.argv[1]), sys.argv[2]
if reader == "pickle":
    def read_checkpoint(path):
        with open(path, "rb") as file:
            return {"x": pickle.load(file)}

events = []
BAD = ("exec", "compile", "subprocess", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket",
       "webbrowser", "ctypes", "pty", "pickle", "marshal", "import", "shutil", "os.remove",
       "os.rename", "os.mkdir", "object.__setattr__", "object.__delattr__")
watching = [False]
def hook(event, args):
    if not watching[0]:
        return
    if event.startswith(BAD) and not (event == "import" and str(args[0]).startswith("safetensors")):
        events.append(event)
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        events.append("open for writing")
sys.addaudithook(hook)

def memory(kind):
    return int(Path("/proc/self/status").read_text().split(kind)[1].split()[0]) // 1024

(folder / "warm").write_bytes(b"")
own = memory("VmRSS:")
for path in sorted(folder.glob("*.bad")):
    del events[:]
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    started = time.process_time()
    watching[0] = True
    try:
        value = read_checkpoint(path)
        for leaf in value.values():
            if hasattr(leaf, "read"):
                leaf.read()
        result = "accepted"
    except WeightsError as error:
        result = str(error)
    except BaseException as error:
        result = "CRASH " + repr(error)[:200]
    seconds = time.process_time() - started
    watching[0] = False
    value = leaf = None
    print(json.dumps([path.stem, result, seconds, memory("VmHWM:") - own, list(events)]))
print(json.dumps(["torch" in sys.modules]))
"""


def _read_in_child(folder: Path, files: dict[str, bytes], reader: str = "ours") -> dict[str, Any]:
    """Name -> (message or "accepted", seconds, MB, bad events)."""
    folder.mkdir()
    for name, data in files.items():
        (folder / f"{name}.bad").write_bytes(data)
    run = subprocess.run(
        [sys.executable, "-c", _CHILD, str(folder), reader],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert lines.pop() == [False], "torch was imported"
    return {name: rest for name, *rest in lines}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("corpus")
    canary = folder / "canary"
    files = {name: data for name, (data, _) in _corpus(canary).items()} | _read_files()
    verdicts = _read_in_child(folder / "files", files)
    assert len(verdicts) == len(files) > 200
    assert not canary.exists(), "something ran"
    return verdicts


_WORDS = {name: words for name, (_, words) in _corpus(Path("canary")).items()}


@pytest.mark.parametrize("name", sorted(_WORDS))
def test_forged_files_are_refused(verdicts: dict[str, Any], name: str) -> None:
    message, seconds, mb, events = verdicts[name]
    assert f"{name}.bad: " in message
    assert _WORDS[name] in message
    assert "\x1b" not in message
    assert len(message) < 1000
    assert events == []
    assert seconds < MAX_SECONDS
    assert mb < MAX_MB


@pytest.mark.parametrize("name", sorted(_read_files()))
def test_odd_files_are_read_and_have_no_effect(verdicts: dict[str, Any], name: str) -> None:
    message, seconds, mb, events = verdicts[name]
    assert (message, events) == ("accepted", [])
    assert seconds < MAX_SECONDS
    assert mb < MAX_MB


@pytest.mark.parametrize(
    "name", often(["plain_call", "plain_call_4", "protocol_0", "op_reduce"], ["plain_call"])
)
def test_the_rig_sees_what_plain_pickle_runs(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    verdict = _read_in_child(tmp_path / "files", {name: _corpus(canary)[name][0]}, "pickle")
    assert canary.exists()
    assert verdict[name][3], "the hook saw nothing"
