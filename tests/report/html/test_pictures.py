"""Pictures made small, turned into text, and left out by name where there is no room."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from bench.core.errors import DataError
from bench.report.html.pictures import MAX_SIDE_PX, Picture, Shown, fit, small


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def photo(width: int, height: int) -> bytes:
    """Noise stands for a photograph: PNG cannot pack it."""
    return png(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def opened(shown: Shown) -> Image.Image:
    kind, _, data = shown.uri.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert kind == f"data:image/{str(image.format).lower()}"
    return image


def test_a_large_picture_is_made_small() -> None:
    data = photo(1500, 600)
    shown = small(Picture("sheet", data, "what is there"))
    assert opened(shown).size == (shown.width, shown.height) == (MAX_SIDE_PX, 520)
    assert len(shown.uri) < len(data) and shown.about == "what is there"


def test_a_drawing_that_png_packs_better_stays_as_it_is() -> None:
    board = np.indices((90, 120)).sum(axis=0) % 2
    data = png((255 * board[..., None] * [1, 0, 0]).astype(np.uint8))
    shown = small(Picture("flat", data))
    assert base64.b64decode(shown.uri.partition(",")[2]) == data
    assert (shown.width, shown.height, shown.about) == (120, 90, "flat")


def test_what_is_no_picture_is_refused_by_its_title() -> None:
    with pytest.raises(DataError, match="broken sheet"):
        small(Picture("broken sheet", b"\x89PNG\r\n\x1a\nrest"))


def shown(title: str, size: int) -> Shown:
    return Shown(title, title, "x" * size, 1, 1)


def test_as_many_as_there_is_room_for() -> None:
    fitted = fit([shown("a", 40), shown("b", 70), shown("c", 60), shown("d", 1)], max_bytes=100)
    assert [one.title for one in fitted.shown] == ["a", "c"] and fitted.left_out == ("b", "d")


def test_no_more_than_asked_for() -> None:
    fitted = fit([shown(name, 1) for name in "abc"], max_bytes=100, max_pictures=2)
    assert [one.title for one in fitted.shown] == ["a", "b"] and fitted.left_out == ("c",)
