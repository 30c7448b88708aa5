"""The scene model: a picture and its objects as a pure function of (seed, index, size).

`make_scene` gives a picture with one to four objects for detection and segmentation; `make_portrait` one
object of a given class for classification. Masks are what can be seen of an object; boxes, polygons and
label maps are all read off the masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.synth import textures
from bench.synth.background import background
from bench.synth.integer import (
    FULL,
    Bits,
    BoolArray,
    ByteArray,
    IntArray,
    colour,
    cosine,
    luminance,
    mix,
    sine,
)
from bench.synth.layout import CLASSES, SIDE, Layout, Placement, several, single

IGNORE = 255
"""Label of pixels that count for no class: borders of objects, crowds, and remains too small to name."""

MIN_SIDE_PX = 3
"""An object of which less than this is seen, across or down, is not annotated."""

_SCENE, _PORTRAIT = 0, 1


@dataclass(frozen=True)
class SceneObject:
    """One annotated object.

    Attributes:
        class_index: Index into `bench.synth.layout.CLASSES`.
        mask: [height, width] bool, the visible part.
        box: Left, top, right, bottom of the visible part in pixels, 0-based, all inclusive.
        truncated: The border of the image cuts it.
        difficult: Tiny, mostly hidden, or a crowd.
        crowd: A cluster of many annotated as one.
    """

    class_index: int
    mask: BoolArray
    box: tuple[int, int, int, int]
    truncated: bool
    difficult: bool
    crowd: bool


@dataclass(frozen=True)
class Scene:
    """A picture with what is in it.

    Attributes:
        pixels: [height, width, 3] uint8, RGB.
        objects: Annotated objects in drawing order.
        labels: [height, width] uint8: 0 background, class index + 1, or `IGNORE`.
    """

    pixels: ByteArray
    objects: tuple[SceneObject, ...]
    labels: ByteArray


def make_scene(seed: int, index: int, size_px: int) -> Scene:
    """A scene for detection and segmentation: one to four objects, at times a tiny one or a crowd.

    Args:
        seed: The data set's seed.
        index: Which scene of it.
        size_px: Side of the square picture, 32 to 1024.
    """
    bits = Bits(seed, _SCENE, index)
    return _render(bits, several(bits), size_px)


def make_portrait(seed: int, class_index: int, index: int, size_px: int) -> Scene:
    """One object of one class, loosely in the middle; arguments as in `make_scene`."""
    bits = Bits(seed, _PORTRAIT, class_index, index)
    return _render(bits, single(bits, class_index), size_px)


def _render(bits: Bits, layout: Layout, size: int) -> Scene:
    canvas = background(bits, size)
    owner = np.zeros((size, size), dtype=np.int32)
    whole_area: dict[int, int] = {}
    cut: set[int] = set()
    for placement in layout.placements:
        area, is_cut = _draw(bits, canvas, owner, placement)
        instance = placement.instance
        whole_area[instance] = whole_area.get(instance, 0) + area
        if is_cut:
            cut.add(instance)
    pixels = _expose(bits, canvas)
    classes = {placement.instance: placement.class_index for placement in layout.placements}
    objects, dropped = [], []
    for instance, class_index in classes.items():
        mask = owner == instance
        box = _box(mask)
        if box is None or box[2] - box[0] + 1 < MIN_SIDE_PX or box[3] - box[1] + 1 < MIN_SIDE_PX:
            dropped.append(instance)
            continue
        seen, crowd = int(np.count_nonzero(mask)), instance in layout.crowds
        hidden = 100 * seen < 45 * whole_area[instance]
        tiny = 400 * seen < size * size
        difficult = crowd or hidden or tiny
        objects.append(SceneObject(class_index, mask, box, instance in cut, difficult, crowd))
    void = frozenset(dropped) | layout.crowds
    return Scene(pixels, tuple(objects), _labels(owner, classes, void))


def _draw(bits: Bits, canvas: IntArray, owner: IntArray, place: Placement) -> tuple[int, bool]:
    """Draw one shape onto `canvas` and `owner`; returns its whole area (px) and if the border cuts it."""
    size = owner.shape[0]
    # Sixteenths of a pixel from here on; two samples a pixel each way give soft edges.
    centre_x, centre_y = (place.x * size * 16) // SIDE, (place.y * size * 16) // SIDE
    half_width = max((place.radius * size * 16) // SIDE, 32)
    half_height = max((half_width * place.aspect) >> 8, 32)
    reach = (max(half_width, half_height) * 9) // 128 + 2
    left, top = centre_x // 16 - reach, centre_y // 16 - reach
    steps = np.arange(4 * reach, dtype=np.int32) * 8 + 4
    across, down = steps + (left * 16 - centre_x), steps + (top * 16 - centre_y)
    cos, sin = cosine(place.angle), sine(place.angle)
    # 14 bits of cosine + 10 bits of unit radius - 18 bits of shift; products stay below 2**30.
    x = across[None, :] * (cos * 16384 // half_width) + down[:, None] * (sin * 16384 // half_width)
    y = down[:, None] * (cos * 16384 // half_height) - across[None, :] * (sin * 16384 // half_height)
    x, y = x >> 18, y >> 18
    inside = CLASSES[place.class_index].shape(x, y).astype(np.int32)
    cover = inside[0::2, 0::2] + inside[0::2, 1::2] + inside[1::2, 0::2] + inside[1::2, 1::2]
    solid = cover >= 2
    area = int(np.count_nonzero(solid))

    rows = slice(max(top, 0), min(top + 2 * reach, size))
    columns = slice(max(left, 0), min(left + 2 * reach, size))
    cut_rows = slice(rows.start - top, rows.stop - top)
    cut_columns = slice(columns.start - left, columns.stop - left)
    behind = canvas[:, rows, columns]
    paint = _paint(bits, place, x[::2, ::2], y[::2, ::2], behind, half_width)
    cover, solid = cover[cut_rows, cut_columns], solid[cut_rows, cut_columns]
    canvas[:, rows, columns] = mix(behind, paint[:, cut_rows, cut_columns], cover * 64)
    owner[rows, columns][solid] = place.instance
    return area, int(np.count_nonzero(solid)) < area


def _paint(
    bits: Bits, place: Placement, x: IntArray, y: IntArray, behind: IntArray, half_width: int
) -> IntArray:
    """The colours of one object's surface, [3, rows, columns] int32, also where it is not."""
    # The best of three draws against the background and of four against each other: colours stay
    # arbitrary, and objects and their texture can be seen.
    around = behind.sum(axis=(1, 2), keepdims=True, dtype=np.int32) // (behind.shape[1] * behind.shape[2])
    first = max((colour(bits) for _ in range(3)), key=lambda rgb: int(np.abs(rgb - around).sum()))
    second = max((colour(bits) for _ in range(4)), key=lambda rgb: abs(luminance(rgb) - luminance(first)))
    if bits.chance(1, 2):
        first, second = second, first
    # 1.3 to 2.4 periods on a radius, fewer on objects of few pixels.
    pace = min(bits.between(330, 620), max(half_width * 4, 200))
    gain = max(1, min(half_width * 16 // pace // 16, 3))
    phase_x, phase_y = bits.below(1024), bits.below(1024)
    texture = CLASSES[place.class_index].texture
    if texture is textures.targets:
        phase_x = phase_y = 0
    knobs = textures.draw_knobs(bits, gain)
    field = texture(((x * pace) >> 8) + phase_x, ((y * pace) >> 8) + phase_y, knobs)
    paint = mix(first, second, field)
    # Its own light: up to a third brighter on one side than on the other.
    towards = bits.below(1024)
    slope = (x * (cosine(towards) >> 8) + y * (sine(towards) >> 8)) >> 6
    light = FULL + ((slope * bits.between(0, 70)) >> 10)
    return (paint * light) >> 8


def _expose(bits: Bits, canvas: IntArray) -> ByteArray:
    """Light over the whole picture, then the noise of a sensor: [size, size, 3] uint8."""
    size = canvas.shape[1]
    axis = (np.arange(size, dtype=np.int32) * 512) // size - FULL
    towards, strength = bits.below(1024), bits.between(0, 90)
    slope = axis[None, :] * (cosine(towards) >> 6) + axis[:, None] * (sine(towards) >> 6)
    light = bits.between(180, 290) + (((slope >> 8) * strength) >> 8)
    grain = (bits.bytes(size * size).reshape(size, size) * bits.between(2, 16) >> 8) - 4
    exposed = np.clip(((canvas * light) >> 8) + grain, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(exposed.transpose(1, 2, 0))


def _box(mask: BoolArray) -> tuple[int, int, int, int] | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def _labels(owner: IntArray, classes: dict[int, int], void: frozenset[int]) -> ByteArray:
    """Class of each pixel, with `IGNORE` on both sides of each border as VOC draws it."""
    table = np.zeros(max(classes, default=0) + 1, dtype=np.uint8)
    for instance, class_index in classes.items():
        table[instance] = IGNORE if instance in void else class_index + 1
    labels: ByteArray = table[owner]
    across, down = owner[:, 1:] != owner[:, :-1], owner[1:] != owner[:-1]
    labels[:, 1:][across] = IGNORE
    labels[:, :-1][across] = IGNORE
    labels[1:][down] = IGNORE
    labels[:-1][down] = IGNORE
    return labels
