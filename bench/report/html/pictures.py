"""Pictures in the page: made small, turned into text, and left out where they would not fit.

A sheet of predictions is a PNG of some megabytes; the page has room for a few, as WebP.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from PIL import Image

from bench.core.safe_image import decode_image

MAX_PICTURES: Final = 16
MAX_SIDE_PX: Final = 1300
"""A sheet of four tiles of 320 px is 1,310 px wide: more shows nothing more."""

_QUALITY: Final = 80
_PNG: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """What a caller wants to be shown: a PNG, what it is, and what a screen reader says in its place."""

    title: str
    png: bytes
    about: str = ""


@dataclass(frozen=True)
class Shown:
    """A picture as it stands in the page; `uri` is the whole picture as text."""

    title: str
    about: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Fitted:
    """What is shown, and the titles of what is not, for want of room."""

    shown: tuple[Shown, ...]
    left_out: tuple[str, ...]


def small(picture: Picture) -> Shown:
    """A picture as WebP of at most `MAX_SIDE_PX` on a side, or as it came where that is smaller.

    Raises:
        DataError: not a picture.
    """
    image = Image.fromarray(decode_image(picture.png, picture.title))
    width, height = image.size
    image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=4)
    data, kind = buffer.getvalue(), "webp"
    if picture.png.startswith(_PNG) and len(picture.png) <= len(data):
        data, kind = picture.png, "png"
    else:
        width, height = image.size
    return Shown(picture.title, picture.about or picture.title, as_uri(data, f"image/{kind}"), width, height)


def as_uri(data: bytes, kind: str) -> str:
    """A file as text that may stand where an address does."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def fit(pictures: Iterable[Shown], max_bytes: int, max_pictures: int = MAX_PICTURES) -> Fitted:
    """The first that fit; one that is too large does not keep a later, smaller one out.

    Args:
        pictures: What is wanted most comes first.
        max_bytes: Of all together, in the page.
        max_pictures: How many at most.
    """
    shown: list[Shown] = []
    left_out: list[str] = []
    for picture in pictures:
        size = len(picture.uri)
        if size > max_bytes or len(shown) == max_pictures:
            left_out.append(picture.title)
            continue
        max_bytes -= size
        shown.append(picture)
    return Fitted(tuple(shown), tuple(left_out))
