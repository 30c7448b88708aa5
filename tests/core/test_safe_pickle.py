"""The machine against pickle on honest values, and against noise."""

from __future__ import annotations

import io
import pickle
import random
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import WeightsError
from bench.core.pickle_machine import Stream
from bench.core.safe_pickle import load_pickle
from bench.core.weights import read_checkpoint
from tests.helpers.forge import state, tensor


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values(protocol: int) -> None:
    value = {
        "text": "naïve \n 'quoted' \U0001f642",
        "bytes": b"\x00\xff",
        "numbers": [0, 1, -1, 255, 65536, -(2**31), 2**40, -(2**70), 1.5, float("inf"), True, None],
        "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "set": {1, 2},
        "frozen": frozenset({"a"}),
        "ordered": OrderedDict(a=1, b=OrderedDict()),
        "complex": 1 + 2j,
        "array": bytearray(b"xy"),
        3: {"nested": [[], {}]},
    }
    data = pickle.dumps(value, protocol=protocol)
    assert load_pickle(Stream(io.BytesIO(data), len(data)), "x") == value


def test_text_of_python_2() -> None:
    data = b"(dp0\nS'a\\xe9'\np1\nI01\nsS'n'\nL5L\nsS'f'\nF1.5\ns."
    assert load_pickle(Stream(io.BytesIO(data), len(data)), "x") == {"aé": True, "n": 5, "f": 1.5}


@pytest.mark.parametrize("protocol", range(6))
def test_equals_pickle_on_numpy_arrays(tmp_path: Path, protocol: int) -> None:
    rng = np.random.default_rng(0)
    values = {
        "f4": rng.normal(size=(3, 4)).astype("f4"),
        "big": rng.normal(size=(3, 4)).astype(">f8"),
        "fortran": np.asfortranarray(rng.normal(size=(3, 4, 2)).astype("f2")),
        "bool": np.array([True, False]),
        "bytes": np.frombuffer(bytes(range(256)), dtype="u1"),
        "scalar": np.array(3, dtype="i8"),
        "empty": np.zeros((0, 4), dtype="i2"),
    }
    content = {"model": values, "number": np.float64(0.1), "__author__": "us", "matching_heuristics": True}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    read = read_checkpoint(tmp_path / "x.pkl")
    assert {key: read[key] for key in ("number", "__author__", "matching_heuristics")} == {
        "number": 0.1,
        "__author__": "us",
        "matching_heuristics": True,
    }
    for name, array in values.items():
        found = read["model"][name].read()
        assert found.shape == array.shape
        assert found.dtype == array.dtype.newbyteorder("=")
        assert np.array_equal(found, array), name


def test_random_pickles_end_in_a_value_or_a_refusal() -> None:
    rng = random.Random(0)
    seeds = [pickle.dumps({"a": [1, (2.5, "x")], "b": np.ones(3, np.float32)}, protocol=p) for p in range(6)]
    seeds.append(state(tensor()))
    for _ in range(3000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with suppress(WeightsError):
            load_pickle(Stream(io.BytesIO(bytes(data)), len(data)), "x")
