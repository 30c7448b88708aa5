"""The reader against torch and pickle on honest files, and against forged ones in a child with limits."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.core.errors import WeightsError
from bench.core.safe_pickle import Inert, Stream, TensorRef, load_pickle
from bench.core.weights import read_checkpoint

torch.set_num_threads(1)

DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
    torch.complex64,
    torch.complex128,
]
YOUNG_DTYPES = [torch.uint16, torch.uint32, torch.uint64]  # only with untyped storages, since the zip format


def _values() -> dict[str, Any]:
    torch.manual_seed(0)
    base = torch.randn(6, 8)
    tensors: dict[str, Any] = {str(kind): (torch.randn(3, 4) * 50).to(kind) for kind in DTYPES}
    tensors |= {
        "view": base[1:4, 2:7],
        "transposed": base.t(),
        "strided": base[::2, ::3],
        "shared": base,
        "expanded": torch.tensor([1.5]).expand(3, 5),
        "channels_last": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "zero_dim_inside": torch.zeros(3, 0, 2),
        "parameter": torch.nn.Parameter(torch.randn(5)),
        "nan": torch.tensor([float("nan"), -0.0, float("inf")]),
    }
    return tensors


def _numpy(value: torch.Tensor) -> np.ndarray:
    value = value.detach()
    return np.ascontiguousarray((value.float() if value.dtype == torch.bfloat16 else value).numpy())


def _assert_same(read: dict[Any, Any], expected: dict[str, torch.Tensor]) -> None:
    assert list(read) == list(expected)
    for name, tensor in expected.items():
        assert isinstance(read[name], TensorRef), name
        assert f"torch.{read[name].dtype}" == str(tensor.dtype)
        array, wanted = read[name].read(), _numpy(tensor)
        assert (array.shape, array.dtype) == (tensor.shape, wanted.dtype), name
        assert array.tobytes() == wanted.tobytes(), name
        assert array.flags.c_contiguous
        assert array.flags.writeable


@pytest.mark.parametrize("container", ["zip", "legacy", "zip_no_checksums"])
def test_equals_torch_load(tmp_path: Path, container: str) -> None:
    values = _values()
    if container != "legacy":
        values |= {str(kind): torch.arange(5).to(kind) for kind in YOUNG_DTYPES}
    torch.serialization.set_crc32_options(container != "zip_no_checksums")
    try:
        torch.save(values, tmp_path / "x.bin", _use_new_zipfile_serialization=container != "legacy")
    finally:
        torch.serialization.set_crc32_options(True)
    _assert_same(read_checkpoint(tmp_path / "x.bin"), torch.load(tmp_path / "x.bin", weights_only=True))


def test_a_big_endian_file(tmp_path: Path) -> None:
    values = np.arange(4, dtype=">f4")
    (tmp_path / "x.pth").write_bytes(
        _torch_zip(_state(_tensor()), values.tobytes(), extra={"a/byteorder": b"big"})
    )
    assert read_checkpoint(tmp_path / "x.pth")["w"].read().tolist() == [0, 1, 2, 3]


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


def test_harmless_objects_are_inert(tmp_path: Path) -> None:
    options = argparse.Namespace(lr=0.03, arch="resnet50")
    torch.save({"opt": options, "device": torch.device("cpu"), "size": torch.Size([2, 3])}, tmp_path / "x")
    read = read_checkpoint(tmp_path / "x")
    assert isinstance(read["opt"], Inert)
    assert read["opt"].state == vars(options)
    assert read["device"].name == "torch.device"
    assert read["size"] == (2, 3)


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(4), "b": torch.zeros(4)}, tmp_path / "x.pth")
    refs = read_checkpoint(tmp_path / "x.pth")
    data = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(data + b"!")
    with pytest.raises(WeightsError, match="changed while it was read"):
        refs["a"].read()


# Forged files are built here, at test time, so that nothing harmful is ever committed.

_STOP = b"."
_PROTO = b"\x80\x02"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def _plain(value: Any) -> bytes:
    """The opcodes that push a plain value, without protocol and _STOP."""
    return pickle.dumps(value, protocol=2)[2:-1]


def _storage(kind: str = "torch\nFloatStorage", key: Any = "0", count: Any = 4, tail: bytes = b"") -> bytes:
    head = b"(" + _plain("storage") + b"c" + kind.encode() + b"\n"
    return head + _plain(key) + _plain("cpu") + _plain(count) + tail + b"tQ"


def _tensor(
    offset: Any = 0,
    shape: Any = (4,),
    strides: Any = (1,),
    stored: bytes | None = None,
    *,
    legacy: bool = False,
) -> bytes:
    body = _storage(tail=b"N" if legacy else b"") if stored is None else stored
    hooks = b"ccollections\nOrderedDict\n)R"
    call = _plain(offset) + _plain(shape) + _plain(strides) + b"\x89" + hooks + b"tR"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + body + call


def _state(body: bytes, key: str = "w") -> bytes:
    """The pickle of a dict with one item."""
    return _PROTO + b"}" + _plain(key) + body + b"s" + _STOP


def _torch_zip(
    data: bytes,
    values: bytes = b"\0" * 16,
    *,
    extra: dict[str, bytes] | None = None,
    method: int = zipfile.ZIP_STORED,
) -> bytes:
    file = io.BytesIO()
    entries = {"a/data.pkl": data, "a/version": b"3\n", "a/byteorder": b"little", "a/data/0": values}
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in (entries | (extra or {})).items():
            archive.writestr(name, content)
    return file.getvalue()


def _torch_legacy(
    data: bytes,
    keys: Any = ("0",),
    blob: bytes = struct.pack("<q", 4) + b"\0" * 16,
    raw_keys: bytes = b"",
) -> bytes:
    system = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    head = b"".join(pickle.dumps(value, protocol=2) for value in (_LEGACY_MAGIC, 1001, system))
    return head + data + (raw_keys or pickle.dumps(list(keys), protocol=2)) + blob


def _raw_zip(entries: list[tuple[str, bytes]], inner: tuple[str, int, bytes] | None = None) -> bytes:
    """A stored zip with any names, also equal ones; `inner` (name, offset, content) is only listed."""
    data, listed = b"", []
    for name, content in entries:
        listed.append((name, len(data), content))
        sizes = struct.pack("<3L2H", zlib.crc32(content), len(content), len(content), len(name), 0)
        data += b"PK\x03\x04" + b"\0" * 10 + sizes + name.encode() + content
    directory = b""
    for name, offset, content in [*listed, inner] if inner else listed:
        sizes = struct.pack("<3L2H", zlib.crc32(content), len(content), len(content), len(name), 0)
        directory += (
            b"PK\x01\x02" + b"\0" * 12 + sizes + b"\0" * 10 + struct.pack("<L", offset) + name.encode()
        )
    count = len(listed) + bool(inner)
    return (
        data
        + directory
        + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), len(data), 0)
    )


def _safetensors(header: Any, values: bytes = b"\0" * 16, *, size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + values


class _Call:
    """Pickles as a call of any function."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def _named(module: str, name: str, args: Any) -> bytes:
    return f"c{module}\n{name}\n".encode() + _plain(args) + b"R"


def _forged(canary: Path) -> dict[str, tuple[bytes, str]]:
    """Name -> (file, words of the refusal). A file that runs leaves `canary` behind."""
    touch = f"touch '{canary}'"
    code = f"open({str(canary)!r}, 'w').close()"
    calls: dict[str, tuple[str, str, Any]] = {
        "os_system": ("os", "system", (touch,)),
        "posix_system": ("posix", "system", (touch,)),
        "nt_system": ("nt", "system", (touch,)),
        "os_popen": ("os", "popen", (touch,)),
        "exec": ("builtins", "exec", (code,)),
        "exec_py2": ("__builtin__", "eval", (code,)),
        "eval": ("builtins", "eval", (f"exec({code!r})",)),
        "compile": ("builtins", "compile", (code, "x", "exec")),
        "open": ("builtins", "open", (str(canary), "w")),
        "getattr": ("builtins", "getattr", ("x", "__class__")),
        "import": ("builtins", "__import__", ("os",)),
        "importlib": ("importlib", "import_module", ("os",)),
        "runpy": ("runpy", "run_path", (str(canary),)),
        "subprocess": ("subprocess", "check_output", (["touch", str(canary)],)),
        "pty": ("pty", "spawn", (["touch", str(canary)],)),
        "pickle_loads": ("pickle", "loads", (pickle.dumps(_Call(os.system, touch)),)),
        "torch_load": ("torch.serialization", "load", (str(canary),)),
        "torch_hub": ("torch.hub", "load", ("x/y", "z")),
        "torch_module": ("torch.nn.modules.module", "Module", ()),
        "torch_compile": ("torch._inductor.codecache", "compile_file", (str(canary),)),
        "partial": ("functools", "partial", (print,)),
        "attrgetter": ("operator", "attrgetter", ("system",)),
        "numpy_load": ("numpy", "load", (str(canary),)),
        "numpy_exec": ("numpy.testing._private.utils", "runstring", (code, {})),
        "ctypes": ("ctypes", "CDLL", ("libc.so.6",)),
        "socket": ("socket", "socket", ()),
        "webbrowser": ("webbrowser", "open", ("http://localhost",)),
        "dotted": ("torch._utils", "os.system", (touch,)),
        "dunder": ("collections", "OrderedDict.__init__.__globals__", ()),
        "control": ("evil\x1b[2J", "name", ()),
    }
    files = {f"call_{name}": (_torch_zip(_state(_named(*call))), "asks for ") for name, call in calls.items()}
    files |= {
        "legacy_call": (_torch_legacy(_state(_named("os", "system", (touch,)))), "asks for os.system"),
        "plain_call": (pickle.dumps(_Call(os.system, touch)), "asks for posix.system"),
        "plain_call_4": (pickle.dumps({"model": _Call(exec, code)}, protocol=4), "asks for builtins.exec"),
        "protocol_0": (pickle.dumps({"a": _Call(exec, code)}, protocol=0), "asks for builtins.exec"),
        "stacked": (_state(_plain(1)) + pickle.dumps(_Call(os.system, touch)), "bytes behind the pickle"),
        "stacked_in_zip": (
            _torch_zip(_state(_tensor()) + pickle.dumps(_Call(os.system, touch))),
            "behind the pickle",
        ),
        "legacy_first": (
            pickle.dumps(_LEGACY_MAGIC, protocol=2) + pickle.dumps(_Call(os.system, touch), protocol=2),
            "asks for posix.system",
        ),
        "legacy_keys": (
            _torch_legacy(
                _state(_tensor(legacy=True)), blob=b"", raw_keys=pickle.dumps(_Call(os.system, touch))
            ),
            "asks for posix.system",
        ),
        "in_storage": (
            _torch_zip(_state(_tensor(stored=_named("os", "system", (touch,))))),
            "asks for os.system",
        ),
        "in_persistent_id": (
            _torch_zip(_state(_named("os", "system", (touch,)) + b"Q")),
            "asks for os.system",
        ),
        "storage_kind": (_torch_zip(_state(_tensor(stored=_storage("torch\nSize")))), "unknown kind"),
        "module_id": (_torch_zip(_state(_plain(("module", "x", "y", "z", 1)) + b"Q")), "no storage"),
        "call_of_value": (_torch_zip(_state(_plain("os.system") + _plain((touch,)) + b"R")), "calls a str"),
        "call_of_label": (
            _torch_zip(_state(_named("torch", "FloatStorage", (4,)))),
            "calls torch.FloatStorage",
        ),
        "build_on_global": (
            _torch_zip(_state(b"ccollections\nOrderedDict\n" + _plain({"__init__": 1}) + b"b")),
            "sets attributes of a Global",
        ),
        "build_on_list": (
            _torch_zip(_state(_plain([]) + _plain({"x": 1}) + b"b")),
            "sets attributes of a list",
        ),
        "inst": (_torch_zip(_PROTO + b"(" + _plain(touch) + b"ios\nsystem\n."), "has no place in weights"),
        "obj": (_torch_zip(_PROTO + b"(ccollections\nOrderedDict\no."), "has no place in weights"),
        "extension": (_torch_zip(_PROTO + b"\x82\x01."), "has no place in weights"),
        "buffer": (_torch_zip(_PROTO + b"\x97."), "has no place in weights"),
        "protocol_9": (_torch_zip(b"\x80\x09N."), "protocol 9"),
        "newobj_ex": (
            _torch_zip(_state(b"cargparse\nNamespace\n)" + _plain({"a": 1}) + b"\x92")),
            "named arguments",
        ),
        "reconstructor": (
            _torch_zip(_state(b"ccopy_reg\n_reconstructor\n(cbuiltins\nobject\ncbuiltins\nobject\nNtR")),
            "another class",
        ),
        "objects": (pickle.dumps({"a": np.array([_Call(exec, code)], dtype=object)}), "array of objects"),
        "structured": (pickle.dumps({"a": np.zeros(1, dtype=[("x", "f4")])}), "numpy dtype"),
        "numpy_shape": (
            pickle.dumps({"a": np.zeros(4, np.float32)}, protocol=2).replace(
                b"K\x04\x85", b"J\xff\xff\xff\x7f\x85"
            ),
            "storage of 4",
        ),
        "numpy_bytes": (
            pickle.dumps({"a": np.zeros(4, np.float32)}, protocol=2).replace(b"K\x04\x85", b"K\x02\x85"),
            "with 16 bytes",
        ),
        "nested": (_torch_zip(_PROTO + b"]" * 200_000 + b"a" * 199_999 + _STOP), "nested deeper"),
        "nested_dicts": (_torch_zip(_PROTO + b"}" + b"K\x01}" * 5000 + b"s" * 5000 + _STOP), "nested deeper"),
        "nested_tuples": (_torch_zip(_PROTO + b"N" + b"\x85" * 100_000 + _STOP), "nested deeper"),
        "many_steps": (_torch_zip(_PROTO + b"\x8f" * 3_000_000 + _STOP), "steps"),
        "many_marks": (_torch_zip(_PROTO + b"(" * 3_000_000 + _STOP), "steps"),
        "long_loop": (
            _torch_zip(
                _PROTO
                + b"]("
                + b"K\x01" * 10_000
                + b"eq\0"
                + b"ctorch\nSize\nq\x010"
                + b"h\1h\0\x85R0" * 9999
                + b"h\0."
            ),
            "steps",
        ),
        "copies": (
            _torch_zip(
                _PROTO
                + _plain("x" * 1_000_000)
                + b"q\1c_codecs\nencode\nq\2"
                + b"h\2h\1"
                + _plain("latin1")
                + b"\x86R0" * 1
                + (b"h\2h\1" + _plain("latin1") + b"\x86R") * 999
                + b"."
            ),
            "more bytes than the file",
        ),
        "huge_bytes": (_PROTO + b"\x8e" + struct.pack("<Q", 2**62) + b"x.", "ends early"),
        "huge_text": (_PROTO + b"X" + struct.pack("<L", 2**32 - 1) + b"x.", "a text of"),
        "huge_memo": (_torch_zip(_PROTO + b"Nr\xff\xff\xff\xff" + b"j\xff\xff\xff\xfe."), "damaged pickle"),
        "huge_number": (_PROTO + b"\x8b" + struct.pack("<L", 2**31) + b"x.", "a number of"),
        "long_number": (_PROTO + b"L" + b"9" * 100_000 + b"L\n.", "too many digits"),
        "tuple_key": (_torch_zip(_PROTO + b"}" + _plain((1, 2)) + b"Ns."), "a key or set element"),
        "big_key": (_torch_zip(_PROTO + b"}" + _plain(2**61 - 1) + b"Ns."), "a key or set element"),
        "same_key": (_torch_zip(_PROTO + b"}" + (_plain("w") + _tensor() + b"s") * 2 + _STOP), "there twice"),
        "no_stop": (_torch_zip(_state(_tensor())[:-1]), "ends early"),
        "empty_stack": (_torch_zip(_PROTO + b"R."), "damaged pickle"),
        "no_mark": (_torch_zip(_PROTO + b"t."), "damaged pickle"),
        "pop_all": (_torch_zip(_PROTO + b"N0."), "damaged pickle"),
        "missing_storage": (_torch_zip(_state(_tensor(stored=_storage(key="7")))), "is missing"),
        "path_storage": (_torch_zip(_state(_tensor(stored=_storage(key="../data.pkl")))), "is missing"),
        "huge_storage": (_torch_zip(_state(_tensor(stored=_storage(count=2**50)))), "has 16 bytes"),
        "short_storage": (_torch_zip(_state(_tensor(stored=_storage(count=5)))), "has 16 bytes"),
        "negative_storage": (_torch_zip(_state(_tensor(stored=_storage(count=-4)))), "a count"),
        "huge_shape": (_torch_zip(_state(_tensor(shape=(2**40,), strides=(1,)))), "of a storage of 4"),
        "expanded_shape": (_torch_zip(_state(_tensor(shape=(2**40,), strides=(0,)))), "over a storage of 4"),
        "overflow_shape": (
            _torch_zip(_state(_tensor(shape=(2**61, 8), strides=(2**60, 1)))),
            "of a storage of 4",
        ),
        "negative_offset": (_torch_zip(_state(_tensor(offset=-1))), "no counts"),
        "far_offset": (_torch_zip(_state(_tensor(offset=2**40))), "of a storage of 4"),
        "near_offset": (_torch_zip(_state(_tensor(offset=1))), "of a storage of 4"),
        "negative_stride": (_torch_zip(_state(_tensor(offset=3, strides=(-1,)))), "no counts"),
        "long_stride": (_torch_zip(_state(_tensor(strides=(2,)))), "of a storage of 4"),
        "many_dims": (_torch_zip(_state(_tensor(shape=(1,) * 99, strides=(1,) * 99))), "99 dimensions"),
        "float_shape": (_torch_zip(_state(_tensor(shape=(4.0,)))), "no counts"),
        "odd_strides": (_torch_zip(_state(_tensor(strides=(1, 1)))), "dimensions"),
        "storage_outside": (_state(_tensor()), "outside a torch file"),
        "legacy_view": (
            _torch_legacy(_state(_tensor(stored=_storage(tail=_plain(("v", 3, 4)))))),
            "beyond its storage",
        ),
        "legacy_size": (
            _torch_legacy(_state(_tensor(legacy=True)), blob=struct.pack("<q", 2**40)),
            "cut off",
        ),
        "legacy_tail": (
            _torch_legacy(_state(_tensor(legacy=True)), blob=struct.pack("<q", 4) + b"\0" * 99),
            "behind the last storage",
        ),
        "legacy_other_keys": (
            _torch_legacy(_state(_tensor(legacy=True)), keys=("1",)),
            "lists other storages",
        ),
        "legacy_number_keys": (
            _torch_legacy(_state(_tensor(legacy=True)), keys=(0,)),
            "lists other storages",
        ),
        "not_a_dict": (_torch_zip(_PROTO + _tensor() + _STOP), "holds a TensorRef"),
    }
    return files | _forged_containers(_state(_tensor()))


def _forged_containers(honest: bytes) -> dict[str, tuple[bytes, str]]:
    good = _torch_zip(honest)
    bomb = _torch_zip(honest, b"\0" * 50_000_000, method=zipfile.ZIP_DEFLATED)
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive:
        for name in ("a/data.pkl", "b/data.pkl"):
            archive.writestr(name, honest)
    directory = good.index(b"PK\x01\x02")
    overlapping = bytearray(good)
    # The second entry's offset in the directory is set to the first's: both then name the same bytes.
    second = good.index(b"PK\x01\x02", directory + 4)
    overlapping[second + 42 : second + 46] = b"\0\0\0\0"
    hidden = b"PK\x03\x04" + b"\0" * 10 + struct.pack("<3L2H", 0, 1, 1, 3, 0) + b"a/y" + b"!"
    outer = [("a/data.pkl", honest), ("a/x", hidden)]
    inside = len(_raw_zip(outer[:1])) - 22 - 46 - len("a/data.pkl") + 30 + len("a/x")
    span = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    return {
        "zip_bomb": (bomb, "compressed"),
        "zip_flipped": (good.replace(b"\0" * 16, b"\0" * 15 + b"\1", 1), "checksum"),
        "zip_prefix": (b"PK\x03\x04" + good, "refused"),
        "zip_suffix": (good + b"tail", "behind it"),
        "zip_two_roots": (twice.getvalue(), "not of torch.save"),
        "zip_overlap": (bytes(overlapping), "two headers differ"),
        "zip_inside": (_raw_zip(outer, ("a/y", inside, b"!")), "overlap"),
        "zip_twice": (_raw_zip([("a/data.pkl", honest), ("a/data.pkl", honest)]), "is there twice"),
        "zip_dotdot": (_torch_zip(honest, extra={"a/../../x": b""}), "entry name"),
        "zip_absolute": (_torch_zip(honest, extra={"/etc/x": b""}), "entry name"),
        "zip_backslash": (_torch_zip(honest, extra={"a\\b": b""}).replace(b"a/b", b"a\\b"), "entry name"),
        "zip_script": (_torch_zip(honest, extra={"a/constants.pkl": b"x"}), "TorchScript"),
        "zip_plain": (_torch_zip(honest).replace(b"a/data.pkl", b"a/dato.pkl"), "not of torch.save"),
        "zip_same_name": (_torch_zip(honest).replace(b"a/version", b"a/data/0\0"), "refused"),
        "zip_many": (good[:-12] + b"\xff\xff\xff\xff" + good[-8:], "refused"),
        "zip_only_end": (b"PK\x05\x06" + b"\0" * 18, "not of torch.save"),
        "st_big_header": (_safetensors(b"{" + b" " * 40_000_000 + b"}"), "header of"),
        "st_long_header": (_safetensors({"w": span}, size=2**60), "header of"),
        "st_outside": (_safetensors({"w": {**span, "data_offsets": [0, 32], "shape": [8]}}), "not a whole"),
        "st_overlap": (_safetensors({"w": span, "v": span}), "not a whole"),
        "st_negative": (_safetensors({"w": {**span, "data_offsets": [-16, 0]}}), "not a whole"),
        "st_reversed": (_safetensors({"w": {**span, "data_offsets": [16, 0]}}), "not a whole"),
        "st_shape": (_safetensors({"w": {**span, "shape": [2**62, 4]}}), "not a whole"),
        "st_twice": (_safetensors(b'{"w":1,"w":2}'), "there twice"),
        "st_nested": (_safetensors(b'{"w":' * 9999 + b"1" + b"}" * 9999), "nested deeper"),
        "st_no_json": (_safetensors(b"{nonsense"), "line 1"),
        "st_tail": (_safetensors({"w": span}, b"\0" * 99), "not a whole"),
        "empty": (b"", "an empty file"),
        "html": (b"<!DOCTYPE html><html></html>", "a web page"),
        "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS"),
        "gzip": (b"\x1f\x8b" + b"\0" * 99, "a compressed file"),
        "tar": (b"\0" * 257 + b"ustar" + b"\0" * 300, "a tar file"),
        "noise": (bytes(range(200, 256)) * 9, "not a known kind"),
    }


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
    files = _forged(canary)
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


@pytest.mark.parametrize("name", sorted(_forged(Path("canary"))))
def test_forged_files_are_refused(verdicts: dict[str, Any], name: str) -> None:
    message, seconds, peak_mb, events = verdicts["results"][name]
    assert f"{name}.bad: " in message and verdicts["words"][name] in message, message
    assert "\x1b" not in message
    assert len(message) < 1000
    assert seconds < 10 and peak_mb < 512 and events == [], (seconds, peak_mb, events)


def test_truncation_is_always_noticed(tmp_path: Path) -> None:
    values = {f"t{i}": torch.randn(7) for i in range(3)}
    path = tmp_path / "cut.bin"
    for new_format in (True, False):
        torch.save(values, tmp_path / "x", _use_new_zipfile_serialization=new_format)
        data = (tmp_path / "x").read_bytes()
        for size in [*range(0, len(data), 13), len(data) - 1]:
            path.write_bytes(data[:size])
            with pytest.raises(WeightsError):
                read_checkpoint(path)


def test_a_flipped_bit_is_never_a_wrong_number(tmp_path: Path) -> None:
    values = {f"t{i}": torch.randn(30) for i in range(4)}
    torch.save(values, tmp_path / "x.pth")
    data = (tmp_path / "x.pth").read_bytes()
    expected = {key: value.numpy() for key, value in values.items()}
    rng = random.Random(0)
    detected = 0
    for _ in range(400):
        at = rng.randrange(len(data))
        flipped = bytearray(data)
        flipped[at] ^= 1 << rng.randrange(8)
        (tmp_path / "f.pth").write_bytes(flipped)
        try:
            found = {key: ref.read() for key, ref in read_checkpoint(tmp_path / "f.pth").items()}
        except WeightsError:
            detected += 1
        else:  # padding, dates, and the fields that nobody reads
            assert {key: array.tobytes() for key, array in found.items()} == {
                key: array.tobytes() for key, array in expected.items()
            }
    assert detected > 100


def test_random_pickles_end_in_a_value_or_a_refusal() -> None:
    rng = random.Random(0)
    seeds = [pickle.dumps({"a": [1, (2.5, "x")], "b": np.ones(3, np.float32)}, protocol=p) for p in range(6)]
    seeds.append(_state(_tensor()))
    for _ in range(3000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with suppress(WeightsError):
            load_pickle(Stream(io.BytesIO(bytes(data)), len(data)), "x")
