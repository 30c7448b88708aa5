"""What an image store says of itself: a pack, whose pixels are not those of the images it was made from.

A pack is a folder of tar shards, read as any other, with `pack.json` beside them. That file counts in the
fingerprint, and whoever trains on a pack notes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bench.core.config import Section, check_config
from bench.core.errors import ConfigError, DataError
from bench.core.safe_json import read_json

PACK_FILE = "pack.json"
PackKind = Literal["jpeg", "decoded"]


class Pack(Section):
    """What a store holds, as `pack.json` says it.

    Attributes:
        kind: `jpeg`, encoded again, or `decoded`, 8-bit RGB as it lies in memory (PPM).
        long_side_px: Larger images were shrunk to it, antialiased; None for none.
        quality: Of JPEG, 1 to 100; None for decoded images.
        source_fingerprint: Of the images that it was made from.
        num_images: All of them; a folder of shards with fewer is no longer this pack.
        versions: Of the libraries that made the pixels.
    """

    kind: PackKind
    long_side_px: Annotated[int, Field(ge=8, le=65_535)] | None
    quality: Annotated[int, Field(ge=1, le=100)] | None
    source_fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    num_images: Annotated[int, Field(ge=1)]
    versions: dict[str, str]

    def text(self) -> str:
        """For a person, as it stands in a record."""
        side = f", long side at most {self.long_side_px} px" if self.long_side_px else ""
        how = "decoded" if self.kind == "decoded" else f"JPEG of quality {self.quality}"
        return f"a pack ({how}{side}) of the images with fingerprint {self.source_fingerprint[:12]}"


def read_pack(folder: Path) -> Pack | None:
    """What a folder of shards says of itself, or None where it says nothing.

    Raises:
        DataError: its `pack.json` is damaged.
    """
    path = folder / PACK_FILE
    if not path.is_file():
        return None
    values = read_json(path)
    try:
        return check_config(Pack, values, str(path))
    except ConfigError as error:
        raise DataError.of(error.problems) from None
