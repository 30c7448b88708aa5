"""The one reader of image files: whole and right, or refused with the file's name.

What is accepted is told by the content, not by the name: JPEG, PNG, BMP, WebP, PPM. Grayscale, palette, CMYK
and 1-bit pictures are converted to RGB, EXIF orientation is applied as Detectron2 does. Refused are truncated
files, more than 89 million pixels, 16 bits a channel (converting would clip or cut them), several frames, and
real transparency: what lies under a see-through pixel is arbitrary, and engines differ in showing it. An
alpha channel that is opaque everywhere is dropped.

Pillow opens every file and decides; a sound JPEG is then decoded by libjpeg-turbo itself, to the same pixels
in less time.
"""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from bench.core.errors import DataError
from bench.core.paths import read_bounded

MAX_BYTES = 256 * 1024**2
MAX_PIXELS = 89_478_485
"""Pillow's own limit for a decompression bomb: 256 MiB of 24-bit pixels."""

_PPM = re.compile(rb"P6\n([0-9]{1,8}) ([0-9]{1,8})\n255\n")
"""As `bench.images.write_pack` writes it, and Pillow."""

FORMATS = ("JPEG", "PNG", "BMP", "WEBP")

_MODES = frozenset({"1", "L", "P", "RGB", "CMYK", "YCbCr", "LA", "PA", "RGBA"})

# The same table as Detectron2's `_apply_exif_orientation`.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# For every thread and for good: a filter set for the length of a call would not be safe among threads.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# A broken EXIF block is handled below; the warning names no file and would only alarm.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """The picture in a file: [height, width, 3] uint8, RGB.

    Raises:
        DataError: unreadable, or refused for one of the reasons above; the message names the file.
    """
    data = read_bounded(path, MAX_BYTES)
    return decode_image(data, str(path))


def decode_image(data: bytes, where: str) -> npt.NDArray[np.uint8]:
    """The picture in the bytes of a file; `where` names the file in messages. As `read_image`."""
    if data[:2] == b"P6":
        return _read_ppm(data, where)
    image = _open(data, where)
    pixels = _decode_jpeg(data, image)
    if pixels is None:
        pixels = _decode_with_pillow(image, where)
    turn = _TURNS.get(_orientation(image))
    return pixels if turn is None else np.array(Image.fromarray(pixels).transpose(turn))


def exif_orientation(data: bytes, where: str) -> int:
    """By which of the eight orientations of EXIF `decode_image` turns what is stored; 1 is not at all.

    Raises:
        DataError: not an image that `decode_image` opens.
    """
    if data[:2] == b"P6":
        return 1
    value = _orientation(_open(data, where))
    return value if value in _TURNS else 1


def _read_ppm(data: bytes, where: str) -> npt.NDArray[np.uint8]:
    """Pixels as they lie in a binary PPM of 8 bits without comments; the array may not be written to."""
    found = _PPM.match(data)
    if found is None:
        raise DataError(f"{where}: a PPM of another form; expected P6, width, height, 255, then the pixels")
    width, height = int(found[1]), int(found[2])
    if not 0 < width * height <= MAX_PIXELS or len(data) != found.end() + 3 * width * height:
        raise DataError(f"{where}: damaged or truncated: {len(data):,} bytes for {width} x {height} px")
    return np.frombuffer(data, np.uint8, offset=found.end()).reshape(height, width, 3)


def _decode_jpeg(data: bytes, image: Image.Image) -> npt.NDArray[np.uint8] | None:
    """A whole JPEG in colour or gray; None for anything else, which Pillow has to judge."""
    if image.format != "JPEG" or image.mode not in ("RGB", "L"):
        return None
    try:
        # Strict: what libjpeg warns of, a file that ends early for one, raises.
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError:
        return None
    return pixels if pixels.shape[:2] == (image.height, image.width) else None


def _decode_with_pillow(image: Image.Image, where: str) -> npt.NDArray[np.uint8]:
    # Another library may have switched this on for the whole process; grey half-images would come of it.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        image.load()
    except Exception as error:
        # Pillow's decoders raise what they like on damaged files: OSError, SyntaxError, ValueError, ...
        raise DataError(f"{where}: damaged or truncated: {error}") from None
    if _has_alpha(image):
        lowest = image.convert("RGBA").getchannel("A").getextrema()[0]
        if lowest != 255:
            raise DataError(f"{where}: has transparent pixels; expected an opaque image, flatten it first")
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _open(data: bytes, where: str) -> Image.Image:
    if not data:
        raise DataError(f"{where}: is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(
            f"{where}: more than {MAX_PIXELS:,} pixels; refused as a decompression bomb"
        ) from None
    except UnidentifiedImageError:
        raise DataError(f"{where}: not an image of a kind we read ({', '.join(FORMATS)})") from None
    except Exception as error:
        raise DataError(f"{where}: damaged header: {error}") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(f"{where}: {width} x {height} px; refused as a decompression bomb")
    if width < 1 or height < 1:
        raise DataError(f"{where}: {width} x {height} px: no pixels")
    # A JPEG of a phone may carry a second picture (MPO); every reader shows the first.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise DataError(f"{where}: animated, {getattr(image, 'n_frames', 0)} frames; expected one picture")
    # Pillow cuts 16-bit colour to 8 bits without a word; the depth is at a fixed place of a PNG's header.
    if image.mode not in _MODES or (image.format == "PNG" and data[24:25] == b"\x10"):
        deep = image.mode.startswith(("I", "F")) or image.format == "PNG"
        kind = "16 bits or more a channel" if deep else f"mode {image.mode}"
        raise DataError(f"{where}: {kind}; expected 8 bits a channel, grayscale or colour")
    return image


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        # A broken EXIF block says nothing of the pixels; Detectron2 reads such a file as it lies, too.
        return 1
    return value if isinstance(value, int) else 1
