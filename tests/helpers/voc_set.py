"""A small set in VOC layout, made by the generator, and a way to spoil a copy of it."""

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


def first_id(voc: Path, split: str) -> str:
    return (voc / "ImageSets" / "Main" / f"{split}.txt").read_text().split()[0]


def annotation(voc: Path, split: str) -> Path:
    return voc / "Annotations" / f"{first_id(voc, split)}.xml"


def edit(path: Path, old: str, new: str) -> None:
    """Replace the first `old`; it must be there, or the spoiled copy would be a good one."""
    text = path.read_text()
    assert old in text, (path, old)
    path.write_text(text.replace(old, new, 1))
