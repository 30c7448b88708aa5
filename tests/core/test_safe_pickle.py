"""The machine against pickle on honest values, and against noise."""

from __future__ import annotations

import argparse
import datetime
import io
import pickle
import random
import sys
import types
import uuid
from collections import Counter, OrderedDict, deque
from contextlib import suppress
from itertools import accumulate
from pathlib import Path, PosixPath, PureWindowsPath
from typing import Any

import addict
import numpy as np
import pytest
from lightning_fabric.utilities.data import AttributeDict
from mmengine.config import Config, ConfigDict
from mmengine.logging import HistoryBuffer
from omegaconf import OmegaConf
from torch.torch_version import TorchVersion
from torchvision.transforms import InterpolationMode
from yacs.config import CfgNode

from bench.core.errors import WeightsError
from bench.core.pickle_inert import DICT_CLASSES
from bench.core.pickle_machine import Stream
from bench.core.pickle_names import INERT
from bench.core.pickle_values import Global, Inert
from bench.core.safe_pickle import load_pickle
from bench.core.tensor_ref import TensorRef
from bench.core.weights import read_checkpoint
from tests.helpers.forge import Call, byol, haiku, named_tuple, state, tensor


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


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04Nq\x07]\x94h\x01.",  # MEMOIZE counts values, not places
        b"\x80\x02K\x05q\x010h\x01.",
        b"\x80\x02K\x05q\x01K\x06q\x010h\x01.",
        b"I5\np3\n0g3\n.",
    ],
)
def test_memo_places_are_those_of_pickle(data: bytes) -> None:
    assert load_pickle(Stream(io.BytesIO(data), len(data)), "x") == pickle.loads(data)


@pytest.mark.parametrize("kind", [set, frozenset])
@pytest.mark.parametrize("protocol", [2, 4])
def test_numbers_as_elements(kind: Any, protocol: int) -> None:
    value = {
        "all": kind(range(8000)),
        1.5: {i: str(i) for i in range(8000)},
        "mixed": kind([1, "1", b"1", None]),
    }
    data = pickle.dumps(value, protocol=protocol)
    assert load_pickle(Stream(io.BytesIO(data), len(data)), "x") == value


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


def _load(data: bytes) -> Any:
    return load_pickle(Stream(io.BytesIO(data), len(data)), "x")


PLAIN_OBJECTS = [
    (argparse.Namespace(lr=0.03), "argparse.Namespace"),
    (types.SimpleNamespace(a=[1]), "types.SimpleNamespace"),
    (datetime.datetime(2020, 6, 13, tzinfo=datetime.UTC), "datetime.datetime"),
    (datetime.date(2020, 6, 13), "datetime.date"),
    (datetime.time(1, 2), "datetime.time"),
    (datetime.timedelta(hours=1), "datetime.timedelta"),
    (PosixPath("/data/x"), f"{PosixPath.__module__}.PosixPath"),
    (PureWindowsPath("c:/data"), f"{PosixPath.__module__}.PureWindowsPath"),
    (uuid.UUID(int=2**127), "uuid.UUID"),
    (InterpolationMode.BICUBIC, "torchvision.transforms.functional.InterpolationMode"),
    (TorchVersion("2.14.1"), "torch.torch_version.TorchVersion"),
    (
        OmegaConf.create({"lr": 1.5, "steps": [1, "${lr}", None, {"x": True}]}),
        "omegaconf.dictconfig.DictConfig",
    ),
    (OmegaConf.create([1, "x"]), "omegaconf.listconfig.ListConfig"),
    (Config({"model": {"depth": [50]}}), "mmengine.config.config.Config"),
    (HistoryBuffer([1.0, 2.0], [1, 1]), "mmengine.logging.history_buffer.HistoryBuffer"),
]


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize(("value", "name"), PLAIN_OBJECTS, ids=lambda value: str(value)[:40])
def test_objects_become_placeholders(value: Any, name: str, protocol: int) -> None:
    read = _load(pickle.dumps({"x": value, "kind": type(value)}, protocol=protocol))
    assert type(read["x"]) is Inert
    assert type(read["kind"]) is Global
    assert read["x"].name == read["kind"].name == name
    if isinstance(value, types.SimpleNamespace | argparse.Namespace):
        assert read["x"].state == vars(value)
    if isinstance(value, HistoryBuffer):
        assert read["x"].state["_log_history"].read().tolist() == [1.0, 2.0]


def test_what_a_config_says_is_kept() -> None:
    config = OmegaConf.create({"optimizer": {"lr": 0.5}})
    read = _load(pickle.dumps(config, protocol=2))
    inner = read.state["_content"]["optimizer"].state["_content"]["lr"]
    assert (inner.name, inner.state["_val"]) == ("omegaconf.nodes.AnyNode", 0.5)
    assert PosixPath(*_load(pickle.dumps(PosixPath("/a/b"))).args) == PosixPath("/a/b")


DICT_OBJECTS = [
    addict.Dict({"a": {"b": 1}, "c": [2]}),
    AttributeDict({"a": {"b": 1}, "c": [2]}),
    CfgNode({"a": CfgNode({"b": 1}), "c": [2]}),
    ConfigDict({"a": {"b": 1}, "c": [2]}),
    {"a": Counter({"b": 1}), "c": deque([2], maxlen=3)},
]


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("value", DICT_OBJECTS, ids=lambda value: type(value).__name__)
def test_dicts_of_other_classes_are_dicts(value: Any, protocol: int) -> None:
    read = _load(pickle.dumps(value, protocol=protocol))
    assert read == {"a": {"b": 1}, "c": [2]}
    assert (type(read), type(read["a"]), type(read["c"])) == (dict, dict, list)


def _stand_in(monkeypatch: pytest.MonkeyPatch, name: str, value: Any) -> Any:
    """Put `value` where pickle looks for `name`: most of these libraries are not installed."""
    module, _, attribute = name.rpartition(".")
    value.__module__, value.__qualname__ = module, attribute
    for parent in accumulate(module.split("."), "{}.{}".format):
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    monkeypatch.setattr(sys.modules[module], attribute, value, raising=False)
    return value


DICT_NAMES = [name for names in DICT_CLASSES.values() for name in names]


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", sorted([*DICT_NAMES, *INERT]))
def test_every_class_is_read_as_python_writes_it(
    monkeypatch: pytest.MonkeyPatch, name: str, protocol: int
) -> None:
    is_dict = name in DICT_NAMES
    made = _stand_in(monkeypatch, name, type("Made", (dict,) if is_dict else (), {}))
    value = made()
    if is_dict:
        value["w"] = 1
    value.note = "state"
    data = pickle.dumps({"x": value}, protocol=protocol)
    monkeypatch.undo()
    read = _load(data)["x"]
    if is_dict:
        assert read == {"w": 1}
        assert type(read) is dict
    else:
        assert (type(read), read.name, read.state) == (Inert, name, {"note": "state"})


def test_callbacks_of_old_lightning_are_keys() -> None:
    key = b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n"
    read = _load(b"\x80\x02}" + key + b"}s.")
    assert [str(name) for name in read] == ["<pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint>"]


@pytest.mark.parametrize("mapping", ["FlatMapping", "frozendict"])
def test_haiku_mappings_are_dicts(mapping: str) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    read = _load(b"\x80\x02" + haiku({"res_net/conv": {"w": values}}, mapping) + b".")
    assert np.array_equal(read["res_net/conv"]["w"].read(), values)


def test_a_checkpoint_of_byol(tmp_path: Path) -> None:
    kernel = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    average = np.full((1, 1, 1, 4), 0.5, dtype=np.float32)
    params = {"res_net50/~/initial_conv": {"w": kernel}}
    means = {"res_net50/~/initial_batchnorm/~/mean_ema": {"average": average, "counter": np.int32([3])}}
    (tmp_path / "byol.pkl").write_bytes(byol(params, means))
    read = read_checkpoint(tmp_path / "byol.pkl")
    assert list(read) == ["experiment_state", "step", "rng"]
    experiment = read["experiment_state"]
    assert list(experiment) == ["online_params", "target_params", "online_state", "target_state", "opt_state"]
    weight = experiment["online_params"]["res_net50/~/initial_conv"]["w"]
    assert isinstance(weight, TensorRef)
    assert np.array_equal(weight.read(), kernel)
    mean = experiment["online_state"]["res_net50/~/initial_batchnorm/~/mean_ema"]["average"]
    assert (mean.shape, mean.read().ravel().tolist()) == ((1, 1, 1, 4), [0.5] * 4)
    assert experiment["opt_state"][0] == {}
    assert list(experiment["opt_state"][1]) == ["mu"]
    assert read["step"] == 300_000


def test_named_tuples_keep_their_order() -> None:
    data = b"\x80\x02" + named_tuple("Two", ("b", "a"), [b"K\x01", b"K\x02"]) + b"."
    assert list(_load(data).items()) == [("b", 1), ("a", 2)]


IN_ONE_CALL = (
    "jax._src.device_array.reconstruct_device_array",
    "jax._src.array._reconstruct_array",
    "dill._dill._create_array",
)


@pytest.mark.parametrize("name", IN_ONE_CALL)
def test_arrays_in_one_call(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    values = np.arange(6, dtype=">i2").reshape(3, 2)
    function = _stand_in(monkeypatch, name, lambda *args: None)
    data = pickle.dumps({"rng": Call(function, *values.__reduce__(), {"weak_type": False})}, protocol=2)
    assert _load(data)["rng"].read().tolist() == values.tolist()


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
