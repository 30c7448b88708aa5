"""How the detector is fed: order, boxes, and a picture that is not what it was when it was checked."""

from pathlib import Path

import pytest

from bench.core.errors import DataError
from tests.helpers.voc_set import copy_of
from tests.transfer.engines.test_detectron2 import make_job, run
from transfer.data.voc import VocDataset
from transfer.engines.detectron2.loader import to_dicts
from transfer.engines.feed import batches


def test_the_order_of_images_is_a_function_of_its_place() -> None:
    shapes = [(100, 50)] * 5 + [(50, 100)] * 4
    source = batches(shapes, seed=3, images_per_batch=2, group=True, start=0)
    first = [next(source) for _ in range(30)]
    for start in (1, 7, 29):
        resumed = batches(shapes, seed=3, images_per_batch=2, group=True, start=start)
        assert [next(resumed) for _ in range(30 - start)] == first[start:]
    assert [iteration for iteration, _ in first] == list(range(30))
    assert all(len({index < 5 for index in indices}) == 1 for _, indices in first)
    assert {index for _, indices in first for index in indices} == set(range(9))
    other = batches(shapes, seed=4, images_per_batch=2, group=True, start=0)
    assert [next(other) for _ in range(30)] != first


def test_boxes_become_zero_based_and_difficult_ones_are_trained_on(tmp_path: Path, voc: Path) -> None:
    data: VocDataset = make_job(tmp_path, voc).data
    entries = to_dicts(data.train, with_objects=True)
    for image, entry in zip([image for image in data.train if image.objects], entries, strict=True):
        assert len(entry["annotations"]) == len(image.objects)
        for item, annotation in zip(image.objects, entry["annotations"], strict=True):
            xmin, ymin, xmax, ymax = item.box
            assert annotation["bbox"] == [xmin - 1, ymin - 1, xmax, ymax]
    assert "annotations" not in to_dicts(data.test, with_objects=False)[0]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_picture_that_breaks_during_a_run_is_one_line(tmp_path: Path, voc: Path, num_workers: int) -> None:
    """Whole when the data was checked; a worker's error comes home without its traceback."""
    root = copy_of(voc, tmp_path / "set")
    job = make_job(tmp_path, root, f"run.num_workers={num_workers}")
    for path in (root / "JPEGImages").iterdir():
        path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match=r"^\S+\.jpg: cannot be read as an image") as caught:
        run(job)
    assert len(str(caught.value).splitlines()) == 1
