"""Packs: the images of their source, marked as others; refused where something would be lost."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bench.commands.data import command
from bench.core.errors import DataError, UsageError
from bench.core.safe_image import read_image
from bench.images.source import open_source
from tests.images.test_source import png, write


def run(*arguments: object) -> tuple[str, BaseException | None]:
    """(stdout, the error)."""
    words = ["pack", *(str(argument) for argument in arguments)]
    result = CliRunner().invoke(command, words, standalone_mode=False)
    return result.stdout, result.exception


def picture(width: int, height: int, seed: int) -> bytes:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


FILES = {
    "cat/a.png": picture(60, 40, 0),
    "cat/b.png": picture(40, 60, 1),
    "dog/a.png": picture(30, 20, 2),
    "dog/c.png": picture(90, 30, 3),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "set", dict(FILES))


def test_decoded_images_are_the_same_pixels_in_the_same_order(root: Path, tmp_path: Path) -> None:
    out, error = run(root, "--out", tmp_path / "pack", "--kind", "decoded", "--workers", 3)
    assert error is None and "4 images, decoded" in out
    source, pack = open_source(root), open_source(tmp_path / "pack")
    assert pack.classes == source.classes and pack.labels is not None and source.labels is not None
    assert pack.labels.tolist() == source.labels.tolist()
    for index in range(len(source)):
        assert np.array_equal(pack.read(index), source.read(index))
    assert pack.pack is not None and source.pack is None
    assert pack.pack.source_fingerprint == source.fingerprint != pack.fingerprint
    assert pack.pack.versions["pillow"]


def test_a_long_side_is_kept_to_and_nothing_is_made_larger(root: Path, tmp_path: Path) -> None:
    assert run(root, "--out", tmp_path / "pack", "--long-side", 45, "--quality", 95)[1] is None
    pack = open_source(tmp_path / "pack")
    assert [pack.read(index).shape[:2] for index in range(4)] == [(30, 45), (45, 30), (20, 30), (15, 45)]
    assert pack.pack is not None and (pack.pack.kind, pack.pack.quality) == ("jpeg", 95)
    # The one that was not shrunk differs by what JPEG takes away alone.
    assert np.abs(pack.read(2).astype(int) - open_source(root).read(2)).mean() < 15


def test_packs_of_other_images_of_equal_sizes_are_told_apart(tmp_path: Path) -> None:
    prints = []
    for seed in (0, 1):
        root = write(
            tmp_path / f"set{seed}",
            {f"c/{n}.png": picture(20, 20, seed + n) + b"\0" * seed for n in range(2)},
        )
        run(root, "--out", tmp_path / f"pack{seed}", "--kind", "decoded")
        prints.append(open_source(tmp_path / f"pack{seed}").fingerprint)
    assert prints[0] != prints[1]


def test_many_shards_hold_what_one_holds(root: Path, tmp_path: Path) -> None:
    large = {f"{n % 3}/{n}.png": picture(700, 500, n) for n in range(6)}
    root = write(tmp_path / "large", large)
    assert run(root, "--out", tmp_path / "pack", "--kind", "decoded", "--shard-mb", 2)[1] is None
    assert len(list((tmp_path / "pack").glob("*.tar"))) == 3
    source, pack = open_source(root), open_source(tmp_path / "pack")
    assert all(np.array_equal(pack.read(n), source.read(n)) for n in range(6))


def test_a_flat_folder_has_no_classes_after_it_either(tmp_path: Path) -> None:
    root = write(tmp_path / "flat", {"a.png": png(1), "b.png": png(2)})
    assert run(root, "--out", tmp_path / "pack")[1] is None
    pack = open_source(tmp_path / "pack")
    assert pack.classes is None and len(pack) == 2


def test_what_would_lose_something_is_refused_and_nothing_is_written(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "pack"
    listed = write(tmp_path / "listed", {"x/a.png": png(1), "y/b.png": png(2)})
    (listed / "list.txt").write_text("x/a.png\t0\ny/b.png\t2\n")
    twice = write(tmp_path / "twice", {"c/a.png": png(1), "c/a.bmp": png(2)})
    broken = write(tmp_path / "broken", {"c/a.png": png(1), "c/b.png": b"<html>"})
    for source, kind, text in (
        (listed / "list.txt", UsageError, "its classes are numbers"),
        (twice, DataError, "would be packed as c/a.jpg"),
        (broken, DataError, "not an image"),
    ):
        _, error = run(source, "--out", out)
        assert isinstance(error, kind) and text in str(error)
        assert not out.exists() and not list(tmp_path.glob(".*"))
        assert (run(source, "--out", out, "--dry-run")[1] is None) == (source == broken)
    assert isinstance(run(root, "--out", out, "--kind", "decoded", "--quality", 80)[1], UsageError)
    _, error = run(root, "--out", root / "pack")
    assert isinstance(error, UsageError) and "would lie in the other" in str(error)
    write(tmp_path / "there", {"note": b"mine"})
    for place, text in ((tmp_path / "there", "is no pack"), (root, "is no pack"), (tmp_path, "is no pack")):
        _, error = run(root, "--out", place, "--force")
        assert isinstance(error, UsageError) and text in str(error)
    assert run(root, "--out", out, "--dry-run")[1] is None and not out.exists()


def test_a_pack_is_replaced_with_force_alone(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "pack"
    assert run(root, "--out", out)[1] is None
    assert isinstance(run(root, "--out", out, "--kind", "decoded")[1], UsageError)
    printed, error = run(root, "--out", out, "--kind", "decoded", "--force", "--json")
    assert error is None and json.loads(printed)["num_images"] == 4
    pack = open_source(out).pack
    assert pack is not None and pack.kind == "decoded" and pack.quality is None


def test_a_pack_stays_one_shard_by_shard_and_a_lost_shard_is_seen(tmp_path: Path) -> None:
    root = write(tmp_path / "large", {f"{n % 3}/{n}.png": picture(700, 500, n) for n in range(6)})
    run(root, "--out", tmp_path / "pack", "--kind", "decoded", "--shard-mb", 2)
    assert open_source(tmp_path / "pack" / "00000.tar").pack is not None
    (tmp_path / "pack" / "00001.tar").unlink()
    with pytest.raises(DataError, match="4 images, 6 when it was packed"):
        open_source(tmp_path / "pack")


def test_what_shards_cannot_hold_is_found_before_the_pack_is_there(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"x/a.png": png(1), "x/b.png": png(2)})
    (root / "list.txt").write_text("x/a.png\t.hidden\nx/b.png\tseen\n")
    _, error = run(root / "list.txt", "--out", tmp_path / "pack")
    assert isinstance(error, DataError) and ".hidden/x__a.jpg" in str(error)
    (root / "list.txt").write_text("x/a.png\ta/b\nx/b.png\tseen\n")
    assert isinstance(run(root / "list.txt", "--out", tmp_path / "pack")[1], DataError)
    assert not (tmp_path / "pack").exists()


def test_a_damaged_pack_file_is_an_error(root: Path, tmp_path: Path) -> None:
    run(root, "--out", tmp_path / "pack")
    (tmp_path / "pack" / "pack.json").write_text('{"kind": "raw"}')
    with pytest.raises(DataError, match=r"pack\.json"):
        open_source(tmp_path / "pack")


@pytest.mark.parametrize(
    "data",
    [
        b"P6\n2 2\n255\n" + bytes(11),
        b"P6\n2 2\n255\n" + bytes(13),
        b"P6\n0 2\n255\n",
        b"P6 2 2 255 " + bytes(12),
    ],
)
def test_a_ppm_that_is_not_whole_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.ppm").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.ppm"):
        read_image(tmp_path / "a.ppm")
