"""Checkpoint files put together byte by byte, honest or not.

Forged files are built at test time, so that nothing harmful is ever committed.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

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


def raw_zip(entries: list[tuple[str, bytes]], inner: tuple[str, int, bytes] | None = None) -> bytes:
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
