"""Data sets that can be downloaded by name: which archives make which folder.

Addresses and checksums are torchvision's, read from its tables when they are asked for.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.core import atomic, safe_tar
from bench.core.download import Digest
from bench.core.errors import DataError, EngineError, UsageError, did_you_mean
from bench.core.paths import read_bounded, safe_name
from transfer.data import sbd

SETS = {
    "imagenette": "imagenette2: class folders, ten easy classes of ImageNet",
    "imagenette-160": "imagenette2-160: the same, short side 160 px",
    "imagenette-320": "imagenette2-320: the same, short side 320 px",
    "voc-seg": "VOC2012 with SBD's label maps, for semseg",
    "voc0712": "VOC2007 and VOC2012, for voc-det",
    "voc2007": "VOC2007: trainval and test",
    "voc2012": "VOC2012: trainval",
}
"""Name to what it is."""

DEVKIT = "VOCdevkit"
_MAX_LIST_BYTES = 8 * 1024**2

Progress = Callable[[int, int], None]
"""Called with (done, all) files."""


@dataclass(frozen=True)
class Archive:
    """A file to download."""

    url: str
    file_name: str
    digest: Digest


class Part(Protocol):
    """A folder that is made of archives, and appears whole or not at all."""

    @property
    def archives(self) -> tuple[Archive, ...]:
        """What must be there before it is made."""

    @property
    def title(self) -> str:
        """What making it is, for a progress bar."""

    def place(self, out: Path) -> Path:
        """The folder, in the folder of all data sets."""

    def is_there(self, out: Path) -> bool:
        """Whether it is there. Raises UsageError if something else is, or only a part of it."""

    def build(self, out: Path, archives: Sequence[Path], progress: Progress) -> list[str]:
        """Make it; returns facts about it.

        Raises:
            DataError: an archive is damaged, hostile, or another than expected.
            DiskError: there is no room, or the place cannot be written.
        """


@dataclass(frozen=True)
class Unpacked:
    """A folder of archives as it is.

    Attributes:
        archives: All are unpacked into it.
        folder: Its name in the archives, and below the folder of data sets.
        needs: What must be in it: folders, or lists of images in VOC's layout.
    """

    archives: tuple[Archive, ...]
    folder: str
    needs: tuple[Need, ...]

    @property
    def title(self) -> str:
        """What making it is."""
        return f"Unpacking {self.folder}, files"

    def place(self, out: Path) -> Path:
        """The folder."""
        return out / self.folder

    def is_there(self, out: Path) -> bool:
        """Whether it is there, with all that it needs; what files have in them is not looked at."""
        place = self.place(out)
        if not os.path.lexists(place):
            return False
        if lack := self._lacks(place):
            raise UsageError(f"{place}: is there already, but {lack}. Move it away, or give another --out.")
        return True

    def build(self, out: Path, archives: Sequence[Path], progress: Progress) -> list[str]:
        """Unpack the archives."""
        place = self.place(out)
        with _only_once(place), atomic.new_folder(place, durable=False) as stage:
            safe_tar.unpack(archives, self.folder, stage, progress)
            if lack := self._lacks(stage.root):
                raise DataError(f"{' and '.join(map(str, archives))}: {self.folder}: {lack}")
            os.sync()  # once, in place of one for each file
        return []

    def _lacks(self, place: Path) -> str:
        try:
            lacks = (need.lacks(place) for need in self.needs)
            return next((lack for lack in lacks if lack), "")
        except OSError as cause:
            raise DataError(f"{cause.filename}: cannot be read: {cause.strerror}") from None


@dataclass(frozen=True)
class Need:
    """What a folder must have: subfolders that are not empty, or a list and a file for each image of it.

    Attributes:
        names: Subfolders.
        list_file: In VOC's layout: an image id a line.
        suffix: Of the files in each subfolder that has one, for each id.
    """

    names: tuple[str, ...]
    list_file: str = ""
    suffixes: tuple[str, ...] = ()

    def lacks(self, place: Path) -> str:
        """What is missing, "" if nothing is. Raises OSError, and DataError for a list that cannot be read."""
        if self.list_file and not (place / self.list_file).is_file():
            return f"{self.list_file} is missing"
        there = {}
        for name in self.names:
            folder = place / name
            there[name] = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
            if not there[name]:
                return f"{name} is missing or empty"
        if not self.list_file:
            return ""
        text = read_bounded(place / self.list_file, _MAX_LIST_BYTES).decode("utf-8", "replace")
        for line in text.splitlines():
            for name, suffix in zip(self.names, self.suffixes, strict=True):
                if line.strip() and f"{line.split()[0]}{suffix}" not in there[name]:
                    return f"{line.split()[0]!a} of {self.list_file} is not in {name}"
        return ""


@dataclass(frozen=True)
class Augmented:
    """SBD's label maps in a VOC2012 that is there.

    Attributes:
        archives: SBD's one.
        folder: VOC2012's name below the folder of data sets.
    """

    archives: tuple[Archive, ...]
    folder: str

    @property
    def title(self) -> str:
        """What making it is."""
        return "Converting SBD, label maps"

    def place(self, out: Path) -> Path:
        """The folder of label maps."""
        return out / self.folder / sbd.LABELS

    def is_there(self, out: Path) -> bool:
        """Whether label maps and list are there."""
        return sbd.is_there(out / self.folder)

    def build(self, out: Path, archives: Sequence[Path], progress: Progress) -> list[str]:
        """Convert them."""
        voc = out / self.folder
        plan = sbd.plan(archives[0], voc)
        with _only_once(self.place(out)):
            sbd.convert(archives[0], voc, plan, progress)
        train, aug = plan.num_train, len(plan.aug)
        return [f"{voc / sbd.LIST}: train {train:,} + aug {aug:,} = {train + aug:,} images"]


@dataclass(frozen=True)
class DownloadSet:
    """A set that has a name, in parts that are made one after the other."""

    name: str
    parts: tuple[Part, ...]


def find_set(name: str) -> DownloadSet:
    """The set of this name.

    Raises:
        UsageError: there is none; the nearest name is suggested.
        EngineError: torchvision has its addresses or checksums elsewhere.
    """
    if name not in SETS:
        known = ", ".join(SETS)
        raise UsageError(f"no data set {name!r} to download.{did_you_mean(name, list(SETS))} Known: {known}")
    parts: dict[str, Callable[[], tuple[Part, ...]]] = {
        "voc2007": lambda: (_voc2007(),),
        "voc2012": lambda: (_voc2012(),),
        "voc0712": lambda: (_voc2007(), _voc2012()),
        "voc-seg": lambda: (_voc2012(*_SEGMENTATION), Augmented((_sbd(),), f"{DEVKIT}/VOC2012")),
    }
    found = parts[name]() if name in parts else (_imagenette(name),)
    return DownloadSet(name, found)


@contextmanager
def _only_once(place: Path) -> Iterator[None]:
    """For the making of a folder: of two at once the second gives up."""
    try:
        with atomic.folder_for(place.parent):
            yield
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        raise UsageError(
            f"{place}: another process has made it meanwhile; it is as that one left it"
        ) from None


def _annotated(split: str) -> Need:
    return Need(("JPEGImages", "Annotations"), f"ImageSets/Main/{split}.txt", (".jpg", ".xml"))


_SEGMENTATION = tuple(
    Need(("JPEGImages", "SegmentationClass"), f"ImageSets/Segmentation/{split}.txt", (".jpg", ".png"))
    for split in ("train", "val")
)


def _voc2007() -> Unpacked:
    archives = _voc_archive("2007", "VOC2007"), _voc_archive("2007-test", "VOC2007")
    return Unpacked(archives, f"{DEVKIT}/VOC2007", (_annotated("trainval"), _annotated("test")))


def _voc2012(*needs: Need) -> Unpacked:
    return Unpacked((_voc_archive("2012", "VOC2012"),), f"{DEVKIT}/VOC2012", (_annotated("trainval"), *needs))


def _voc_archive(year: str, folder: str) -> Archive:
    def look_up() -> tuple[Any, ...]:
        from torchvision.datasets.voc import DATASET_YEAR_DICT

        entry = DATASET_YEAR_DICT[year]
        if Path(entry["base_dir"]) != Path(DEVKIT, folder):
            raise KeyError(entry["base_dir"])
        return entry["url"], entry["filename"], entry["md5"]

    return _archive(f"datasets.voc.DATASET_YEAR_DICT[{year!r}]", look_up)


def _sbd() -> Archive:
    def look_up() -> tuple[Any, ...]:
        from torchvision.datasets.sbd import SBDataset

        return SBDataset.url, SBDataset.filename, SBDataset.md5

    return _archive("datasets.sbd.SBDataset.url, filename and md5", look_up)


def _imagenette(name: str) -> Unpacked:
    pixels = name.removeprefix("imagenette").removeprefix("-")
    key = f"{pixels}px" if pixels else "full"

    def look_up() -> tuple[Any, ...]:
        from torchvision.datasets.imagenette import Imagenette

        url, md5 = Imagenette._ARCHIVES[key]
        return url, url.rpartition("/")[2], md5

    archive = _archive(f"datasets.imagenette.Imagenette._ARCHIVES[{key!r}]", look_up)
    return Unpacked((archive,), name.replace("imagenette", "imagenette2"), (Need(("train", "val")),))


def _archive(where: str, look_up: Callable[[], tuple[Any, ...]]) -> Archive:
    """An entry of torchvision's. Raises EngineError if it is not where it is in the versions we know."""
    import torchvision

    try:
        url, file_name, md5 = look_up()
        if not url.startswith(("https://", "http://")) or len(md5) != 32:
            raise ValueError(url)
        return Archive(url, safe_name(file_name, where), Digest("md5", md5))
    except (ImportError, AttributeError, KeyError, TypeError, ValueError, DataError):
        raise EngineError(
            f"torchvision {torchvision.__version__}: {where} is not there, or in another form; expected an "
            "address and an md5, as in 0.26 to 0.29. Install one of these, or download the set yourself."
        ) from None
