"""The two containers of `torch.save`, opened without torch: the zip file, and the run of pickles before 1.6.

Source: torch/serialization.py (`_save`, `_legacy_save`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

from bench.core.file_source import AGAIN, NOT_READ, FileSource, Span
from bench.core.pickle_machine import Stream
from bench.core.pickle_tensors import STORAGES
from bench.core.pickle_values import Global
from bench.core.safe_pickle import load_pickle
from bench.core.safe_zip import read_directory
from bench.core.tensor_ref import Refused, Storage, element_size

# Source: torch/serialization.py, MAGIC_NUMBER and PROTOCOL_VERSION.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
LEGACY_START = b"\x80\x02\x8a\x0a" + _LEGACY_MAGIC.to_bytes(10, "little") + b"."

# torch numbers its storages. A name is joined and compared for each tensor, so it may not be long.
MAX_KEY_LENGTH = 100


def read_pickle(span: Span, persistent: Callable[[Any], Storage] | None = None) -> Any:
    """The value of a pickle that fills its part of the file.

    Args:
        span: The part.
        persistent: As for `load_pickle`.

    Raises:
        WeightsError: as `load_pickle`; or a wrong checksum, or something behind the pickle.
    """
    span.check()
    with span.source.open() as file:
        file.seek(span.start)
        stream = Stream(file, span.size)
        value = load_pickle(stream, span.source.where, persistent)
    if stream.position != span.size:
        behind = f"{span.size - stream.position:,} bytes behind the pickle"
        raise span.source.error(f"{behind}; refused. {NOT_READ}")
    return value


def read_torch_zip(source: FileSource) -> Any:
    """The value in a file of `torch.save` since 1.6; tensors are `TensorRef`s into the file.

    Raises:
        WeightsError: not a zip file as torch writes it, damaged, or it asks for what `load_pickle` refuses.
    """
    entries = read_directory(source)
    roots = {name.split("/", 1)[0] for name in entries}
    root = next(iter(roots), "")
    if len(roots) != 1 or f"{root}/data.pkl" not in entries:
        raise source.error(f"a zip file, but not of torch.save: no data.pkl in one folder. {NOT_READ}")
    if f"{root}/constants.pkl" in entries or any(name.startswith(f"{root}/code/") for name in entries):
        raise source.error(f"a TorchScript program; expected a state dict saved by torch.save. {NOT_READ}")
    order = entries.get(f"{root}/byteorder")
    big = order is not None and order.size <= 8 and order.fetch(0, order.size) == b"big"

    def storage(persistent_id: Any) -> Storage:
        dtype, key, count = _storage_id(persistent_id, length=5)
        entry = entries.get(f"{root}/data/{key}")
        if entry is None or entry.size != count * element_size(dtype):
            have = "is missing" if entry is None else f"has {entry.size:,} bytes"
            raise Refused(
                f"the storage {key[:40]!r} of {count:,} {dtype} {have}; the file is damaged. {AGAIN}"
            )
        return Storage(dtype, count, entry.fetch, big, checksum_off=entry.crc is None)

    return read_pickle(entries[f"{root}/data.pkl"], storage)


def _storage_id(persistent_id: Any, *, length: int) -> tuple[str, str, int]:
    """(dtype, key, number of elements) of torch's ("storage", class, key, device, count, ...)."""
    if not isinstance(persistent_id, tuple) or len(persistent_id) != length or persistent_id[0] != "storage":
        raise Refused("a persistent id that is no storage; refused")
    label, key, count = persistent_id[1], persistent_id[2], persistent_id[4]
    if not isinstance(label, Global) or label.name not in STORAGES:
        raise Refused("a storage of an unknown kind; refused")
    if not isinstance(key, str) or len(key) > MAX_KEY_LENGTH:
        raise Refused("a storage without a short name; refused")
    if type(count) is not int or not 0 <= count < 2**60:
        raise Refused("a storage without a count; refused")
    return STORAGES[label.name], key, count


def read_torch_legacy(source: FileSource) -> Any:
    """The value in a file of `torch.save` before 1.6; tensors are `TensorRef`s into the file.

    The file is: magic number, protocol, system facts, the object, the list of storage keys (five pickles),
    then each storage: its number of elements as eight bytes, and the elements.

    Raises:
        WeightsError: as in `read_torch_zip`.
    """
    places: dict[str, Span] = {}
    declared: dict[str, tuple[str, int]] = {}

    def storage(persistent_id: Any) -> Storage:
        dtype, key, count = _storage_id(persistent_id, length=6)
        if declared.setdefault(key, (dtype, count)) != (dtype, count):
            raise Refused(f"the storage {key[:40]!r} is declared twice, differently; refused")
        base, view = 0, persistent_id[5]
        if view is not None:
            _, base, count = view
            if type(base) is not int or type(count) is not int or base < 0 or count < 0:
                raise Refused("a view of a storage that is no view; refused")
            if base + count > declared[key][1]:
                raise Refused("a view beyond its storage; refused")
        base *= element_size(dtype)
        # Where the storage lies is known only behind the last pickle, so look it up when read.
        return Storage(dtype, count, lambda start, size: places[key].fetch(base + start, size))

    with source.open() as file:
        stream = Stream(file, source.size)
        magic, protocol, system = (load_pickle(stream, source.where) for _ in range(3))
        if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL or not isinstance(system, dict):
            raise source.error(f"not the format that torch wrote before 1.6. {AGAIN}")
        if system.get("little_endian") is not True:
            raise source.error(f"written on a big-endian machine; not supported in this format. {NOT_READ}")
        value = load_pickle(stream, source.where, storage)
        keys = load_pickle(stream, source.where)
        places |= _place_storages(source, file, stream.position, keys, declared)
    return value


def _place_storages(
    source: FileSource, file: BinaryIO, position: int, keys: Any, declared: dict[str, tuple[str, int]]
) -> dict[str, Span]:
    """Where each storage behind the pickles is; its size must be the declared one."""
    listed = [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []
    if listed != keys or len(listed) != len(declared) or set(listed) != declared.keys():
        raise source.error(f"lists other storages than its tensors use; the file is damaged. {AGAIN}")
    places: dict[str, Span] = {}
    for key in listed:
        dtype, count = declared[key]
        size = count * element_size(dtype)
        file.seek(position)
        if file.read(8) != count.to_bytes(8, "little") or position + 8 + size > source.size:
            raise source.error(
                f"the storage {key[:40]!r} of {count:,} {dtype} is cut off or damaged. {AGAIN}"
            )
        places[key] = Span(source, position + 8, size, f"storage {key[:40]!r}")
        position += 8 + size
    if position != source.size:
        behind = f"{source.size - position:,} bytes behind the last storage"
        raise source.error(f"{behind}; refused. {AGAIN}")
    return places
