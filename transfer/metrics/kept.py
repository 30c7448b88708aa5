"""The file in which what was found and what is there are kept beside a record: arrays and names, packed.

Statistics over test images (a bootstrap, a comparison of two weights) and pictures need them long after.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.core.errors import DataError
from bench.core.store import Attachment

SUFFIX = ".predictions.safetensors.gz"

MAX_BYTES = 16 * 1024**3
"""Of an unpacked file: a hundred detections with masks on each of half a million images."""

Array = npt.NDArray[Any]


def pack_arrays(arrays: Mapping[str, Array], names: Mapping[str, Any]) -> Attachment:
    """The file of a test, a safetensors file in gzip.

    Its sha256 is of the unpacked content: equal arrays have an equal one with every version of zlib.

    Args:
        arrays: By name.
        names: Lists of text or numbers that go with them.
    """
    from safetensors.numpy import save

    text = json.dumps(names, sort_keys=True)
    content: bytes = save(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata={"names": text}
    )
    return Attachment(SUFFIX, gzip.compress(content, 6, mtime=0), hashlib.sha256(content).hexdigest())


def unpack_arrays(data: bytes, sha256: str, where: str) -> tuple[dict[str, Array], dict[str, Any]]:
    """What `pack_arrays` was given.

    Args:
        data: The file's content.
        sha256: Of the unpacked content, from the record.
        where: The file, for messages.

    Raises:
        DataError: damaged, or not the file that the record means.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = _unzip(data)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{where}: not a gzip file of predictions: {error}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{where}: not the predictions of this record: its sha256 is another one")
    try:
        arrays = load(content)
        size = int.from_bytes(content[:8], "little")
        names = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["names"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{where}: not a file of predictions: {error}") from None
    return arrays, names


def _unzip(data: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"unpacks to more than {MAX_BYTES:,} bytes")
    return content
