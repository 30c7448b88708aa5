"""Weights on disk: foreign checkpoints, read without running them, and our own file.

Our own file is one `.safetensors`: the backbone tensors in float32 under torchvision's names, and the card as
JSON in its metadata. Foreign files are told apart by what they hold, never by what they are called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from bench.core.atomic import write_bytes
from bench.core.card import Card, hash_tensors
from bench.core.card_file import CARD_KEY
from bench.core.errors import WeightsError
from bench.core.file_source import FileSource, Span
from bench.core.safe_json import parse_json
from bench.core.tensor_ref import Refused, Storage, TensorRef, contiguous_strides, element_size
from bench.core.torch_file import LEGACY_START, read_pickle, read_torch_legacy, read_torch_zip

# Ours is 30 kB; one of ten thousand tensors 1.5 MB. A header of 14 MB takes 2 s and 380 MB.
MAX_HEADER_BYTES = 4 * 1024**2
_CHUNK = 1024**2

# Source: safetensors README, "Format"; torch's names for the element types.
_SAFETENSORS_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}


@dataclass(frozen=True)
class Weights:
    """Backbone tensors and what is known of them.

    Attributes:
        card: Name, source, expected input; its `tensors_sha256` is that of `tensors`.
        tensors: torchvision name to float32 array, the 265 of a ResNet-50.
    """

    card: Card
    tensors: dict[str, np.ndarray]


WEIGHTS_FILE = "weights.safetensors"
"""In the folder of a pretraining run."""


def weights_file(path: Path) -> Path:
    """The file that `path` stands for: itself, or the weights in the folder of a pretraining run.

    Raises:
        WeightsError: a folder without weights.
    """
    if not path.is_dir():
        return path
    if (path / WEIGHTS_FILE).is_file():
        return path / WEIGHTS_FILE
    runs = sorted(entry.parent.name for entry in path.glob(f"*/{WEIGHTS_FILE}"))
    if runs:
        raise WeightsError(f"{path}: holds {len(runs)} runs; give one of them, as {path / runs[0]}")
    if (path / "checkpoints").is_dir():
        raise WeightsError(
            f"{path}: its pretraining is not finished; bench pretrain --resume goes on with it"
        )
    raise WeightsError(
        f"{path}: a folder without {WEIGHTS_FILE}; expected a checkpoint or a run of bench pretrain"
    )


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes, in hex. Raises WeightsError if it cannot be read."""
    digest = hashlib.sha256()
    with FileSource(path).open() as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def read_checkpoint(path: Path) -> dict[Any, Any]:
    """What a checkpoint holds, with nothing in it run and no tensor read yet.

    Reads files of `torch.save` (zip, and the format before torch 1.6), plain pickles of numpy arrays, and
    safetensors. The kind is found from the content.

    Returns:
        The outermost dict, keys as in the file; leaves are `TensorRef` (`.shape`, `.dtype`, `.read()`), plain
        values, and `Inert` placeholders for objects of harmless classes.

    Raises:
        WeightsError: unreadable, damaged, of no known kind, no dict, or asking for anything but tensors and
            the plain classes listed in `docs/weights.md`.
    """
    source = FileSource(path)
    value = _READERS[_kind(source)](source)
    if not isinstance(value, dict):
        raise source.error(f"holds a {type(value).__name__}; expected a dict with tensors")
    return value


def checkpoint_kind(path: Path) -> str:
    """Which kind of file a checkpoint is, for people. Raises WeightsError for a kind that is not read."""
    return _kind(FileSource(path))


_READERS: dict[str, Callable[[FileSource], Any]] = {
    "torch zip": read_torch_zip,
    "torch before 1.6": read_torch_legacy,
    "pickle": lambda source: read_pickle(Span(source, 0, source.size)),
    "safetensors": lambda source: _read_safetensors(source)[0],
}


def _kind(source: FileSource) -> str:
    """A key of `_READERS`, from the first bytes."""
    start = source.read(0, min(source.size, 512))
    if start.startswith(b"PK"):
        return "torch zip"
    if len(start) > 8 and start[8:9] == b"{":
        return "safetensors"
    if start.startswith(LEGACY_START):
        return "torch before 1.6"
    if start[:1] == b"\x80" or start[:2] in (b"(d", b"}q", b"cc"):
        return "pickle"
    raise source.error(f"{_what_else(start)}; expected a file of torch.save or safetensors")


def _what_else(start: bytes) -> str:
    """A guess at what the file is, for the message: most wrong files are one of these."""
    if not start:
        return "an empty file"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself (git lfs pull brings it)"
    if start.lstrip()[:1] == b"<":
        return "a web page, perhaps the download page"
    if start[257:262] == b"ustar":
        return "a tar file: unpack it first, or it was saved by torch before 0.2"
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        return "a compressed file: unpack it first"
    if start.startswith(b"\x89HDF"):
        return "an HDF5 file"
    return "not a known kind of checkpoint"


def _read_safetensors(source: FileSource) -> tuple[dict[str, TensorRef], dict[str, str]]:
    """(tensors, metadata) of a safetensors file.

    Raises:
        WeightsError: a header that is too large, no strict JSON, or does not cover the file exactly.
    """
    from safetensors import SafetensorError, safe_open

    header_size = int.from_bytes(source.read(0, 8), "little")
    if header_size > min(MAX_HEADER_BYTES, source.size - 8):
        raise source.error(f"a header of {header_size:,} bytes; the file is damaged or forged")
    try:
        text = source.read(8, header_size).decode()
        header = parse_json(text, source.where, error=WeightsError)
        # The library holds that the spans are in order, without gap or overlap, and end with the file.
        with safe_open(source.path, framework="np") as handle:
            metadata = dict(handle.metadata() or {})
            names = list(handle.keys())
    except (SafetensorError, UnicodeDecodeError, RecursionError) as cause:
        raise source.error(f"not a whole safetensors file: {cause}. Nothing was loaded.") from None
    tensors: dict[str, TensorRef] = {}
    for name in names:
        entry = header[name]
        dtype = _SAFETENSORS_DTYPES.get(entry["dtype"])
        if dtype is None:
            raise source.error(f"{name!r} is of kind {entry['dtype']!r}; not supported")
        begin, end = entry["data_offsets"]
        span = Span(source, 8 + header_size + begin, end - begin, name)
        storage = Storage(dtype, span.size // element_size(dtype), span.fetch)
        try:
            tensors[name] = TensorRef(storage, entry["shape"], contiguous_strides(entry["shape"]))
        except Refused as cause:
            raise source.error(f"{name!r}: {cause}") from None
    return tensors, metadata


def write_weights(path: Path, weights: Weights) -> None:
    """Write our own file; equal weights give equal bytes. What was at `path` is replaced.

    Raises:
        ValueError: see `weights_bytes`.
        DiskError: the disk is full or the place cannot be written; the old file is untouched.
    """
    write_bytes(path, weights_bytes(weights))


def weights_bytes(weights: Weights) -> bytes:
    """The content of our own file.

    Raises:
        ValueError: the card is not that of these tensors, or one is not float32 (our fault, not the user's).
    """
    from safetensors.numpy import save

    wrong = [name for name, value in weights.tensors.items() if value.dtype != np.float32]
    if wrong or weights.card.tensors_sha256 != hash_tensors(weights.tensors):
        raise ValueError(f"card and tensors of {weights.card.name} do not fit (not float32: {wrong[:3]})")
    tensors = {name: np.asarray(value, order="C") for name, value in weights.tensors.items()}
    return bytes(save(tensors, metadata={CARD_KEY: weights.card.model_dump_json()}))


def read_card(path: Path) -> Card | None:
    """The card in our own file, or None for any other file that can be read.

    Raises:
        WeightsError: unreadable, or a file of ours whose card is not valid.
    """
    source = FileSource(path)
    start = source.read(0, min(source.size, 9))
    if start.startswith(b"PK") or start[8:] != b"{":
        return None
    return _card_of(source, _read_safetensors(source)[1])


def _card_of(source: FileSource, metadata: dict[str, str]) -> Card | None:
    if CARD_KEY not in metadata:
        return None
    value = parse_json(metadata[CARD_KEY], f"{source.where}: card", error=WeightsError)
    try:
        return Card.model_validate(value)
    except ValidationError as cause:
        first = cause.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise source.error(f"card: {place}: {first['msg']}") from None


def read_weights(path: Path) -> Weights:
    """Read our own file, and hold its tensors against its card.

    That they are the tensors of a ResNet-50 is for `transfer.adapters.load.load_backbone` to say.

    Raises:
        WeightsError: not a file of ours, damaged, or its tensors are not those of its card.
    """
    source = FileSource(path)
    if source.read(0, min(source.size, 9))[8:] != b"{":
        raise WeightsError(f"{path}: no weights of ours (a safetensors file with a card).")
    refs, metadata = _read_safetensors(source)
    card = _card_of(source, metadata)
    if card is None:
        raise WeightsError(f"{path}: a safetensors file without a card.")
    wrong = [name for name, ref in refs.items() if ref.dtype != "float32"]
    if wrong:
        raise WeightsError(
            f"{path}: {len(wrong)} tensors are not float32 (first: {wrong[0]}). Nothing was loaded."
        )
    tensors = {name: ref.read() for name, ref in refs.items()}
    found = hash_tensors(tensors)
    if found != card.tensors_sha256:
        raise WeightsError(
            f"{path}: the tensors (sha256 {found[:12]}) are not those of the card "
            f"({str(card.tensors_sha256)[:12]}): the file is damaged or was edited. Nothing was loaded."
        )
    return Weights(card, tensors)
