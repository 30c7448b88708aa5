"""Finds any folder of images and label maps, by folders of one name and a `classes.txt`."""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import DataError
from transfer.data.label_names import IGNORE, read_names, read_palette
from transfer.data.label_splits import FoundSet, LabelLayout, SplitFolders, is_file, is_folder, pair_up
from transfer.data.segmentation import IGNORED

_SPLITS = (("train", "val"), ("train", "test"), ("training", "validation"))


def find_folder(root: Path) -> FoundSet | None:
    """`images/SPLIT` with `labels/SPLIT` (or `annotations/SPLIT`), `classes.txt`, perhaps `palette.txt`.

    Raises:
        DataError: one of the text files is missing or wrong.
    """
    pairs = [pair for pair in _SPLITS if all(is_folder(root / "images" / name) for name in pair)]
    if not pairs:
        return None
    name = root.resolve().name
    places = [root / place for place in ("labels", "annotations") if is_folder(root / place)]
    maps = places[0] if places else root / "labels"
    path = root / "classes.txt"
    if not is_file(path):
        raise DataError(f"{path}: missing; expected the names of the classes, one a line, by label value")
    classes = read_names(path)
    zero_is_ignored = classes[0] == IGNORE
    classes = classes[1:] if zero_is_ignored else classes
    wrong = [] if len(classes) > 1 else [f"{path}: one class; expected two or more"]
    if IGNORE in classes:
        wrong.append(
            f"{path}: {IGNORE!r} below line 1; expected it there, for label 0, or not: {IGNORED} always is"
        )
    if wrong:
        raise DataError.of(wrong)
    splits, problems = [], []
    for split in pairs[0]:
        folders = SplitFolders(f"{name}/{split}", root / "images" / split, maps / split)
        found, wrong = pair_up(folders, LAYOUT.image_suffixes, LAYOUT.label_suffix)
        splits.append(found)
        problems += wrong
    palette = root / "palette.txt"
    has_palette = is_file(palette)
    return FoundSet(
        layout="folder",
        name=name,
        classes=classes,
        zero_is_ignored=zero_is_ignored,
        train=splits[0],
        test=splits[1],
        problems=tuple(problems),
        colours=read_palette(palette, classes, zero_is_ignored=zero_is_ignored) if has_palette else None,
    )


LAYOUT = LabelLayout(
    name="folder",
    classes=(),
    train="",
    test="",
    zero_is_ignored=False,
    image_suffixes=(".jpg", ".jpeg", ".png", ".bmp", ".webp"),
    label_suffix=".png",
    find=find_folder,
    expected="one folder with classes.txt, images/SPLIT and labels/SPLIT (train with val or test)",
)
