"""Bad sets are refused by a DataError that names the file and the fault; odd good ones are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import DataError
from bench.core.safe_image import read_image
from tests.helpers.label_corpus import bad_sets
from tests.helpers.label_odd import odd_sets
from transfer.data.label_map import read_label_map
from transfer.data.label_set import read_segmentation

BAD = bad_sets()
GOOD = odd_sets()


def _given(root: Path) -> Path:
    return root.parent if root.name == "VOC2012" else root


@pytest.mark.parametrize(
    "write", list(dict.fromkeys(bad.write for bad in BAD.values())), ids=lambda write: write.__name__
)
def test_none_of_the_sets_is_bad_before_it_is_spoiled(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    layout = next(bad.layout for bad in BAD.values() if bad.write is write)
    assert read_segmentation(_given(write(tmp_path / "set")), layout=layout).notes == ()


@pytest.mark.parametrize("kind", BAD)
def test_each_is_refused_by_file_and_fault(tmp_path: Path, kind: str) -> None:
    bad = BAD[kind]
    root = bad.write(tmp_path / "set")
    place = bad.spoil(root)
    with pytest.raises(DataError) as error:
        read_segmentation(_given(root), layout=bad.layout)
    found = [problem for problem in error.value.problems if bad.word in problem]
    assert any(problem.startswith(str(place)) for problem in found), error.value.problems
    assert all(str(root) in problem for problem in error.value.problems)


def test_there_are_enough_of_them() -> None:
    assert len(BAD) >= 30
    assert {bad.layout for bad in BAD.values()} == {"voc-seg", "cityscapes", "ade20k", "nyuv2", "folder"}
    assert len(GOOD) >= 8


@pytest.mark.parametrize("kind", GOOD)
def test_odd_but_good_ones_are_read(tmp_path: Path, kind: str) -> None:
    good = GOOD[kind]
    root = good.write(tmp_path / "set")
    good.change(root)
    data = read_segmentation(_given(root), layout=good.layout)
    assert data.counts == {"train": 4, "test": 3}
    assert good.note in " ".join(data.notes)
    assert bool(good.note) == bool(data.notes)
    for image in (*data.train, *data.test):
        shape = read_image(image.path).shape[:2]
        found = read_label_map(image.label_path.read_bytes(), str(image.label_path)).labels
        assert found.shape == shape == (image.height, image.width)
        assert image.values == set(np.unique(found).tolist())
