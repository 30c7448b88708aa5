"""Writes the whole data set: one scene model, four layouts, one folder that appears at once or not at all.

    ROOT/dataset.json                 version, seed, sizes, counts, classes
    ROOT/voc                          VOC layout with boxes and label maps (`bench.synth.write_voc`)
    ROOT/coco                         the same images: annotations/*.json, images/{train,val}
    ROOT/folder/{train,val}/<class>   one object an image, for classification

VOC's trainval is COCO's train, VOC's test is COCO's val. An image depends on the seed, its number and its
size alone: more images, or more workers, leave the others as they were.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench.core.atomic import StagedFolder, json_text, new_folder
from bench.core.errors import UsageError
from bench.core.signals import leave_stopping_to_the_parent, leave_with_the_parent
from bench.synth import write_coco, write_voc
from bench.synth.encode import jpeg
from bench.synth.layout import CLASS_NAMES
from bench.synth.scene import make_portrait, make_scene

GENERATOR_VERSION = 1
"""Rises whenever a pixel or an annotation of any image changes."""

MARKER = "dataset.json"
"""The file at the root by which a generated data set is known."""

MIN_SIZE_PX, MAX_SIZE_PX = 32, 1024

# Numbers of images that belong to the second split start here, so that the two never share one.
_SECOND_SPLIT = 500_000
_CHUNK = 32


@dataclass(frozen=True)
class Counts:
    """How many images. A pair of zeros leaves that part out.

    Attributes:
        detection_train: Scenes in VOC's trainval and COCO's train.
        detection_test: Scenes in VOC's test and COCO's val.
        class_train: Images per class in `folder/train`.
        class_val: Images per class in `folder/val`.
    """

    detection_train: int = 300
    detection_test: int = 100
    class_train: int = 400
    class_val: int = 50

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UsageError: negative, too many, or one half of a pair is missing.
        """
        pairs = (("detection", "train", "test", 2), ("class", "train", "val", 1))
        for kind, first, second, least in pairs:
            one, two = getattr(self, f"{kind}_{first}"), getattr(self, f"{kind}_{second}")
            if (one, two) == (0, 0):
                continue
            if not (least <= one <= _SECOND_SPLIT and 1 <= two <= _SECOND_SPLIT):
                raise UsageError(
                    f"{one} {kind} images to {first} and {two} to {second}: expected {least} to "
                    f"{_SECOND_SPLIT:,} and 1 to {_SECOND_SPLIT:,}, or 0 and 0"
                )
        if self.total == 0:
            raise UsageError("0 images: nothing to generate")

    @property
    def total(self) -> int:
        """All images to make; those in VOC and in COCO layout are the same and count once."""
        scenes = self.detection_train + self.detection_test
        return scenes + len(CLASS_NAMES) * (self.class_train + self.class_val)


@dataclass(frozen=True)
class _Job:
    """A run of images for one worker: `class_index` None means scenes; `first` is the number of the first."""

    split: str
    class_index: int | None
    first: int
    count: int
    size_px: int


def generate(
    root: Path,
    *,
    seed: int = 0,
    size_px: int = 160,
    class_size_px: int = 64,
    counts: Counts | None = None,
    progress: Callable[[int], None] | None = None,
    num_workers: int = 1,
    replace: bool = False,
) -> None:
    """Make the data set at `root`.

    Args:
        root: Where; the folder must not be there yet.
        seed: Another seed, other pictures.
        size_px: Side of scenes, 32 to 1024.
        class_size_px: Side of images for classification, 32 to 1024.
        counts: How many images; None for the defaults of `Counts`.
        progress: Called with the number of images done so far.
        num_workers: Processes; 1 works in this one. The result does not depend on it.
        replace: Replace a data set that was generated before.

    Raises:
        UsageError: a size or count out of range; `root` is there and `replace` is False, or it is
            something else than a generated data set.
        DiskError: the disk is full or the place cannot be written; nothing is left of it.
    """
    counts = counts or Counts()
    check_request(
        root, size_px=size_px, class_size_px=class_size_px, num_workers=num_workers, replace=replace
    )
    jobs = list(_jobs(counts, size_px, class_size_px))
    annotations: dict[str, list[list[dict[str, Any]]]] = {"train": [], "val": []}
    with new_folder(root, durable=False, replace=replace) as folder:
        done = 0
        for job, found in zip(jobs, _work(jobs, folder, seed, num_workers), strict=True):
            annotations[job.split] += found
            done += job.count
            if progress:
                progress(done)
        if counts.detection_train:
            trainval = [_image_id(number) for number in range(counts.detection_train)]
            test = [_image_id(_SECOND_SPLIT + number) for number in range(counts.detection_test)]
            write_voc.write_lists(folder, trainval, test)
            splits = {"train": (trainval, annotations["train"]), "val": (test, annotations["val"])}
            write_coco.write_lists(folder, splits, size_px)
        about = {
            "generator": "bench.synth",
            "generator_version": GENERATOR_VERSION,
            "seed": seed,
            "size_px": size_px,
            "class_size_px": class_size_px,
            "counts": asdict(counts),
            "classes": list(CLASS_NAMES),
        }
        folder.write(MARKER, json_text(about).encode())


def check_request(root: Path, *, size_px: int, class_size_px: int, num_workers: int, replace: bool) -> None:
    """What `generate` checks before it starts; arguments and errors as there."""
    for what, size in (("size", size_px), ("class size", class_size_px)):
        if not MIN_SIZE_PX <= size <= MAX_SIZE_PX:
            raise UsageError(f"{what} {size}: expected {MIN_SIZE_PX} to {MAX_SIZE_PX} px")
    if num_workers < 1:
        raise UsageError(f"{num_workers} workers: expected at least 1")
    for parent in root.absolute().parents:
        if parent.exists() and not parent.is_dir():
            raise UsageError(f"{root}: {parent} is a file; expected a folder")
    if not root.exists():
        return
    if not replace:
        raise UsageError(f"{root}: exists already; --force replaces it")
    if not (root / MARKER).is_file():
        raise UsageError(f"{root}: is no generated data set (no {MARKER} in it); it is not replaced")


def _image_id(number: int) -> str:
    return f"{number + 1:06d}"


def _jobs(counts: Counts, size_px: int, class_size_px: int) -> Iterator[_Job]:
    yield from _chunks("train", None, 0, counts.detection_train, size_px)
    yield from _chunks("val", None, _SECOND_SPLIT, counts.detection_test, size_px)
    for class_index in range(len(CLASS_NAMES)):
        yield from _chunks("train", class_index, 0, counts.class_train, class_size_px)
        yield from _chunks("val", class_index, _SECOND_SPLIT, counts.class_val, class_size_px)


def _chunks(split: str, class_index: int | None, start: int, count: int, size_px: int) -> Iterator[_Job]:
    for first in range(0, count, _CHUNK):
        yield _Job(split, class_index, start + first, min(_CHUNK, count - first), size_px)


def _do(job: _Job, *, folder: StagedFolder, seed: int) -> list[list[dict[str, Any]]]:
    """Draw and write the images of one job; returns COCO's annotations of each scene."""
    found = []
    for number in range(job.first, job.first + job.count):
        if job.class_index is not None:
            name = CLASS_NAMES[job.class_index]
            portrait = make_portrait(seed, job.class_index, number, job.size_px)
            folder.write(f"folder/{job.split}/{name}/{_image_id(number)}.jpg", jpeg(portrait.pixels))
            continue
        scene, image_id = make_scene(seed, number, job.size_px), _image_id(number)
        data = jpeg(scene.pixels)
        write_voc.write_image(folder, scene, image_id, data)
        folder.write(f"coco/images/{job.split}/{image_id}.jpg", data)
        found.append(write_coco.annotations_of(scene))
    return found


def _work(
    jobs: list[_Job], folder: StagedFolder, seed: int, num_workers: int
) -> Iterator[list[list[dict[str, Any]]]]:
    """The results of all jobs, in their order."""
    task = partial(_do, folder=folder, seed=seed)
    num_workers = min(num_workers, len(jobs))
    if num_workers == 1:
        yield from map(task, jobs)
        return
    # Spawned, not forked: the caller may have threads, and a fork of them may hang.
    context = get_context("spawn")
    with _single_threaded(), ProcessPoolExecutor(num_workers, context, initializer=_start_worker) as pool:
        try:
            yield from pool.map(task, jobs)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Children started inside use one thread each: the processes share the cores among them already."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start_worker() -> None:
    leave_stopping_to_the_parent()
    leave_with_the_parent()
