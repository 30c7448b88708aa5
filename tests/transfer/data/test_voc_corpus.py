"""Bad annotations are refused by a DataError that names file, object and fault; odd good ones are read."""

from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path

import pytest

from bench.core.errors import DataError
from tests.helpers.often import often
from tests.helpers.voc_corpus import (
    BOMBS,
    CLASSES,
    IMAGE_ID,
    NUMBERS,
    TEST_ONLY,
    Bad,
    hand_made,
    harmless,
    with_value,
)
from tests.helpers.voc_mutations import generated
from transfer.data.voc_annotation import Annotation, read_annotation

HAND_MADE = hand_made()
GENERATED = dict(generated(seed=0))
HARMLESS = harmless()
MAX_SECONDS = 5  # of the processor; what blows up takes minutes
MAX_BYTES = 64 << 20


def read(path: Path, data: bytes, *, for_test: bool = True) -> Annotation:
    path.write_bytes(data)
    return read_annotation(path, IMAGE_ID, CLASSES, for_test=for_test)


def wrong_refusal(path: Path, bad: Bad, *, for_test: bool = True) -> str:
    """What is wrong with the way in which `bad` is refused; "" where it is right."""
    start = time.process_time()
    try:
        read(path, bad.data, for_test=for_test)
    except DataError as error:
        problems = error.problems
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    else:
        return "was read"
    places = (f"{path}: ", f"{path}, size: ") if bad.number is None else (f"{path}, object {bad.number}: ",)
    named = any(problem.startswith(places) and bad.word in problem for problem in problems)
    if not named or not all(problem.startswith(str(path)) for problem in problems):
        return f"expected {places[0]}... {bad.word}; got {problems}"
    seconds = time.process_time() - start
    return f"{seconds:.1f} s" if seconds > MAX_SECONDS else ""


@pytest.mark.parametrize("case", HAND_MADE)
def test_each_is_refused_by_file_object_and_fault(tmp_path: Path, case: str) -> None:
    assert wrong_refusal(tmp_path / "it.xml", HAND_MADE[case]) == ""


@pytest.mark.parametrize("case", often(HAND_MADE, TEST_ONLY))
def test_what_the_evaluation_alone_cannot_read_may_be_trained_on(tmp_path: Path, case: str) -> None:
    if case in TEST_ONLY:
        assert len(read(tmp_path / "it.xml", HAND_MADE[case].data, for_test=False).objects) == 3
    else:
        assert wrong_refusal(tmp_path / "it.xml", HAND_MADE[case], for_test=False) == ""


def test_each_generated_one_is_refused_the_same_way(tmp_path: Path) -> None:
    found = {name: wrong_refusal(tmp_path / "it.xml", bad) for name, bad in GENERATED.items()}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_there_are_enough_of_them() -> None:
    assert len(HAND_MADE) >= 60
    assert HAND_MADE.keys() >= TEST_ONLY
    assert len({bad.data for bad in GENERATED.values()}) >= 500
    assert {bad.number for bad in GENERATED.values()} == {None, *NUMBERS}
    assert dict(generated(seed=0)) == GENERATED != dict(generated(seed=1))


@pytest.mark.parametrize("case", BOMBS)
def test_bombs_take_little_memory(tmp_path: Path, case: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            read(tmp_path / "it.xml", HAND_MADE[case].data)
        assert tracemalloc.get_traced_memory()[1] < MAX_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("for_test", [True, False])
@pytest.mark.parametrize("case", HARMLESS)
def test_harmless_ones_are_read(tmp_path: Path, case: str, for_test: bool) -> None:
    data, objects = HARMLESS[case]
    found = read(tmp_path / "it.xml", data, for_test=for_test)
    assert (found.width, found.height) == (500, 375)
    assert tuple((CLASSES[item.class_index], item.box, item.difficult) for item in found.objects) == objects


def test_several_faults_are_each_reported(tmp_path: Path) -> None:
    text = with_value(1, "xmin", "26.5").replace("000005.jpg", "000006.jpg").replace(">dog<", ">cow<")
    text = text.replace("<pose>Left</pose>", "").replace("<xmax>500<", "<xmax>501<")
    text = text.replace("<width>500<", "<width>five<")
    path = tmp_path / "it.xml"
    with pytest.raises(DataError) as error:
        read(path, text.replace("<truncated>1<", "<truncated>7<").encode())
    expected = [
        (f"{path}: ", "'000006.jpg'"),
        (f"{path}: ", "<width> is 'five'"),
        (f"{path}, object 1: ", "xmin is '26.5'"),
        (f"{path}, object 2: ", "<truncated> is '7'"),
        (f"{path}, object 3: ", "unknown class 'cow'"),
        (f"{path}, object 3: ", "no <pose>"),
    ]
    assert len(error.value.problems) == len(expected)
    for problem, (place, word) in zip(error.value.problems, expected, strict=True):
        assert problem.startswith(place) and word in problem


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "it.xml"
    os.mkfifo(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_annotation(path, IMAGE_ID, CLASSES, for_test=True)


def test_ten_thousand_unknown_classes_take_no_time(tmp_path: Path) -> None:
    """A near name takes time to find: it is looked for as often as it can be shown."""
    classes = tuple(f"a class with quite a long name {index:03}" for index in range(80))
    names = (f"some class with quite a long name {index:04}" for index in range(9_000))
    text = "".join(f"<object><name>{name}</name></object>" for name in names)
    path = tmp_path / "it.xml"
    path.write_text(f"<annotation>{text}</annotation>")
    start = time.process_time()
    with pytest.raises(DataError) as error:
        read_annotation(path, IMAGE_ID, classes, for_test=False)
    assert time.process_time() - start < MAX_SECONDS
    assert len(error.value.problems) >= 18_000


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.xml", tmp_path):
        with pytest.raises(DataError) as error:
            read_annotation(path, IMAGE_ID, CLASSES, for_test=True)
        assert str(error.value).startswith(f"{path}: cannot be read")
