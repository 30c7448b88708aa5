"""Honest files with bytes changed, cut out and moved: each is read or refused, and nothing of it runs."""

from __future__ import annotations

import codecs
import pickle
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors  # noqa: F401  (imported by the reader when it meets one)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from bench.core.errors import WeightsError
from bench.core.tensor_ref import TensorRef
from bench.core.weights import read_checkpoint
from tests.helpers.forge import (
    PROTO,
    STOP,
    byol,
    haiku,
    plain,
    raw_zip,
    state,
    tensor,
    torch_legacy,
    torch_zip,
)

for codec in ("latin-1", "raw-unicode-escape", "utf-8"):
    codecs.lookup(codec)

ARRAYS = {"w": np.ones((2, 3), np.float32), "n": np.float64(0.5)}
CONFIG = pickle.dumps(OmegaConf.create({"lr": 0.1, "steps": [1, 2]}), protocol=2)[2:-1]
STATE = PROTO + b"}(" + plain("w") + tensor() + plain("config") + CONFIG + b"u" + STOP
ENTRIES = [("a/data.pkl", STATE), ("a/version", b"3\n"), ("a/data/0", b"\0" * 16)]
HONEST = [
    torch_zip(STATE),
    raw_zip(ENTRIES, crc32=lambda content: 0),  # no checksums: the changes reach the pickle
    torch_legacy(state(tensor(legacy=True))),
    *(pickle.dumps(ARRAYS, protocol=protocol) for protocol in (0, 2, 5)),
    byol({"net/conv": {"w": ARRAYS["w"]}}, {"net/norm": {"average": ARRAYS["w"]}}),
    PROTO + haiku({"net": {"w": ARRAYS["w"]}}, "frozendict") + STOP,
]

Edit = tuple[str, int, int, int]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(("change", "flip", "cut", "move", "repeat", "splice")),
        st.integers(0, 2**16),
        st.integers(0, 2**16),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=5,
)


def _edited(data: bytes, edits: list[Edit]) -> bytes:
    for kind, first, second, byte in edits:
        at, other = first % (len(data) + 1), second % (len(data) + 1)
        start, end = min(at, other), min(max(at, other), min(at, other) + 64)
        match kind:
            case "change":
                data = data[:at] + bytes([byte]) + data[at + 1 :]
            case "flip":
                data = (
                    data[:at] + bytes([value ^ 1 << byte % 8 for value in data[at : at + 1]]) + data[at + 1 :]
                )
            case "cut":
                data = data[:start] + data[end:]
            case "move":
                data = data[:start] + data[end : end + 16] + data[start:end] + data[end + 16 :]
            case "repeat":
                data = data[:end] + data[start:end] + data[end:]
            case "splice":
                donor = HONEST[byte % len(HONEST)]
                data = data[:at] + donor[second % len(donor) :][:64] + data[at:]
    return data


BAD = ("exec", "compile", "subprocess", "os.", "socket", "ctypes", "pickle", "marshal", "import", "shutil")
events: list[str] = []
watching = [False]


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if watching[0] and (event.startswith(BAD) or (event == "open" and args[1] not in ("r", "rb"))):
        events.append(f"{event} {str(args)[:80]}")


@pytest.fixture(scope="module", autouse=True)
def _install_hook() -> None:
    sys.addaudithook(_hook)  # for good: Python has no way to take one back


def _leaves(value: Any, seen: set[int]) -> Iterator[TensorRef]:
    if isinstance(value, TensorRef):
        yield value
    elif isinstance(value, Mapping) and id(value) not in seen:
        seen.add(id(value))
        for item in value.values():
            yield from _leaves(item, seen)


def _read(path: Path) -> int:
    """How many tensors were read; a refusal counts as none."""
    del events[:]
    watching[0] = True
    try:
        return sum(leaf.read().size >= 0 for leaf in _leaves(read_checkpoint(path), set()))
    except WeightsError:
        return 0
    finally:
        watching[0] = False


@pytest.mark.parametrize("index", range(len(HONEST)))
def test_the_files_are_honest(tmp_path: Path, index: int) -> None:
    (tmp_path / "x").write_bytes(HONEST[index])
    assert _read(tmp_path / "x") > 0
    assert events == []


def test_the_hook_sees_pickle(tmp_path: Path) -> None:
    watching[0] = True
    pickle.loads(HONEST[4])
    watching[0] = False
    assert events


@settings(max_examples=1500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(index=st.integers(0, len(HONEST) - 1), edits=EDITS)
def test_changed_files_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, index: int, edits: list[Edit]
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.bin"
    path.write_bytes(_edited(HONEST[index], edits))
    _read(path)
    assert events == []
