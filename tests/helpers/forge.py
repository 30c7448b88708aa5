"""Checkpoint files put together byte by byte, honest or not.

Forged files are built at test time, so that nothing harmful is ever committed.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

STOP = b"."
PROTO = b"\x80\x02"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def plain(value: Any) -> bytes:
    """The opcodes that push a plain value, without protocol and STOP."""
    return pickle.dumps(value, protocol=2)[2:-1]


def storage(kind: str = "torch\nFloatStorage", key: Any = "0", count: Any = 4, tail: bytes = b"") -> bytes:
    head = b"(" + plain("storage") + b"c" + kind.encode() + b"\n"
    return head + plain(key) + plain("cpu") + plain(count) + tail + b"tQ"


def tensor(
    offset: Any = 0,
    shape: Any = (4,),
    strides: Any = (1,),
    stored: bytes | None = None,
    *,
    legacy: bool = False,
) -> bytes:
    body = storage(tail=b"N" if legacy else b"") if stored is None else stored
    hooks = b"ccollections\nOrderedDict\n)R"
    call = plain(offset) + plain(shape) + plain(strides) + b"\x89" + hooks + b"tR"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + body + call


def state(body: bytes, key: str = "w") -> bytes:
    """The pickle of a dict with one item."""
    return PROTO + b"}" + plain(key) + body + b"s" + STOP


def torch_zip(
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


def torch_legacy(
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
    head = b"".join(pickle.dumps(value, protocol=2) for value in (LEGACY_MAGIC, 1001, system))
    return head + data + (raw_keys or pickle.dumps(list(keys), protocol=2)) + blob


def raw_zip(
    entries: list[tuple[str, bytes]],
    inner: tuple[str, int, bytes] | None = None,
    crc32: Callable[[bytes], int] = zlib.crc32,
) -> bytes:
    """A stored zip with any names, also equal ones; `inner` (name, offset, content) is only listed."""
    data, listed = b"", []
    for name, content in entries:
        listed.append((name, len(data), content))
        sizes = struct.pack("<3L2H", crc32(content), len(content), len(content), len(name), 0)
        data += b"PK\x03\x04" + b"\0" * 10 + sizes + name.encode() + content
    directory = b""
    for name, offset, content in [*listed, inner] if inner else listed:
        sizes = struct.pack("<3L2H", crc32(content), len(content), len(content), len(name), 0)
        directory += (
            b"PK\x01\x02" + b"\0" * 12 + sizes + b"\0" * 10 + struct.pack("<L", offset) + name.encode()
        )
    count = len(listed) + bool(inner)
    return (
        data
        + directory
        + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), len(data), 0)
    )


def safetensors(header: Any, values: bytes = b"\0" * 16, *, size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + values


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def named(module: str, name: str, args: Any) -> bytes:
    return f"c{module}\n{name}\n".encode() + plain(args) + b"R"


def dill_function(module: str, name: str) -> bytes:
    """A builtin function as dill 0.3.2 names it: by a call that imports, and one that gets."""
    return (
        b"cdill._dill\n_get_attr\n"
        + named("dill._dill", "_import_module", (module,))
        + plain(name)
        + b"\x86R"
    )


def dill_array(values: np.ndarray) -> bytes:
    """A numpy array as dill 0.3.2 writes it with protocol 2."""
    text = plain(values.tobytes().decode("latin-1"))
    raw = dill_function("_codecs", "encode") + text + plain("latin1") + b"\x86R"
    kind = named("numpy", "dtype", (values.dtype.str[1:], False, True))
    kind += plain((3, "<", None, None, None, -1, -1, 0)) + b"b"
    made = dill_function("numpy.core._multiarray_umath", "_reconstruct")
    made += b"(cnumpy\nndarray\n" + plain((0,)) + plain("b") + b"tR"
    return made + b"(" + plain(1) + plain(values.shape) + kind + b"\x89" + raw + b"tb"


def haiku(tree: dict[str, Any], name: str = "FlatMapping") -> bytes:
    """A mapping of haiku, with mappings and arrays in it."""
    items = (
        plain(key) + (haiku(value, name) if isinstance(value, dict) else dill_array(value))
        for key, value in tree.items()
    )
    return f"chaiku._src.data_structures\n{name}\n".encode() + b"}(" + b"".join(items) + b"u\x85R"


def named_tuple(name: str, fields: Any, values: list[bytes], module: str = "__main__") -> bytes:
    """A named tuple as dill writes it: its class, then its values."""
    made = named("dill._dill", "_create_namedtuple", (name, fields, module))
    return made + b"(" + b"".join(values) + b"t\x81"


def byol(params: dict[str, Any], state: dict[str, Any]) -> bytes:
    """A checkpoint of DeepMind's BYOL, put together as dill 0.3.2 wrote one with the same classes.

    Source: google-deepmind/deepmind-research byol/utils/checkpointing.py and byol/byol_experiment.py.
    """
    fields = ("online_params", "target_params", "online_state", "target_state", "opt_state")
    decay = named_tuple("AddWeightDecayState", (), [], "byol.utils.optimizers")
    lars = named_tuple("ScaleByLarsState", ("mu",), [haiku(params)], "byol.utils.optimizers")
    values = [haiku(params), haiku(params), haiku(state), haiku(state), b"](" + decay + lars + b"e"]
    experiment = named_tuple("_ByolExperimentState", fields, values, "byol.byol_experiment")
    rng = dill_array(np.zeros(2, dtype=np.uint32))
    items = plain("experiment_state") + experiment + plain("step") + plain(300_000) + plain("rng") + rng
    return PROTO + b"}(" + items + b"u" + STOP


def torch_tar(data: bytes) -> bytes:
    """A file of torch before 0.2: a tar file of three."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()
