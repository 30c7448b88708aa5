"""Pixels to bytes of a file. The only use of Pillow here: it encodes, it never draws.

Equal pixels give equal JPEG bytes only with an equal Pillow (and libjpeg in it), which is why the project
pins Pillow to one version; the pixels themselves depend on neither.
"""

from __future__ import annotations

import io
from functools import cache

from PIL import Image

from bench.synth.integer import ByteArray

JPEG_QUALITY = 90


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


def palette() -> list[tuple[int, int, int]]:
    """VOC's 256 colours (red, green, blue): the bits of the index, dealt in turn to the three channels.

    Source:
        VOCdevkit, VOClabelcolormap.m.
    """
    colours = []
    for index in range(256):
        rgb = [0, 0, 0]
        for place in range(8):
            for channel in range(3):
                # The lowest three bits of the index make the highest bit of each channel.
                rgb[channel] |= ((index >> (3 * place + channel)) & 1) << (7 - place)
        colours.append((rgb[0], rgb[1], rgb[2]))
    return colours
