"""Forged files in a child with limits: each is refused in its own words, and nothing of it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.container_corpus import forged_containers
from tests.helpers.pickle_corpus import forged_pickles


def _corpus(canary: Path) -> dict[str, tuple[bytes, str]]:
    """Name -> (file, words of the refusal). A file that runs leaves `canary` behind."""
    return forged_pickles(canary) | forged_containers()


_CHILD = """
import json, resource, sys, time
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
import numpy, safetensors, codecs
from bench.core.errors import WeightsError
from bench.core.weights import read_checkpoint
import encodings.latin_1, encodings.raw_unicode_escape
(Path(sys.argv[1]) / "warm").write_bytes(b"")
events = []
BAD = ("exec", "compile", "subprocess", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket",
       "webbrowser", "ctypes", "pty", "pickle", "marshal", "import", "shutil", "os.remove",
       "os.rename", "os.mkdir")
watching = [False]
def hook(event, args):
    if not watching[0]:
        return
    if event.startswith(BAD) and not (event == "import" and str(args[0]).startswith("safetensors")):
        events.append(event)
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        events.append("open for writing")
sys.addaudithook(hook)
for path in sorted(Path(sys.argv[1]).glob("*.bad")):
    started = time.monotonic()
    del events[:]
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
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
    watching[0] = False
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) // 1024
    print(json.dumps([path.stem, result, time.monotonic() - started, peak, list(events)]))
print(json.dumps(["torch" in sys.modules]))
"""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("corpus")
    canary = folder / "canary"
    files = _corpus(canary)
    for name, (data, _) in files.items():
        (folder / f"{name}.bad").write_bytes(data)
    run = subprocess.run(
        [sys.executable, "-c", _CHILD, str(folder)], capture_output=True, text=True, timeout=100, check=True
    )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert lines.pop() == [False], "torch was imported"
    assert not canary.exists(), "something ran"
    return {
        "words": {name: words for name, (_, words) in files.items()},
        "results": {name: rest for name, *rest in lines},
    }


@pytest.mark.parametrize("name", sorted(_corpus(Path("canary"))))
def test_forged_files_are_refused(verdicts: dict[str, Any], name: str) -> None:
    message, seconds, peak_mb, events = verdicts["results"][name]
    assert f"{name}.bad: " in message
    assert verdicts["words"][name] in message
    assert "\x1b" not in message
    assert len(message) < 1000
    assert events == []
    assert seconds < 10
    assert peak_mb < 512
