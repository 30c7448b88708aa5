"""A small set in VOC layout, made by the generator, and a way to spoil a copy of it."""

import re
import shutil
from pathlib import Path

from bench.synth.generate import Counts, generate


def make_voc(root: Path, *, train: int = 6, test: int = 3, size_px: int = 96) -> Path:
    """`train` and `test` images with the ten embedded classes; returns the VOC folder."""
    generate(root, size_px=size_px, counts=Counts(train, test, 0, 0))
    return root / "voc"


def copy_of(voc: Path, target: Path) -> Path:
    shutil.copytree(voc, target)
    return target


def make_devkit(voc: Path, root: Path) -> Path:
    """A VOCdevkit whose VOC2007 and VOC2012 are copies of a set, with every object renamed to a dog."""
    for year in ("VOC2007", "VOC2012"):
        folder = copy_of(voc, root / "VOCdevkit" / year)
        (folder / "classes.txt").unlink()
        for path in (folder / "Annotations").glob("*.xml"):
            path.write_text(re.sub("<name>[a-z]+</name>", "<name>dog</name>", path.read_text()))
    return root / "VOCdevkit"


def first_id(voc: Path, split: str) -> str:
    return (voc / "ImageSets" / "Main" / f"{split}.txt").read_text().split()[0]


def annotation(voc: Path, split: str) -> Path:
    return voc / "Annotations" / f"{first_id(voc, split)}.xml"


def edit(path: Path, old: str, new: str) -> None:
    """Replace the first `old`; it must be there, or the spoiled copy would be a good one."""
    text = path.read_text()
    assert old in text, (path, old)
    path.write_text(text.replace(old, new, 1))
