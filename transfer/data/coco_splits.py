"""The two files of a set in COCO layout, and where the images of each lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import DataError

PREFIX = "instances_"
EXPORTED = "_annotations.coco.json"
"""The name under which a common annotation service exports a split, images beside it."""
_OWN = (("trainval", "test"), ("train", "test"), ("train", "val"), ("train", "valid"))


@dataclass(frozen=True)
class CocoSplit:
    """One JSON file; `folders` are where its images may lie, the first that exists is taken."""

    label: str
    file: Path
    folders: tuple[Path, ...]

    @property
    def images(self) -> Path:
        """The folder of its images.

        Raises:
            DataError: none of the places is there, or may not be looked into.
        """
        try:
            for folder in self.folders:
                if folder.is_dir():
                    return folder
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None
        places = " or ".join(str(folder) for folder in self.folders)
        raise DataError(f"{self.file}: its images are not there; expected them in {places}")


def find_splits(root: Path, train: tuple[str, ...], test: str) -> tuple[CocoSplit, CocoSplit]:
    """The splits to train and to test on.

    Args:
        root: A folder with `annotations/instances_<split>.json` and the images in `<split>/`,
            `images/<split>/` or `images/`; or with a folder a split, the JSON beside the images.
        train: Published names, `train2017`; taken if one of the two published files is there.
        test: The same, `val2017`.

    Raises:
        DataError: no such files, or may not be read.
    """
    try:
        if not root.is_dir():
            raise DataError(f"{root}: no such folder; expected a set in COCO layout")
        folder = root / "annotations"
        files = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        exported = {path.parent.name for path in root.glob(f"*/{EXPORTED}")}
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None
    names = {name[len(PREFIX) : -len(".json")] for name in files if _is_instances(name)}
    (train_name,) = train
    if {train_name, test} & names:
        if missing := [name for name in (train_name, test) if name not in names]:
            raise DataError(f"{_file(root, missing[0])}: missing; expected it beside that of the other split")
        return _split(root, train_name), _split(root, test)
    for pair in _OWN:
        if set(pair) <= names:
            return _split(root, pair[0]), _split(root, pair[1])
    for pair in _OWN:
        if set(pair) <= exported:
            first, second = (CocoSplit(name, root / name / EXPORTED, (root / name,)) for name in pair)
            return first, second
    found = ", ".join(sorted(names | exported)) or "none"
    raise DataError(
        f"{root}: no set in COCO layout; expected annotations/{PREFIX}train.json and {PREFIX}val.json "
        f"(or {train_name} and {test}, or train and test); splits found: {found}"
    )


def _is_instances(name: str) -> bool:
    return name.startswith(PREFIX) and name.endswith(".json")


def _file(root: Path, name: str) -> Path:
    return root / "annotations" / f"{PREFIX}{name}.json"


def _split(root: Path, name: str) -> CocoSplit:
    return CocoSplit(name, _file(root, name), (root / "images" / name, root / name, root / "images"))
