"""Class folders: sorted, complete, every problem named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.core.errors import DataError
from bench.images.source import open_source


def _save(path: Path, value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), (value, value, value)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("dog/b.jpg", "dog/a.png", "cat/10.JPEG", "cat/9.jpg", "ant bear/x.jpeg"):
        _save(tmp_path / "set" / name)
    return tmp_path / "set"


def test_sorted_by_class_then_name(root: Path) -> None:
    images = open_source(root)
    assert images.classes == ("ant bear", "cat", "dog")
    names = [images.name(index) for index in range(5)]
    assert names == ["ant bear/x.jpeg", "cat/10.JPEG", "cat/9.jpg", "dog/a.png", "dog/b.jpg"]
    assert images.labels is not None and images.labels.tolist() == [0, 1, 1, 2, 2]
    assert len(images) == 5
    assert images.where(3) == str(root / "dog" / "a.png")
    assert np.array_equal(images.read(3), np.full((4, 6, 3), 100, dtype=np.uint8))


def test_hidden_names_and_files_beside_the_classes_are_left_out(root: Path) -> None:
    (root / "README.md").write_text("about")
    (root / ".git").mkdir()
    (root / "cat" / ".DS_Store").write_text("")
    assert len(open_source(root)) == 5


def test_all_problems_at_once(root: Path) -> None:
    (root / "empty").mkdir()
    (root / "cat" / "notes.txt").write_text("")
    (root / "dog" / "puppies").mkdir()
    with pytest.raises(DataError) as caught:
        open_source(root)
    text = str(caught.value)
    for name in ("empty", "cat/notes.txt", "dog/puppies"):
        assert str(root / name) in text


def test_links_out_are_refused_and_links_inside_followed(root: Path, tmp_path: Path) -> None:
    (root / "dog" / "c.jpg").symlink_to(root / "dog" / "b.jpg")
    assert len(open_source(root)) == 6
    _save(tmp_path / "secret.jpg")
    (root / "dog" / "d.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(DataError, match="outside the folder through a link"):
        open_source(root)


@pytest.mark.parametrize(
    "make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("")]
)
def test_no_classes(tmp_path: Path, make: object) -> None:
    make(tmp_path / "set")  # type: ignore[operator]
    with pytest.raises(DataError, match="set"):
        open_source(tmp_path / "set")


def test_a_damaged_file_is_named_when_it_is_read(root: Path) -> None:
    (root / "cat" / "9.jpg").write_bytes(b"not found")
    with pytest.raises(DataError, match=r"cat/9\.jpg"):
        open_source(root).read(2)
