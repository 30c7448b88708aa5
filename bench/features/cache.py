"""Features on the disk, in parts: what was computed is not computed again, after a stop or by another trial.

A part that is damaged or of something else does not exist: it is computed anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from bench.core import atomic
from bench.core.log import say
from bench.core.protocol import digest

ROWS = 4096
"""Images a part: 32 MiB of 2048 features, some seconds of a GPU, some minutes of a CPU."""


@dataclass(frozen=True)
class FeatureCache:
    """The features of one list of images by one network.

    Attributes:
        root: Of all caches.
        key: Everything that moves a feature, as plain values.
        num_images: In the list.
    """

    root: Path
    key: dict[str, Any]
    num_images: int

    @property
    def folder(self) -> Path:
        """Where the parts are."""
        return self.root / digest(self.key)[:24]

    @property
    def parts(self) -> list[range]:
        """The images of each part."""
        starts = range(0, self.num_images, ROWS)
        return [range(start, min(start + ROWS, self.num_images)) for start in starts]

    def read(self, number: int) -> Tensor | None:
        """[rows, dim] float32 of one part; None if it is not there, and with a line if it is not whole."""
        path = self._path(number)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                told = file.metadata() or {}
                features: Tensor = file.get_tensor("features")
        except (OSError, SafetensorError) as error:
            say(f"Note      {path}: cannot be read ({error}); its features are computed again")
            return None
        if told != self._told(number, features) or len(features) != len(self.parts[number]):
            say(f"Note      {path}: damaged, or of something else; its features are computed again")
            return None
        return features

    def write(self, number: int, features: Tensor) -> None:
        """Keep a part. Raises DiskError."""
        features = features.contiguous()
        data: bytes = save({"features": features}, metadata=self._told(number, features))
        atomic.make_folder(self.folder)
        atomic.write_bytes(self._path(number), data)

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}.safetensors"

    def _told(self, number: int, features: Tensor) -> dict[str, str]:
        content = hashlib.sha256(features.numpy().tobytes()).hexdigest()
        return {"key": digest(self.key), "part": str(number), "sha256": content}


def fill(cache: FeatureCache, compute: Callable[[range], Tensor], *, rank: int, num_processes: int) -> None:
    """Compute this process's share of the parts that are not there.

    Args:
        cache: To be filled.
        compute: Features [rows, dim] float32, on the CPU, of some of the list's images.
        rank: Of this process.
        num_processes: Each takes every n-th part.
    """
    for number in range(rank, len(cache.parts), num_processes):
        if cache.read(number) is None:
            cache.write(number, compute(cache.parts[number]))


def whole(cache: FeatureCache) -> Tensor:
    """All of it, [images, dim]; every part must be there.

    Raises:
        RuntimeError: one is not, which is our own fault.
    """
    found = []
    for number in range(len(cache.parts)):
        part = cache.read(number)
        if part is None:
            raise RuntimeError(f"{cache.folder}: part {number} is not there")
        found.append(part)
    return torch.cat(found) if found else torch.empty(0, 0)
