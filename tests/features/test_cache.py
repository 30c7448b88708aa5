"""Features on the disk: whole or computed again, shared by who means the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.features import cache as room
from bench.features.cache import FeatureCache, fill, whole


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "ROWS", 4)


def make(root: Path, **key: object) -> FeatureCache:
    return FeatureCache(root, {"weights": "a", **key}, num_images=10)


def rows(part: range) -> torch.Tensor:
    return torch.tensor([[float(index), 0.5] for index in part])


EXPECTED = rows(range(10))


def test_parts_are_computed_once_and_in_order(tmp_path: Path) -> None:
    cache, asked = make(tmp_path), []

    def compute(part: range) -> torch.Tensor:
        asked.append(part)
        return rows(part)

    fill(cache, compute, rank=0, num_processes=1)
    assert asked == [range(4), range(4, 8), range(8, 10)]
    assert torch.equal(whole(cache), EXPECTED)
    fill(cache, compute, rank=0, num_processes=1)
    assert len(asked) == 3


def test_processes_share_the_parts(tmp_path: Path) -> None:
    cache = make(tmp_path)
    fill(cache, rows, rank=1, num_processes=2)
    with pytest.raises(RuntimeError, match="part 0"):
        whole(cache)
    fill(cache, rows, rank=0, num_processes=2)
    assert torch.equal(whole(cache), EXPECTED)


def test_a_stop_keeps_whole_parts(tmp_path: Path) -> None:
    cache = make(tmp_path)

    def compute(part: range) -> torch.Tensor:
        if part.start == 4:
            raise KeyboardInterrupt
        return rows(part)

    with pytest.raises(KeyboardInterrupt):
        fill(cache, compute, rank=0, num_processes=1)
    assert cache.read(0) is not None
    assert cache.read(1) is None


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other key", "other part", "rows"])
def test_what_is_not_whole_is_computed_again(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = make(tmp_path)
    fill(cache, rows, rank=0, num_processes=1)
    path = cache._path(1)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-1] ^= 1
    elif damage == "cut":
        del data[-3:]
    elif damage == "empty":
        data.clear()
    elif damage == "other key":
        other = make(tmp_path / "x", crop=1)
        fill(other, rows, rank=0, num_processes=1)
        data = bytearray(other._path(1).read_bytes())
    elif damage == "other part":
        data = bytearray(cache._path(0).read_bytes())
    else:
        other = FeatureCache(tmp_path / "y", cache.key, num_images=7)
        fill(other, rows, rank=0, num_processes=1)
        data = bytearray(other._path(1).read_bytes())
    path.write_bytes(data)
    assert cache.read(1) is None
    assert str(path) in capsys.readouterr().err
    fill(cache, rows, rank=0, num_processes=1)
    assert torch.equal(whole(cache), EXPECTED)


def test_another_key_is_another_folder(tmp_path: Path) -> None:
    assert make(tmp_path, crop=224).folder != make(tmp_path, crop=225).folder
    assert make(tmp_path, crop=224).folder == make(tmp_path, crop=224).folder


def test_no_image_is_no_part(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, {}, num_images=0)
    fill(cache, rows, rank=0, num_processes=1)
    assert len(whole(cache)) == 0
