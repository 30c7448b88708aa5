"""Label maps: what is accepted has the stored values, what is refused is named."""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFile

from bench.core.errors import DataError
from bench.core.palette import voc_palette
from tests.helpers.label_sets import gray_png, join_chunks, labels, palette_png, png
from transfer.data.label_map import colour_of, count_labels, read_label_map

WHERE = "SegmentationClass/000005.png"
EVERY = np.arange(256, dtype=np.uint8).reshape(8, 32)


@pytest.mark.parametrize("make", [gray_png, palette_png])
def test_every_value_is_read_as_it_is_stored(make: Callable[[np.ndarray], bytes]) -> None:
    found = read_label_map(make(EVERY), WHERE)
    assert found.labels.dtype == np.uint8
    assert np.array_equal(found.labels, EVERY)
    assert (found.palette is None) == (make is gray_png)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("width", [1, 7, 8, 33])
def test_palettes_of_few_bits_give_indices(depth: int, width: int) -> None:
    pixels = labels(range(2**depth), 5, width)
    found = read_label_map(png(pixels, depth=depth, colours=2**depth), WHERE)
    assert np.array_equal(found.labels, pixels)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 5), (13, 11), (16, 16)])
def test_interlaced_ones_give_indices(size: tuple[int, int]) -> None:
    # Adam7, by hand: seven passes, each with its own first column, row and steps.
    pixels, rows = labels(range(21), *size), b""
    for y, x, dy, dx in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        rows += b"".join(b"\0" + row.tobytes() for row in pixels[y::dy, x::dx] if row.size)
    plain = png(pixels)
    header = plain[16:28] + b"\1"
    palette = bytes(part for rgb in voc_palette() for part in rgb)
    chunks = [(b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    assert np.array_equal(read_label_map(join_chunks(chunks), WHERE).labels, pixels)


@pytest.mark.parametrize("height", [1023, 1024, 1025, 2048])
@pytest.mark.parametrize("value", [0, 3])
def test_large_ones_are_unpacked_in_blocks(height: int, value: int) -> None:
    """A row has 1 KiB; what packs best gives many bytes for the last bits of the file."""
    pixels = np.full((height, 1023), value, np.uint8)
    data = palette_png(pixels, compress_level=9)
    assert np.array_equal(read_label_map(data, WHERE).labels, pixels)
    assert np.array_equal(read_label_map(png(pixels), WHERE).labels, pixels)


def test_the_palette_is_that_of_the_file() -> None:
    found = read_label_map(png(labels([0, 1, 255]), colours=3), WHERE)
    assert found.palette is not None
    assert [colour_of(found.palette, index) for index in range(4)] == [*voc_palette()[:3], None]


def test_values_are_counted_by_pixels() -> None:
    counts = count_labels(np.concatenate([EVERY, EVERY[:1]]))
    assert counts.tolist() == [2] * 32 + [1] * 224
    assert count_labels(np.full((1500, 1000), 255, np.uint8))[255] == 1_500_000


def test_whatever_bit_is_flipped_or_byte_is_cut_is_refused() -> None:
    """Pillow alone reads a map without its last chunk, and does not look at the checksum of pixels."""
    data = palette_png(labels(range(21)))
    for position in range(8, len(data)):
        for spoiled in (
            data[:position],
            data[:position] + bytes([data[position] ^ 16]) + data[position + 1 :],
        ):
            with pytest.raises(DataError) as error:
                read_label_map(spoiled, WHERE)
            assert str(error.value).startswith(f"{WHERE}: ")


def test_a_stranger_cannot_switch_truncated_files_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(DataError, match="damaged"):
        read_label_map(png(labels([0, 1]), size=(32, 48)), WHERE)
    assert not np.any(read_label_map(gray_png(labels([0])), WHERE).labels)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_large_header_takes_no_memory_and_many_chunks_no_time() -> None:
    start = time.process_time()
    with pytest.raises(DataError, match="bomb"):
        read_label_map(png(labels([0]), size=(60_000, 60_000)), WHERE)
    with pytest.raises(DataError, match="chunks"):
        read_label_map(png(labels([0]), extra=[(b"tEXt", b"")] * 150_000), WHERE)
    assert time.process_time() - start < 2


def test_pixels_are_those_that_the_engine_reads() -> None:
    # MMSegmentation: mmcv's imfrombytes(flag="unchanged", backend="pillow").
    for data in (gray_png(EVERY), palette_png(EVERY), png(labels(range(16)), depth=4, colours=16)):
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(read_label_map(data, WHERE).labels, np.array(image))
