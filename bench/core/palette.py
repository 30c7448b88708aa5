"""The colours of label maps: an index stands for a class, its colour is only how a viewer shows it."""

from __future__ import annotations

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


def voc_palette() -> list[Colour]:
    """VOC's 256 colours: the bits of the index, dealt in turn to the three channels.

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
