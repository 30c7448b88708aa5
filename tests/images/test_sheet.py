"""Contact sheets: boxes are drawn where the file says, damage is named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.core.errors import DataError
from bench.images.sheet import TILE_PX, Box, Tile, sheet_png, tiles_of


def _pixels(tiles: list[Tile], columns: int = 1) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(sheet_png(tiles, columns=columns))))


def test_a_box_is_drawn_on_its_pixels() -> None:
    black = np.zeros((TILE_PX, TILE_PX, 3), dtype=np.uint8)
    page = _pixels([Tile(black, "one", (Box("disc", 101, 61, 200, 160, False),))])
    tile = page[6 : 6 + TILE_PX, 6 : 6 + TILE_PX]
    coloured = tile.any(axis=2)
    assert coloured[60:160, 100].all()
    assert coloured[60:160, 199].all()
    assert coloured[159, 100:200].all()
    assert not coloured[70:150, 110:190].any()
    assert not coloured[161:].any()
    assert not coloured[:, 201:].any()


def test_a_mask_lies_over_its_pixels_alone() -> None:
    grey = np.full((TILE_PX, TILE_PX, 3), 100, dtype=np.uint8)
    mask = np.zeros((TILE_PX, TILE_PX), dtype=bool)
    mask[120:140, 120:180] = True
    page = _pixels([Tile(grey, "one", (Box("disc", 101, 101, 200, 200, False, mask, " 0.87"),))])
    tile = page[6 : 6 + TILE_PX, 6 : 6 + TILE_PX].astype(int)
    changed = (tile != 100).any(axis=2)
    assert changed[121:139, 121:179].all()
    assert not changed[150:195, 105:195].any()
    assert not changed[205:].any()


def test_wide_high_and_tiny_pictures_and_odd_boxes_fit() -> None:
    boxes = (
        Box("a", 1, 1, 1, 1, True),
        Box("b", -50, -50, 900, 900, False),
        Box("c" * 60, 2, 2, 3, 3, False),
    )
    shapes = ((1, 1), (3, 400), (400, 3))
    tiles = [Tile(np.zeros((*shape, 3), dtype=np.uint8), "x", boxes) for shape in shapes]
    assert _pixels(tiles, columns=2).shape[2] == 3


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / name).mkdir(parents=True)
    Image.new("RGB", (40, 30)).save(tmp_path / "JPEGImages" / "1.jpg")
    box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>20.5</xmax><ymax>25</ymax></bndbox>"
    xml = f"<annotation><object><name>cat</name><difficult>1</difficult>{box}</object></annotation>"
    (tmp_path / "Annotations" / "1.xml").write_text(xml)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("1\n")
    return tmp_path


def test_boxes_come_from_the_xml(voc: Path) -> None:
    (tile,) = tiles_of(voc, split=None, count=9)
    assert tile.boxes == (Box("cat", 2, 3, 20.5, 25, True),)
    assert tile.caption == "1"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ImageSets/Main/train.txt", "../../etc/passwd\n"),
        ("ImageSets/Main/train.txt", ""),
        ("ImageSets/Main/train.txt", "2\n"),
        ("Annotations/1.xml", "<annotation><object></annotation>"),
        ("Annotations/1.xml", "<annotation><object><bndbox><xmin>a</xmin></bndbox></object></annotation>"),
        ("JPEGImages/1.jpg", "no image"),
    ],
)
def test_damage_is_named(voc: Path, name: str, content: str) -> None:
    (voc / name).write_text(content)
    with pytest.raises(DataError, match=str(voc)):
        tiles_of(voc, split=None, count=9)
