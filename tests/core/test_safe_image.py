"""Images: what is accepted has the right pixels, what is refused is named."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from bench.core.errors import DataError
from bench.core.safe_image import decode_image, read_image


def _picture(height: int = 24, width: int = 32) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    stack = [rows * 9 % 256, columns * 7 % 256, (rows + columns) * 4 % 256]
    return np.stack(stack, axis=2).astype(np.uint8)


def _file(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _rgb() -> Image.Image:
    return Image.fromarray(_picture())


def _png_header(width: int, height: int, depth: int, colour: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    scan = zlib.compress(bytes((1 + width * 3 * depth // 8) * min(height, 64)))
    chunks = [body, b"IDAT" + scan, b"IEND"]
    packed = [
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _gif() -> bytes:
    return _file(_rgb(), "GIF")


def _animated(kind: str) -> bytes:
    other = Image.fromarray(255 - _picture())
    return _file(_rgb(), kind, save_all=True, append_images=[other])


def _seen_through() -> Image.Image:
    image = _rgb().convert("RGBA")
    image.putpixel((3, 4), (1, 2, 3, 200))
    return image


def _see_through_palette() -> bytes:
    return _file(_rgb().quantize(16), "PNG", transparency=0)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "is empty"),
    "text": (lambda: b"<html>404 Not Found</html>", "not an image"),
    "zero bytes": (lambda: bytes(5000), "not an image"),
    "pdf": (lambda: b"%PDF-1.4\n" + bytes(300), "not an image"),
    "gif": (_gif, "not an image"),
    "tiff": (lambda: _file(_rgb(), "TIFF"), "not an image"),
    "postscript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "half a JPEG": (lambda: (data := _file(_rgb(), "JPEG"))[: len(data) // 2], "damaged"),
    "half a PNG": (lambda: (data := _file(_rgb(), "PNG"))[: len(data) // 2], "damaged|truncated"),
    "half a BMP": (lambda: (data := _file(_rgb(), "BMP"))[: len(data) // 2], "damaged"),
    "half a WebP": (lambda: (data := _file(_rgb(), "WEBP"))[: len(data) // 2], "damaged|not an image"),
    "bomb": (lambda: _png_header(50_000, 50_000, 8, 2), "bomb"),
    "small bomb": (lambda: _png_header(10_000, 10_000, 8, 2), "bomb"),
    "16-bit gray": (
        lambda: _file(Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)), "PNG"),
        "16 bits",
    ),
    "16-bit colour": (lambda: _png_header(8, 8, 16, 2), "16 bits"),
    "alpha": (lambda: _file(_seen_through(), "PNG"), "transparent"),
    "alpha in WebP": (lambda: _file(_seen_through(), "WEBP", lossless=True), "transparent"),
    "palette with transparency": (_see_through_palette, "transparent"),
    "animated PNG": (lambda: _animated("PNG"), "animated"),
    "animated WebP": (lambda: _animated("WEBP"), "animated"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_with_name_and_reason(kind: str, tmp_path: Path) -> None:
    make, reason = REFUSED[kind]
    path = tmp_path / "000005.jpg"
    path.write_bytes(make())
    with pytest.raises(DataError, match=reason) as caught:
        read_image(path)
    assert str(caught.value).startswith(str(path))


ACCEPTED: dict[str, tuple[Callable[[], bytes], int]] = {
    "JPEG": (lambda: _file(_rgb(), "JPEG", quality=95, subsampling=0), 6),
    "progressive JPEG": (lambda: _file(_rgb(), "JPEG", quality=95, subsampling=0, progressive=True), 6),
    "CMYK JPEG": (lambda: _file(_rgb().convert("CMYK"), "JPEG", quality=95), 6),
    "phone JPEG with a second picture": (lambda: _animated("MPO"), 60),
    "PNG": (lambda: _file(_rgb(), "PNG"), 0),
    "interlaced palette PNG": (lambda: _file(_rgb().quantize(256), "PNG"), 40),
    "PNG with opaque alpha": (lambda: _file(_rgb().convert("RGBA"), "PNG"), 0),
    "BMP": (lambda: _file(_rgb(), "BMP"), 0),
    "WebP": (lambda: _file(_rgb(), "WEBP", lossless=True), 0),
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_accepted_whatever_the_name_says(kind: str, tmp_path: Path) -> None:
    make, tolerance = ACCEPTED[kind]
    path = tmp_path / "n02105855_2933.JPEG"
    path.write_bytes(make())
    pixels = read_image(path)
    assert pixels.shape == (24, 32, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert np.abs(pixels.astype(int) - _picture()).max() <= tolerance


@pytest.mark.parametrize("mode", ["L", "1"])
def test_gray_becomes_three_equal_channels(mode: str) -> None:
    image = _rgb().convert(mode)
    pixels = decode_image(_file(image, "PNG"), "gray.png")
    assert np.array_equal(pixels, np.repeat(np.array(image.convert("L"))[..., None], 3, axis=2))


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation_is_applied(turn: int) -> None:
    stored = _picture()
    exif = Image.Exif()
    exif[0x0112] = turn
    data = _file(Image.fromarray(stored), "PNG", exif=exif)
    # The standard by its words: which side of the stored array is the top, and which the left, of the shown.
    wanted = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: stored[::-1].transpose(1, 0, 2),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: stored[:, ::-1].transpose(1, 0, 2),
    }[turn]
    pixels = decode_image(data, "turned.png")
    assert np.array_equal(pixels, wanted)


def test_broken_exif_is_ignored() -> None:
    data = _file(_rgb(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff" + bytes(20))
    assert decode_image(data, "x.jpg").shape == (24, 32, 3)


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {})])
def test_cut_anywhere_it_is_refused_or_whole(kind: str, options: dict[str, bool]) -> None:
    data = _file(_rgb(), kind, **options)
    whole = decode_image(data, "whole")
    accepted = 0
    for end in range(len(data)):
        try:
            pixels = decode_image(data[:end], "cut")
        except DataError:
            continue
        accepted += 1
        assert np.array_equal(pixels, whole), end
    # At most the last marks of the file may be missing, after the last pixel.
    assert accepted <= 20


def test_another_library_may_have_allowed_truncated_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = _file(_rgb(), "JPEG", quality=100)
    with pytest.raises(DataError, match="damaged or truncated"):
        decode_image(data[: len(data) * 9 // 10], "cut.jpg")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jpg", tmp_path):
        with pytest.raises(DataError, match="cannot be read") as caught:
            read_image(path)
        assert str(path) in str(caught.value)


def test_one_pixel() -> None:
    assert decode_image(_file(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG"), "x").tolist() == [[[9, 8, 7]]]


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("quality", [30, 92])
def test_a_jpeg_has_the_pixels_that_pillow_finds(
    mode: str, subsampling: str, progressive: bool, quality: int
) -> None:
    for height, width in ((24, 32), (17, 33), (1, 9), (8, 1), (131, 97)):
        noise = np.random.default_rng(height).integers(0, 60, (height, width, 3))
        image = Image.fromarray((_picture(height, width) * 0.7 + noise).astype(np.uint8)).convert(mode)
        options = {"subsampling": subsampling, "progressive": progressive, "quality": quality}
        data = _file(image, "JPEG", **options)
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert np.array_equal(decode_image(data, "x.jpg"), expected)


def test_a_jpeg_that_pillow_forgives_is_read_as_pillow_reads_it() -> None:
    data = _file(_rgb(), "JPEG")
    odd = data[:-2] + b"\x00\x11\x22" + data[-2:]  # bytes too many before the end
    assert np.array_equal(decode_image(odd, "x.jpg"), np.asarray(Image.open(io.BytesIO(odd)).convert("RGB")))
    for cut in (len(data) - 4, len(data) - 40):
        with pytest.raises(DataError, match="damaged or truncated"):
            decode_image(data[:cut], "x.jpg")
