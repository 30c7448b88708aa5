"""Photographs as large and as hard to decode as ImageNet's, made from others; for benchmarks of the input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bench.images.source import open_source

# Width and height in pixels, as frequent as they stand here: 0.19 Mpixel on average, ImageNet has 0.2.
_SIZES = [(500, 375)] * 5 + [(375, 500)] * 2 + [(500, 333), (500, 400), (640, 480), (400, 300)]
# With noise of this deviation and this quality, 3.8 bits a pixel; ImageNet has 3.9.
_NOISE, _QUALITY, _SHARE_420 = (4.0, 14.0), 92, 0.8


def make_photos(source: Path, folder: Path, count: int) -> list[Path]:
    """`count` JPEGs in `folder`, from the images below `source`; made once."""
    paths = [folder / f"{number:05}.jpg" for number in range(count)]
    if all(path.exists() for path in paths):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    images, draw = open_source(source), np.random.default_rng(0)
    for number, path in enumerate(paths):
        picture = Image.fromarray(images.read(number % len(images)))
        picture = picture.resize(_SIZES[draw.integers(len(_SIZES))], Image.Resampling.BICUBIC)
        pixels = np.asarray(picture, dtype=np.float64)
        pixels = pixels + draw.normal(0.0, draw.uniform(*_NOISE), (*pixels.shape[:2], 1))
        noisy = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        noisy.save(path, "JPEG", quality=_QUALITY, subsampling=2 if draw.random() < _SHARE_420 else 0)
    return paths
