"""What was found beside what is there: test images with their class."""

from __future__ import annotations

from bench.images.sheet import Tile
from bench.images.source import ImageSource
from transfer.metrics.accuracy import ClassTest

NUM_IMAGES = 24
_MAX_LETTERS = 18


def class_tiles(images: ImageSource, test: ClassTest) -> list[Tile]:
    """`NUM_IMAGES` test images, evenly spread: `cat`, or `cat, found dog`.

    Args:
        images: The test split.
        test: Its test.
    """
    count = min(NUM_IMAGES, len(test.truth))
    tiles = []
    for place in range(count):
        index = place * len(test.truth) // count
        there, found = (
            test.classes[int(label)][:_MAX_LETTERS] for label in (test.truth[index], test.ranked[index, 0])
        )
        is_right = test.truth[index] == test.ranked[index, 0]
        caption = f"{there}: right" if is_right else f"{there}, found {found}"
        tiles.append(Tile(images.read(index), caption))
    return tiles
