"""What stands where in a scene: classes, places, sizes and poses, before anything is drawn.

All lengths are in 1/4096 of the image side, so that a scene looks the same at every size in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.synth import shapes, textures
from bench.synth.integer import TURN, Bits

SIDE = 4096


@dataclass(frozen=True)
class ObjectClass:
    """A class is an outline with a texture; colour, size, pose, light and background say nothing of it.

    Attributes:
        freedom: How far it may be turned either way from upright, in 1/1024 turns; 512 is any pose. The
            square, a full turn of which passes through the same picture four times, needs no more than 128.
    """

    name: str
    shape: shapes.Shape
    texture: textures.Texture
    freedom: int


CLASSES = (
    ObjectClass("arrow", shapes.arrow, textures.chevrons, 512),
    ObjectClass("crescent", shapes.crescent, textures.mottled, 512),
    ObjectClass("cross", shapes.cross, textures.grid, 128),
    ObjectClass("disc", shapes.disc, textures.targets, 512),
    ObjectClass("heart", shapes.heart, textures.gradient, 120),
    ObjectClass("hexagon", shapes.hexagon, textures.bricks, 512),
    ObjectClass("ring", shapes.ring, textures.waves, 512),
    ObjectClass("square", shapes.square, textures.checks, 128),
    ObjectClass("star", shapes.star, textures.dots, 512),
    ObjectClass("triangle", shapes.triangle, textures.stripes, 512),
)
"""The ten classes, by name."""

CLASS_NAMES = tuple(entry.name for entry in CLASSES)


@dataclass(frozen=True)
class Placement:
    """One shape to draw.

    Attributes:
        instance: Annotation it belongs to, from 1; the members of a crowd share one.
        class_index: Index into `CLASSES`.
        x, y: Centre, in 1/4096 of the side.
        radius: In 1/4096 of the side.
        angle: Turned by so much, in 1/1024 turns.
        aspect: Height to width, in 1/256.
    """

    instance: int
    class_index: int
    x: int
    y: int
    radius: int
    angle: int
    aspect: int


@dataclass(frozen=True)
class Layout:
    """The shapes of a scene in drawing order: later ones cover earlier ones. `crowds` are instances."""

    placements: tuple[Placement, ...]
    crowds: frozenset[int]


def _pose(bits: Bits, class_index: int) -> tuple[int, int]:
    freedom = CLASSES[class_index].freedom
    return bits.between(-freedom, freedom - 1) % TURN, bits.between(215, 305)


def single(bits: Bits, class_index: int) -> Layout:
    """One object, loosely in the middle: half to nine tenths of the side."""
    radius = bits.between(1000, 1800)
    room = (SIDE // 2 - radius) // 2 + 180
    x, y = (SIDE // 2 + bits.between(-room, room) for _ in range(2))
    angle, aspect = _pose(bits, class_index)
    return Layout((Placement(1, class_index, x, y, radius, angle, aspect),), frozenset())


def several(bits: Bits) -> Layout:
    """One to four objects, some cut by the border, some partly covered; at times a tiny one or a crowd."""
    placed: list[Placement] = []
    crowds: set[int] = set()
    if bits.chance(1, 12):
        placed += _crowd(bits)
        crowds.add(1)
    for _ in range(bits.between(1, 4)):
        # The smaller of two draws: small objects are the more common, as in real sets.
        radius = min(bits.between(360, 1050), bits.between(360, 1050))
        _try_to_place(bits, placed, radius)
    if bits.chance(1, 10):
        _try_to_place(bits, placed, bits.between(120, 190))
    return Layout(tuple(placed), frozenset(crowds))


def _try_to_place(bits: Bits, placed: list[Placement], radius: int) -> None:
    class_index = bits.below(len(CLASSES))
    margin = radius // 2 if bits.chance(1, 5) else radius
    instance = placed[-1].instance + 1 if placed else 1
    angle, aspect = _pose(bits, class_index)
    for _ in range(12):
        x, y = (bits.between(margin, SIDE - margin) for _ in range(2))
        # A little nearer than touching: some overlap, but what lies below stays recognisable.
        if all(_apart(x, y, radius, other) for other in placed):
            placed.append(Placement(instance, class_index, x, y, radius, angle, aspect))
            return


def _apart(x: int, y: int, radius: int, other: Placement) -> bool:
    distance = (x - other.x) ** 2 + (y - other.y) ** 2
    return 16 * distance >= (3 * (radius + other.radius)) ** 2


def _crowd(bits: Bits) -> list[Placement]:
    """A cluster of 8 to 14 tiny objects of one class, annotated as one region."""
    class_index = bits.below(len(CLASSES))
    centre_x, centre_y = (bits.between(800, SIDE - 800) for _ in range(2))
    members = []
    for _ in range(bits.between(8, 14)):
        x, y = centre_x + bits.between(-520, 520), centre_y + bits.between(-520, 520)
        angle, aspect = _pose(bits, class_index)
        members.append(Placement(1, class_index, x, y, bits.between(130, 200), angle, aspect))
    return members
