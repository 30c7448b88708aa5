"""Contact sheets: many pictures on one page, with their boxes and names, to look at a data set."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw, ImageFont

from bench.core.errors import DataError, UsageError, did_you_mean
from bench.core.paths import inside
from bench.core.safe_image import read_image
from bench.core.safe_xml import parse_xml
from bench.images.source import open_source

TILE_PX = 240
_GAP_PX = 6
_CAPTION_PX = 18
_MANY = 15
"""Of more boxes in a picture, only the first of each name is labelled: the colour tells the others."""
_PAGE = (246, 246, 244)
_INK = (40, 40, 40)
# Paul Tol's bright and vibrant schemes: told apart by most colour-blind readers.
_COLOURS = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
    "#ee7733",
    "#009988",
    "#555555",
    "#332288",
)


@dataclass(frozen=True)
class Box:
    """One box: pixels of the picture, 1-based, both ends included, as in VOC. Faint ones are difficult.

    `mask` is [height, width] of the picture: the pixels of what is in the box, laid over it in its colour.
    `note` stands behind the name.
    """

    name: str
    left: float
    top: float
    right: float
    bottom: float
    faint: bool
    mask: npt.NDArray[np.bool_] | None = None
    note: str = ""


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet: [height, width, 3] uint8, a caption below it, boxes in it."""

    pixels: npt.NDArray[np.uint8]
    caption: str
    boxes: tuple[Box, ...] = ()


def tiles_of(root: Path, *, split: str | None, count: int) -> list[Tile]:
    """Pictures of a data set, evenly spread over it.

    Args:
        root: A folder in VOC layout, an image folder by class (or one that holds train and val), or a
            generated data set, of which the VOC part is shown.
        split: Its split; None for the first of trainval, train, val, test.
        count: How many at most.

    Raises:
        DataError: neither layout, or one of the files is damaged.
        UsageError: no such split.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    for folder in (root, root / "voc"):
        if (folder / "Annotations").is_dir() and (folder / "JPEGImages").is_dir():
            return _voc_tiles(folder, split, count)
    for folder in (root, root / "folder"):
        splits = [name for name in ("train", "val", "test") if (folder / name).is_dir()]
        if splits:
            return _folder_tiles(folder / _choose(split, splits, folder), count)
    if split is not None:
        raise UsageError(f"{root}: has no splits; leave out --split")
    return _folder_tiles(root, count)


def sheet_png(tiles: list[Tile], *, columns: int | None = None, tile_px: int = TILE_PX) -> bytes:
    """The PNG of a sheet; `columns` None makes it a little wider than high.

    Args:
        tiles: Row by row.
        columns: Pictures in a row.
        tile_px: The longer side of a picture.
    """
    columns = columns or max(1, round((len(tiles) * 1.5) ** 0.5))
    rows = -(-len(tiles) // columns)
    step_x, step_y = tile_px + _GAP_PX, tile_px + _CAPTION_PX + _GAP_PX
    page = Image.new("RGB", (columns * step_x + _GAP_PX, rows * step_y + _GAP_PX), _PAGE)
    names = sorted({box.name for tile in tiles for box in tile.boxes})
    colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}
    for index, tile in enumerate(tiles):
        corner = (_GAP_PX + index % columns * step_x, _GAP_PX + index // columns * step_y)
        _draw_tile(page, tile, corner, colours, tile_px)
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()


def _draw_tile(
    page: Image.Image, tile: Tile, corner: tuple[int, int], colours: dict[str, str], tile_px: int
) -> None:
    height, width = tile.pixels.shape[:2]
    scale = tile_px / max(height, width)
    shown = (max(round(width * scale), 1), max(round(height * scale), 1))
    picture = Image.fromarray(_with_masks(tile, colours)).resize(shown, Image.Resampling.BICUBIC)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=11)
    labelled: set[str] = set()
    for box in tile.boxes:
        # From 1-based with both ends inside to the corners of the drawn frame.
        frame = ((box.left - 1) * scale, (box.top - 1) * scale, box.right * scale - 1, box.bottom * scale - 1)
        if frame[2] > frame[0] and frame[3] > frame[1]:
            draw.rectangle(frame, outline=colours[box.name], width=1 if box.faint else 2)
        if len(tile.boxes) > _MANY and box.name in labelled:
            continue
        labelled.add(box.name)
        text = f"{box.name}{'?' if box.faint else ''}{box.note}"
        length = draw.textlength(text, font=font)
        left = max(min(frame[0], shown[0] - length - 4), 0)
        top = frame[1] - 14 if frame[1] >= 14 else min(frame[3], shown[1] - 14)
        draw.rectangle((left, top, left + length + 4, top + 14), fill=colours[box.name])
        draw.text((left + 2, top), text, fill="white", font=font)
    page.paste(picture, (corner[0] + (tile_px - shown[0]) // 2, corner[1] + (tile_px - shown[1]) // 2))
    place = (corner[0] + 2, corner[1] + tile_px + 2)
    ImageDraw.Draw(page).text(place, tile.caption, fill=_INK, font=font)


def _with_masks(tile: Tile, colours: dict[str, str]) -> npt.NDArray[np.uint8]:
    """The picture under half-transparent masks."""
    pixels = tile.pixels
    for box in tile.boxes:
        if box.mask is not None:
            colour = np.array(ImageColor.getrgb(colours[box.name]), np.float32)
            pixels = np.where(box.mask[..., None], pixels * 0.5 + colour * 0.5, pixels).astype(np.uint8)
    return pixels


def _choose(split: str | None, known: list[str], where: Path) -> str:
    if split is None:
        return known[0]
    if split not in known:
        near = did_you_mean(split, known)
        raise UsageError(f"{where}: no split {split!r}.{near} Known: {', '.join(known)}")
    return split


def _spread(total: int, count: int) -> list[int]:
    count = min(total, count)
    return [index * total // count for index in range(count)]


def _folder_tiles(root: Path, count: int) -> list[Tile]:
    images = open_source(root)
    return [Tile(images.read(index), images.name(index)) for index in _spread(len(images), count)]


def _voc_tiles(root: Path, split: str | None, count: int) -> list[Tile]:
    lists = root / "ImageSets" / "Main"
    order = {name: index for index, name in enumerate(("trainval", "train", "val", "test"))}
    # The lists of single classes (`cat_train`) have a second column and are not splits.
    known = sorted({path.stem for path in lists.glob("*.txt")} & set(order), key=order.__getitem__)
    if not known:
        raise DataError(f"{lists}: no list of images; expected one of {', '.join(order)}")
    path = lists / f"{_choose(split, known, root)}.txt"
    try:
        names = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if not names:
        raise DataError(f"{path}: lists no image")
    tiles = []
    for index in _spread(len(names), count):
        pixels = read_image(inside(root, f"JPEGImages/{names[index]}.jpg"))
        boxes = _voc_boxes(inside(root, f"Annotations/{names[index]}.xml"))
        tiles.append(Tile(pixels, names[index], boxes))
    return tiles


def _voc_boxes(path: Path) -> tuple[Box, ...]:
    try:
        root = parse_xml(path.read_bytes(), str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    boxes = []
    for number, item in enumerate(root.findall("object"), start=1):
        try:
            left, top, right, bottom = (
                float(item.findtext(f"bndbox/{key}", "")) for key in ("xmin", "ymin", "xmax", "ymax")
            )
        except ValueError:
            raise DataError(f"{path}, object {number}: no box of four numbers") from None
        name, difficult = item.findtext("name", "?").strip(), item.findtext("difficult", "0").strip()
        boxes.append(Box(name, left, top, right, bottom, difficult == "1"))
    return tuple(boxes)
