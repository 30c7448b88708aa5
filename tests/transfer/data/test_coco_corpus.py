"""Bad COCO files are refused by a line that names file, id and fault; odd good ones are read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench.core.errors import DataError
from tests.helpers.coco_corpus import (
    GOOD,
    HUGE,
    KINDS,
    Bad,
    Json,
    altered,
    changed,
    hand_made,
    harmless,
    place_of,
    text_of,
    with_object,
    write_image,
    write_set,
)
from tests.helpers.coco_mutations import generated
from transfer.data.coco import CocoDataset, read_coco
from transfer.data.coco_json import read_file

HAND_MADE = hand_made()
GENERATED = dict(generated(seed=0))
HARMLESS = harmless()
MAX_SECONDS = 5  # of the processor; what blows up takes minutes
CROWDS = with_object(7, iscrowd=1) | {"annotations": [with_object(7, iscrowd=1)["annotations"][0]]}


def problems_of(path: Path, data: bytes) -> tuple[str, ...]:
    path.write_bytes(data)
    try:
        return read_file(path, path.parent).problems
    except DataError as error:
        return error.problems


def wrong_refusal(path: Path, bad: Bad) -> str:
    """What is wrong with the way in which `bad` is refused; "" where it is right."""
    start = time.process_time()
    try:
        problems = problems_of(path, bad.data)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    seconds = time.process_time() - start
    place = f"{path}{bad.place}"
    if not problems:
        return "was read"
    if not any(problem.startswith(place) and bad.word in problem for problem in problems):
        return f"expected {place}... {bad.word}; got {problems}"
    # Another fault may follow from that of an image or a category, but nothing from an annotation's.
    allowed = place if bad.place.startswith((", annotation", ":")) else str(path)
    if not all(problem.startswith(allowed) for problem in problems):
        return f"names more than {place}: {problems}"
    return f"{seconds:.1f} s" if seconds > MAX_SECONDS else ""


@pytest.mark.parametrize("case", HAND_MADE)
def test_each_is_refused_by_file_id_and_fault(tmp_path: Path, case: str) -> None:
    assert wrong_refusal(tmp_path / "it.json", HAND_MADE[case]) == ""


def test_each_generated_one_is_refused_the_same_way(tmp_path: Path) -> None:
    found = {name: wrong_refusal(tmp_path / "it.json", bad) for name, bad in GENERATED.items()}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_there_are_enough_of_them() -> None:
    assert len({bad.data for bad in HAND_MADE.values()}) == len(HAND_MADE) >= 80
    assert len({bad.data for bad in GENERATED.values()}) == len(GENERATED) >= 500
    places = {bad.place for bad in GENERATED.values()}
    assert places >= {place_of(kind, item["id"]) for kind in KINDS for item in GOOD[kind]} | {":"}
    assert dict(generated(seed=0)) == GENERATED != dict(generated(seed=1))
    assert len(HARMLESS) >= 12


@pytest.mark.parametrize("case", HARMLESS)
def test_harmless_ones_are_read(tmp_path: Path, case: str) -> None:
    data, ids = HARMLESS[case]
    path = tmp_path / "it.json"
    path.write_bytes(data)
    found = read_file(path, tmp_path)
    assert found.problems == ()
    assert tuple(item.annotation_id for image in found.images for item in image.objects) == ids
    assert list(found.categories) == sorted(found.categories)
    assert [image.image_id for image in found.images] == sorted(image.image_id for image in found.images)
    assert len(found.images) == 3


def test_several_faults_are_each_reported(tmp_path: Path) -> None:
    value = with_object(7, bbox=[4, 5, -1, 8], area=None, iscrowd=2, category_id=99)
    value["categories"][1]["name"] = ""
    value["images"][2]["width"] = value["images"][2]["height"] = 0
    value["annotations"][3]["segmentation"] = []
    path = tmp_path / "it.json"
    found = problems_of(path, text_of(value))
    expected = [
        (", category 3:", "name"),
        (", image 9:", "width"),
        (", image 9:", "height"),
        (", annotation 7:", "category_id"),
        (", annotation 7:", "iscrowd"),
        (", annotation 7:", "bbox"),
        (", annotation 7:", "area"),
        (", annotation 3:", "segmentation"),
    ]
    assert len(found) == len(expected)
    for problem, (place, word) in zip(found, expected, strict=True):
        assert problem.startswith(f"{path}{place}") and word in problem


def test_many_categories_take_no_time(tmp_path: Path) -> None:
    """Each name is held against the others: not one by one."""
    names = [{"id": id_, "name": f"category {id_}"} for id_ in range(20_000)]
    start = time.process_time()
    assert problems_of(tmp_path / "it.json", text_of(altered(("categories",), names)))
    assert time.process_time() - start < MAX_SECONDS


@pytest.mark.parametrize("new", ["x" * 1_000_000, "../" * 300_000, HUGE, [HUGE] * 1_000])
@pytest.mark.parametrize(
    "path", [("images", 0, "file_name"), ("annotations", 0, "image_id"), ("categories", 0, "name")]
)
def test_a_megabyte_of_a_value_is_not_repeated(
    tmp_path: Path, path: tuple[str, int, str], new: object
) -> None:
    for problem in problems_of(tmp_path / "it.json", text_of(altered(path, new))):
        assert len(problem) < 2_000


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(DataError) as error:
            read_file(path, tmp_path)
        assert str(error.value).startswith(f"{path}: cannot be read")


# Faults that only two files, or a file and its images, have.


def other_half(**lists: object) -> Json:
    """A test file whose images are others than those of the good one."""
    value = changed(lambda it: [item.update(file_name=f"t-{item['file_name']}") for item in it["images"]])
    return value | lists


def read(root: Path) -> CocoDataset:
    return read_coco(root, train=("train2017",), test="val2017")


def refusal(root: Path) -> tuple[str, ...]:
    with pytest.raises(DataError) as error:
        read(root)
    return error.value.problems


def files(root: Path) -> tuple[Path, Path]:
    folder = root / "annotations"
    return folder / "instances_train.json", folder / "instances_val.json"


def test_the_good_one_is_read(tmp_path: Path) -> None:
    data = read(write_set(tmp_path / "set", GOOD, other_half()))
    assert data.counts == {"train": 3, "test": 3}
    assert data.classes == ("cat", "dog", "traffic light")


@pytest.mark.parametrize(
    ("categories", "ids"),
    [
        ([*GOOD["categories"], {"id": 4, "name": "cow"}], [4]),
        ([{"id": 1, "name": "dog"}, {"id": 3, "name": "cat"}, GOOD["categories"][2]], [1, 3]),
        ([*GOOD["categories"][:2], {"id": 18, "name": "Traffic light"}], [18]),
        ([{"id": 2, "name": "bird"}, *GOOD["categories"]], [2]),
    ],
)
def test_other_categories_in_the_test_file(tmp_path: Path, categories: list[Json], ids: list[int]) -> None:
    root = write_set(tmp_path / "set", GOOD, other_half(categories=categories))
    found = refusal(root)
    assert len(found) == len(ids)
    for problem, id_ in zip(found, ids, strict=True):
        assert problem.startswith(f"{files(root)[1]}{place_of('categories', id_)}")


def test_an_image_file_of_both_splits(tmp_path: Path) -> None:
    test = changed(lambda it: it["images"][0].update(file_name="x.jpg"))
    root = write_set(tmp_path / "set", GOOD, test)
    folder = root / "images"
    for path in [*folder.glob("val/*"), *folder.glob("train/*")]:
        path.rename(folder / path.name)
    for name in ("train", "val"):
        (folder / name).rmdir()
    found = refusal(root)
    assert len(found) == 2
    for problem, id_ in zip(found, (5, 9), strict=True):
        assert problem.startswith(f"{files(root)[1]}{place_of('images', id_)}")
        assert f"image {id_} of instances_train.json" in problem


def image_of(root: Path) -> Path:
    return root / "images" / "val" / "t-b.jpg"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def lead_out(path: Path) -> None:
    outside = path.parents[3] / "outside.jpg"
    path.rename(outside)
    path.symlink_to(outside)


def lead_round(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


SPOILED = {
    "missing": (Path.unlink, "cannot be read"),
    "of another size": (lambda path: write_image(path, {"width": 13, "height": 10}, 0), "13 x 10"),
    "turned round": (lambda path: write_image(path, {"width": 10, "height": 12}, 0), "10 x 12"),
    "truncated": (truncate, "damaged"),
    "empty": (lambda path: path.write_bytes(b""), "t-b.jpg"),
    "text": (lambda path: path.write_bytes(b"no picture at all"), "t-b.jpg"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
    "a link that leads out": (lead_out, "link"),
    "a link that leads round": (lead_round, "t-b.jpg"),
}


@pytest.mark.parametrize("fault", SPOILED)
def test_a_spoiled_image_is_named(tmp_path: Path, fault: str) -> None:
    root = write_set(tmp_path / "set", GOOD, other_half())
    spoil, word = SPOILED[fault]
    spoil(image_of(root))
    (problem,) = refusal(root)
    assert problem.startswith(f"{files(root)[1]}{place_of('images', 5)}")
    assert word in problem


def test_a_training_split_of_crowds(tmp_path: Path) -> None:
    # The loader would look for a batch for ever.
    root = write_set(tmp_path / "set", CROWDS, other_half())
    (problem,) = refusal(root)
    assert problem.startswith(f"{files(root)[0]}:") and "train" in problem


@pytest.mark.parametrize("annotations", [[], CROWDS["annotations"]])
def test_a_test_split_without_objects(tmp_path: Path, annotations: list[Json]) -> None:
    root = write_set(tmp_path / "set", GOOD, other_half(annotations=annotations))
    (problem,) = refusal(root)
    assert problem.startswith(f"{files(root)[1]}:") and "test" in problem


def test_faults_of_both_files_are_reported_together(tmp_path: Path) -> None:
    train = with_object(7, area=-1)
    root = write_set(
        tmp_path / "set", train, other_half(annotations=with_object(20, iscrowd=3)["annotations"])
    )
    image_of(root).unlink()
    first, second = files(root)
    expected = (f"{first}, annotation 7:", f"{second}, annotation 20:", f"{second}, image 5:")
    found = refusal(root)
    assert len(found) == len(expected)
    assert all(problem.startswith(place) for problem, place in zip(found, expected, strict=True))
