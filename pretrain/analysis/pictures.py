"""Small images in memory: drawn by the embedded generator, or read from folders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.core import rng
from bench.core.errors import DataError
from bench.core.log import progress
from bench.core.protocol import digest
from bench.core.records import DataStamp
from bench.images.source import ImageSource, open_source
from bench.images.views import center_view
from bench.synth.generate import GENERATOR_VERSION
from bench.synth.layout import CLASS_NAMES
from bench.synth.scene import make_portrait, make_scene
from pretrain.analysis.config import PicturesConfig, StudyConfig

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

EMBEDDED_SEED = 0
_PROBE, _TEST = 100_000, 200_000
"""Where the numbers of portraits for probes and for tests start, so that no two parts share one."""


@dataclass(frozen=True)
class Pictures:
    """Images of one part.

    Attributes:
        pixels: [images, side, side, 3] uint8, RGB.
        labels: [images], or None where images have no class.
        masks: [images, side, side] uint8: 0 background, class + 1, or 255 for none; None where unknown.
    """

    pixels: Pixels
    labels: Labels | None = None
    masks: Pixels | None = None

    def __len__(self) -> int:
        """How many."""
        return len(self.pixels)

    @property
    def known_labels(self) -> Labels:
        """The labels of images that have some. Raises TypeError for others, which no probe is given."""
        if self.labels is None:
            raise TypeError("images without classes")
        return self.labels


@dataclass(frozen=True)
class Sources:
    """Where a study's images come from; the embedded generator where nothing is given.

    Attributes:
        data: A folder with train and val, or of images alone; views are made of these.
        probe_data: A folder with train and val of class folders, for the probes; `data` if left out.
        index_root: Folder to keep the index of large folders in.
    """

    data: Path | None = None
    probe_data: Path | None = None
    index_root: Path | None = None


@dataclass(frozen=True)
class StudyData:
    """What a study works on.

    Attributes:
        train: Views are made of these.
        held_out: I_NCE is measured on views of these.
        probe: Linear classifiers are fitted to these.
        test: And tested on these.
        classes: Of the last two.
        stamp: For the record.
    """

    train: Pictures
    held_out: Pictures
    probe: Pictures
    test: Pictures
    classes: tuple[str, ...]
    stamp: DataStamp


@dataclass(frozen=True)
class _Part:
    """Images that are still to be drawn or read: how many, what tells them from others, and one by number."""

    count: int
    facts: dict[str, Any]
    make: Callable[[int], tuple[Pixels, Pixels | None]]
    labels: Labels | None = None
    classes: tuple[str, ...] = ()


def open_pictures(
    sources: Sources, config: PicturesConfig, *, probe_px: int | None = None, scenes: bool = False
) -> StudyData:
    """All four parts, in memory.

    Args:
        sources: Folders, or nothing for the embedded images.
        config: Sizes and numbers.
        probe_px: Side of probe and test images, where it is another one than that of the others.
        scenes: Of the embedded images, views are made of those with several objects.

    Raises:
        DataError: a part is not there or not readable, images for probes have no class, two parts have other
            classes, or a number is 0 where images have no end.
    """
    side = probe_px or config.size_px
    counts = (config.num_train, config.num_test)
    if sources.data is None:
        train, held_out = _embedded(config.size_px, counts, first=(0, _TEST), scenes=scenes)
    else:
        train, held_out = _unlabelled(sources.data, config.size_px, counts, sources.index_root)
    probe_data = sources.probe_data or sources.data
    counts = (config.num_probe, config.num_test)
    if probe_data is None:
        probe, test = _embedded(side, counts, first=(_PROBE, _TEST), scenes=False)
    else:
        probe, test = _labelled(probe_data, side, counts, sources.index_root)
    parts = {"train": train, "held_out": held_out, "probe": probe, "test": test}
    made = _make(parts, {"train": config.size_px, "held_out": config.size_px, "probe": side, "test": side})
    stamp = DataStamp(
        name=" and ".join(dict.fromkeys(_name(place) for place in (sources.data, probe_data))),
        fingerprint=digest({name: part.facts for name, part in parts.items()}),
        counts={name: part.count for name, part in parts.items()},
        classes=test.classes,
    )
    return StudyData(**made, classes=test.classes, stamp=stamp)


def whole_images(config: StudyConfig[Any], sources: Sources) -> StudyData:
    """The data of a study that makes views of whole images."""
    return open_pictures(sources, config.images)


def _name(place: Path | None) -> str:
    return "embedded images" if place is None else place.resolve().name


def _make(parts: dict[str, _Part], sides: dict[str, int]) -> dict[str, Pictures]:
    made, done = {}, 0
    with progress("Images into memory", sum(part.count for part in parts.values())) as bar:
        for name, part in parts.items():
            pixels = np.empty((part.count, sides[name], sides[name], 3), np.uint8)
            masks = np.empty((part.count, sides[name], sides[name]), np.uint8)
            has_masks = False
            for number in range(part.count):
                pixels[number], mask = part.make(number)
                if mask is not None:
                    masks[number], has_masks = mask, True
                done += 1
                bar.update(done)
            made[name] = Pictures(pixels, part.labels, masks if has_masks else None)
    return made


def _embedded(
    side: int, counts: tuple[int, int], *, first: tuple[int, int], scenes: bool
) -> tuple[_Part, _Part]:
    if 0 in counts:
        raise DataError(
            "the embedded images have no end: a number of images is 0, which stands for all of a folder"
        )
    num_classes = len(CLASS_NAMES)

    def part(start: int, count: int) -> _Part:
        labels = np.arange(count, dtype=np.int64) % num_classes

        def make(number: int) -> tuple[Pixels, Pixels | None]:
            if scenes:
                return make_scene(EMBEDDED_SEED, start + number, side).pixels, None
            index = start + number // num_classes
            scene = make_portrait(EMBEDDED_SEED, int(labels[number]), index, side)
            return scene.pixels, scene.labels

        facts = {"generator": GENERATOR_VERSION, "seed": EMBEDDED_SEED, "scenes": scenes, "side": side}
        facts |= {"first": start, "count": count}
        return _Part(count, facts, make, None if scenes else labels, () if scenes else tuple(CLASS_NAMES))

    one, two = (part(start, count) for start, count in zip(first, counts, strict=True))
    return one, two


def _unlabelled(
    root: Path, side: int, counts: tuple[int, int], index_root: Path | None
) -> tuple[_Part, _Part]:
    """Of train and val; where there is no train, one image in ten is held out."""
    if (root / "train").is_dir():
        one, two = (open_source(root / name, index_root=index_root) for name in ("train", "val"))
        rows = [_chosen(np.arange(len(one)), counts[0], 0), _chosen(np.arange(len(two)), counts[1], 2)]
    else:
        one = two = open_source(root, index_root=index_root)
        every = np.arange(len(one))
        rows = [_chosen(every[every % 10 != 0], counts[0], 0), _chosen(every[::10], counts[1], 2)]
    return _read(one, rows[0], side), _read(two, rows[1], side)


def _labelled(root: Path, side: int, counts: tuple[int, int], index_root: Path | None) -> tuple[_Part, _Part]:
    found = []
    for name in ("train", "val"):
        source = open_source(root / name, index_root=index_root)
        if source.labels is None:
            raise DataError(
                f"{root / name}: images have no class; expected a folder of images for each class. Give a "
                "folder that has them as --probe-data"
            )
        found.append(source)
    if found[0].classes != found[1].classes:
        raise DataError(f"{root}: train has other classes than val; expected the same class folders")
    rows = [
        _chosen(np.arange(len(source)), count, number)
        for source, count, number in zip(found, counts, (1, 2), strict=True)
    ]
    one, two = (_read(source, chosen, side) for source, chosen in zip(found, rows, strict=True))
    return one, two


def _chosen(rows: npt.NDArray[np.int64], wanted: int, part: int) -> npt.NDArray[np.int64]:
    """At most `wanted` of these numbers in an order that is the same in every study; 0 for all.

    Never in that of the folders: the candidates among which a view is looked for would be of one class, and
    the first images with labels would be of few.
    """
    order = rng.generator(EMBEDDED_SEED, "order", part).permutation(len(rows))
    return rows[order[: wanted or len(rows)]]


def _read(source: ImageSource, rows: npt.NDArray[np.int64], side: int) -> _Part:
    def make(number: int) -> tuple[Pixels, None]:
        image = source.read(int(rows[number]))
        return center_view(image, resize_px=side, crop_px=side, resample="bilinear"), None

    facts = {"source": source.fingerprint, "rows": digest({"rows": rows.tolist()}), "side": side}
    labels = None if source.labels is None else source.labels[rows]
    return _Part(len(rows), facts, make, labels, source.classes or ())
