"""SBD's segmentations as label maps of VOC2012, by which the split trainaug gets its 10,582 images.

What `bench data download voc-seg` adds to VOC2012: `SegmentationClassAug/ID.png` of every `cls/ID.mat`, and
`ImageSets/Segmentation/aug.txt`, the images of SBD (train and val) that are in neither VOC's train nor its
val. This is the rule of MMSegmentation's `tools/dataset_converters/voc_aug.py`; the code is ours.

scipy reads the MAT files: in C, which a forged one can end with the process. These come from an archive of
the known hash alone.

Source: Hariharan et al., Semantic Contours from Inverse Detectors, ICCV 2011.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.core import atomic, safe_tar
from bench.core.errors import DataError, UsageError
from bench.core.palette import voc_palette
from bench.core.paths import read_bounded, safe_name

FOLDER = "benchmark_RELEASE/dataset"
LABELS = "SegmentationClassAug"
LIST = "ImageSets/Segmentation/aug.txt"
NUM_CLASSES = 21
"""VOC's 20 and the background, which is 0. SBD has no pixels to leave out (255)."""

MAX_BYTES = 16 * 1024**2
"""Of a MAT file, packed and unpacked; a label map of VOC has 250,000."""

MAX_LIST_BYTES = 8 * 1024**2


@dataclass(frozen=True)
class Plan:
    """What will be made.

    Attributes:
        ids: Every image with a MAT file.
        aug: Those that VOC's train and val do not have, sorted.
        num_train: Images of VOC's train.
    """

    ids: frozenset[str]
    aug: tuple[str, ...]
    num_train: int


def is_there(voc: Path) -> bool:
    """Whether a VOC2012 has all of this already.

    Raises:
        UsageError: it has label maps that are not whole, or of which we cannot know what they are.
    """
    labels, path = voc / LABELS, voc / LIST
    try:
        if not os.path.lexists(labels):
            return False
        there = {entry.name for entry in labels.iterdir()} if labels.is_dir() else set()
        listed = path.is_file()
    except OSError as cause:
        raise DataError(f"{cause.filename}: cannot be read: {cause.strerror}") from None
    ids = _ids(path, read_bounded(path, MAX_LIST_BYTES)) if listed else ()
    missing = [name for name in ids if f"{name}.png" not in there]
    if not ids or missing:
        what = f"{len(missing):,} label maps of {path} (first: {missing[0]})" if missing else f"{path}"
        raise UsageError(f"{labels}: is there already, but without {what}. Move it away.")
    return True


def plan(archive: Path, voc: Path) -> Plan:
    """Read SBD's archive to its end, and VOC's lists.

    Args:
        archive: SBD's `benchmark.tgz`.
        voc: A VOC2012.

    Raises:
        DataError: a list or an image is missing, or the archive is damaged.
        UsageError: another list is there under the name of ours.
        DiskError: there is no room for the label maps.
    """
    ids: set[str] = set()
    listed: dict[str, tuple[str, ...]] = {}
    for entry in safe_tar.walk(archive, FOLDER):
        if entry.name in ("train.txt", "val.txt"):
            where = Path(f"{archive}: {FOLDER}/{entry.name}")
            if entry.size > MAX_LIST_BYTES:
                raise DataError(f"{where}: {entry.size:,} bytes; a list of images has less")
            listed[entry.name] = _ids(where, entry.read())
        elif (name := _mat_id(entry.name)) is not None:
            ids.add(safe_name(name, f"{archive}: image"))
    if missing := {"train.txt", "val.txt"} - set(listed):
        raise DataError(f"{archive}: no {FOLDER}/{min(missing)} in it; expected SBD's benchmark.tgz")
    own = [voc / "ImageSets" / "Segmentation" / name for name in ("train.txt", "val.txt")]
    train, val = (set(_ids(path, read_bounded(path, MAX_LIST_BYTES))) for path in own)
    aug = tuple(sorted({name for names in listed.values() for name in names} - train - val))
    if not aug:
        raise DataError(f"{archive}: lists no image that VOC's train and val do not have; is it SBD?")
    for have, what in ((ids, f"MAT file in {archive}"), (_images(voc), f"image in {voc / 'JPEGImages'}")):
        if lack := [name for name in aug if name not in have]:
            raise DataError(f"{archive}: {len(lack):,} listed images have no {what} (first: {lack[0]})")
    text = _list_text(aug)
    path = voc / LIST
    if path.exists() and read_bounded(path, MAX_LIST_BYTES).decode("utf-8", "replace") != text:
        raise UsageError(f"{path}: is there already, and is another list. Move it away.")
    # Indexed PNGs of VOC's own label maps have below 16 KiB.
    safe_tar.check_space(voc, [16 * 1024] * len(ids))
    return Plan(frozenset(ids), aug, len(train))


def convert(
    archive: Path, voc: Path, plan: Plan, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> None:
    """Write the list and then the label maps, which appear whole or not at all.

    Args:
        archive: What `plan` was made of.
        voc: The VOC2012 for which it was made.
        plan: As `plan` gave it.
        progress: Called with (done, all) label maps.

    Raises:
        DataError: a MAT file is not what is expected.
        DiskError: the disk is full, or the place cannot be written.
    """
    done = 0
    with atomic.new_folder(voc / LABELS, durable=False) as stage:
        for entry in safe_tar.walk(archive, FOLDER):
            name = _mat_id(entry.name)
            if name not in plan.ids:
                continue
            where = f"{archive}: {FOLDER}/{entry.name}"
            if entry.size > MAX_BYTES:
                raise DataError(f"{where}: {entry.size:,} bytes; expected at most {MAX_BYTES:,}")
            stage.write(f"{name}.png", label_png(read_labels(entry.read(), where)))
            done += 1
            progress(done, len(plan.ids))
        if done != len(plan.ids):
            raise DataError(f"{archive}: has changed while it was read; give the same command again")
        # The list first: a process that is killed between the two leaves it alone, and the next goes on.
        atomic.write_text(voc / LIST, _list_text(plan.aug))
        os.sync()  # once, in place of one for each file


def label_png(labels: npt.NDArray[np.uint8]) -> bytes:
    """A label map as an indexed PNG of 8 bits with VOC's colours; the values are those of `labels`."""
    image = Image.fromarray(labels)
    image.putpalette(bytes(value for colour in voc_palette() for value in colour))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def read_labels(data: bytes, where: str) -> npt.NDArray[np.uint8]:
    """`GTcls.Segmentation` of a MAT file: [height, width], 0 to 20.

    Args:
        data: The file's bytes, from an archive whose hash was checked.
        where: Names the file in messages.

    Raises:
        DataError: no such array, another shape or value, or a damaged file.
    """
    from scipy.io import loadmat

    try:
        values = loadmat(io.BytesIO(data), variable_names=("GTcls",))["GTcls"]["Segmentation"][0, 0]
    except Exception as error:
        # scipy raises what it likes on a file that is none, IndexError and TypeError among others.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{where}: no MAT file with GTcls.Segmentation: {reason}") from None
    return _checked(values, where)


def _checked(values: Any, where: str) -> npt.NDArray[np.uint8]:
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in "uif":
        raise DataError(f"{where}: Segmentation is no array of height x width numbers")
    labels = np.zeros(values.shape, np.uint8)
    fits = (values >= 0) & (values < NUM_CLASSES)  # False for nan
    labels[fits] = values[fits]
    if not values.size or not fits.all() or not np.array_equal(labels, values):
        wrong = values[~fits | (labels != values)][:1].tolist()
        raise DataError(f"{where}: Segmentation has the value {wrong}; expected whole numbers from 0 to 20")
    return labels


def _mat_id(name: str) -> str | None:
    """The image of "cls/ID.mat"; None of another file."""
    inner = name.removeprefix("cls/")
    found = inner != name and "/" not in inner and not inner.startswith(".") and inner.endswith(".mat")
    return inner.removesuffix(".mat") if found else None


def _ids(where: Path, data: bytes) -> tuple[str, ...]:
    """The images of a list, one a line."""
    try:
        lines = data.decode("ascii").split()
    except UnicodeDecodeError:
        raise DataError(f"{where}: not a list of images, one a line") from None
    return tuple(safe_name(line, f"{where}: image") for line in lines)


def _images(voc: Path) -> set[str]:
    try:
        return {entry.stem for entry in (voc / "JPEGImages").iterdir() if entry.suffix == ".jpg"}
    except OSError as cause:
        raise DataError(f"{voc / 'JPEGImages'}: cannot be read: {cause.strerror}") from None


def _list_text(ids: tuple[str, ...]) -> str:
    return "".join(f"{name}\n" for name in ids)
