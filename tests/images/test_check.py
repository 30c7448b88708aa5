"""Every kind of image through every kind of source; all decoded once, and each bad one named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.core.errors import DataError
from bench.images import check as check_module
from bench.images.check import check_images
from bench.images.source import ImageSource, open_source
from tests.core.test_safe_image import ACCEPTED, REFUSED, _file, _picture
from tests.images.test_source import HOLDERS, png, problems_of, tar, write


@pytest.mark.parametrize("holder", HOLDERS)
def test_every_kind_of_image_that_is_accepted(tmp_path: Path, holder: str) -> None:
    for number, (kind, (make, tolerance)) in enumerate(ACCEPTED.items()):
        source = open_source(HOLDERS[holder](tmp_path / str(number), make()))
        assert len(source) == 1
        difference = np.abs(source.read(0).astype(int) - _picture())
        assert difference.max() <= tolerance, kind


@pytest.mark.parametrize("holder", HOLDERS)
def test_every_kind_of_image_that_is_refused_is_named(tmp_path: Path, holder: str) -> None:
    for number, (kind, (make, reason)) in enumerate(REFUSED.items()):
        path = HOLDERS[holder](tmp_path / str(number), make())
        with pytest.raises(DataError, match=reason) as caught:
            open_source(path).read(0)
        assert "x.jpg: " in str(caught.value), kind
        assert str(tmp_path / str(number)) in str(caught.value), kind


@pytest.mark.parametrize("holder", HOLDERS)
def test_grey_turned_and_tiny_images(tmp_path: Path, holder: str) -> None:
    grey = Image.fromarray(_picture()).convert("L")
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the stored picture is on the right of the shown one
    wanted = {
        "grey": (_file(grey, "PNG"), np.repeat(np.array(grey)[..., None], 3, axis=2)),
        "turned": (
            _file(Image.fromarray(_picture()), "PNG", exif=exif),
            _picture()[::-1].transpose(1, 0, 2),
        ),
        "one pixel": (_file(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG"), np.array([[[9, 8, 7]]])),
    }
    for name, (data, pixels) in wanted.items():
        assert np.array_equal(open_source(HOLDERS[holder](tmp_path / name, data)).read(0), pixels), name


def test_empty_files_are_found_before_anything_is_read(tmp_path: Path) -> None:
    for name, holder in HOLDERS.items():
        (problem,) = problems_of(holder(tmp_path / name, b""))
        assert "x.jpg: is empty" in problem


def test_an_image_that_changed_after_it_was_listed(tmp_path: Path) -> None:
    source = open_source(write(tmp_path, {"set/x.png": png()}) / "set")
    (tmp_path / "set" / "x.png").write_bytes(png() + b"more")
    with pytest.raises(DataError, match=r"x\.png: .* has changed"):
        source.read(0)
    (tmp_path / "set" / "x.png").unlink()
    with pytest.raises(DataError, match=r"x\.png: cannot be read"):
        source.read(0)


def test_a_shard_that_changed_after_it_was_listed(tmp_path: Path) -> None:
    source = open_source(tar(tmp_path / "x.tar", [("x.png", png(1))]))
    tar(tmp_path / "x.tar", [("a.png", png(2)), ("x.png", png(1))])
    with pytest.raises(DataError, match=r"x\.tar: has changed"):
        source.read(0)
    (tmp_path / "x.tar").unlink()
    with pytest.raises(DataError, match=r"x\.tar: x\.png: cannot be read"):
        source.read(0)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    kinds = {
        **{kind: make for kind, (make, _) in ACCEPTED.items()},
        **{kind: make for kind, (make, _) in REFUSED.items()},
    }
    return {
        f"{'bad' if kind in REFUSED else 'good'}/{kind}.jpg": data
        for kind, make in kinds.items()
        if (data := make())
    }


@pytest.mark.parametrize("num_workers", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("packed", [False, True])
def test_each_bad_image_once_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], num_workers: int, packed: bool
) -> None:
    monkeypatch.setattr(check_module, "_CHUNK", 5 if num_workers < 2 else 64)
    if num_workers == 2:
        # More than one task for each process, in which the chunk is as it is in the file.
        files = files | {f"good/more {index}.jpg": files["good/PNG.jpg"] for index in range(150)}
    root = tmp_path / "set"
    source = open_source(tar(root / "x.tar", [*files.items()]) if packed else write(root, files))
    problems = check_images(source, num_workers=num_workers)
    bad = sorted(name for name in files if name.startswith("bad/"))
    assert len(problems) == len(bad) == len(REFUSED) - 1  # the empty one is found when it is listed
    for name, problem in zip(bad, problems, strict=True):
        assert problem.startswith(f"{root / 'x.tar'}: {name}: " if packed else f"{root / name}: ")


def test_every_image_is_read_once(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(write(tmp_path, {f"{index:03}.jpg": files["good/PNG.jpg"] for index in range(130)}))
    seen: list[int] = []
    real = ImageSource.read
    monkeypatch.setattr(ImageSource, "read", lambda self, index: (seen.append(index), real(self, index))[1])
    assert check_images(source, num_workers=1) == []
    assert seen == list(range(130))


def test_a_fault_of_ours_is_not_a_bad_image(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(write(tmp_path, {"x.jpg": files["good/PNG.jpg"]}))
    monkeypatch.setattr(ImageSource, "read", lambda self, index: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        check_images(source, num_workers=1)
