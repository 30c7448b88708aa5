"""Pixels to bytes of a file. The only use of Pillow here: it encodes, it never draws.

Equal pixels give equal JPEG bytes only with an equal Pillow (and libjpeg in it), which is why the project
pins Pillow to one version; the pixels themselves depend on neither.
"""

from __future__ import annotations

import io
from functools import cache

from PIL import Image

from bench.core.palette import voc_palette
from bench.synth.integer import ByteArray

JPEG_QUALITY = 90
palette = voc_palette


def jpeg(pixels: ByteArray) -> bytes:
    """A JPEG of [height, width, 3] uint8 RGB, quality 90, colour at half resolution as cameras do."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
    return buffer.getvalue()


def indexed_png(labels: ByteArray) -> bytes:
    """A PNG of [height, width] uint8 labels with VOC's palette: a reader gets the labels back as indices."""
    image = Image.fromarray(labels)
    image.putpalette(_flat_palette())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@cache
def _flat_palette() -> bytes:
    return bytes(value for rgb in palette() for value in rgb)
