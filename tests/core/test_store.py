"""The store: created once, never changed, nothing left out in silence, many writers at once."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.core import atomic
from bench.core.errors import StoreError
from bench.core.records import Record
from bench.core.store import Attachment, Store
from tests.helpers.records import make_record, make_trials

NUM_WRITERS = 8
NUM_RECORDS = 50


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def tree(store: Store) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}


def test_add_then_find_and_scan(store: Store) -> None:
    records = [*make_trials("resnet50.random", [33.0, 34.0]), make_record()]
    paths = [store.add(record) for record in records]
    assert paths[2] == store.root / "resnet50.moco_v2_ep200" / "voc-det" / f"{records[2].id}.json"
    assert store.find("resnet50.moco_v2_ep200", "voc-det", records[2].id) == records[2]
    assert store.find("resnet50.moco_v2_ep200", "voc-det", "0" * 16) is None
    scan = store.scan()
    assert scan.left_out == []
    assert sorted(record.id for record in scan.records) == sorted(record.id for record in records)
    assert set(tree(store)) == set(paths), "no temporary file is left"


def test_an_empty_or_missing_store_has_no_records(store: Store) -> None:
    assert store.scan().records == []
    assert store.scan().left_out == []
    store.root.mkdir()
    assert store.scan().records == []
    assert store.scan().left_out == []


def test_the_same_result_twice_changes_nothing(store: Store) -> None:
    store.add(make_record())
    before = tree(store)
    store.add(make_record(created="2027-01-01T00:00:00+00:00"))
    assert tree(store) == before


def test_a_file_beside_a_record_is_there_before_it_and_has_its_content_in_its_name(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, boxes = make_record(), Attachment(".boxes", b"boxes", "ab" * 32)
    path = store.attachment_path(record, boxes.sha256, boxes.suffix)
    real = atomic.create_bytes

    def seen(place: Path, data: bytes) -> None:
        assert path.read_bytes() == b"boxes"
        real(place, data)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "create_bytes", seen)
        store.add(record, boxes)
    # Another result of the same id is refused, and its file takes nobody's place.
    with pytest.raises(StoreError):
        store.add(make_record(ap=1.0), Attachment(".boxes", b"other", "cd" * 32))
    assert set(tree(store)) == {path, store.path(record.weights.name, record.task, record.id)}
    assert path.read_bytes() == b"boxes"
    assert store.scan().records == [record] and not store.scan().left_out


def test_another_result_of_one_id_is_an_error_that_shows_both(store: Store) -> None:
    path = store.add(make_record(ap=57.0))
    before = tree(store)
    with pytest.raises(StoreError) as caught:
        store.add(make_record(ap=57.25))
    assert str(path) in str(caught.value)
    assert "57.0000" in str(caught.value)
    assert "57.2500" in str(caught.value)
    assert tree(store) == before


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b", "x" * 201])
def test_names_that_are_no_file_names_are_refused(store: Store, name: str) -> None:
    with pytest.raises(StoreError):
        store.path(name, "voc-det", "0" * 16)
    with pytest.raises(StoreError):
        store.path("resnet50.moco", name, "0" * 16)


def edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    return apply


def move(target: str) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        new = path.parents[2] / target
        new.parent.mkdir(parents=True, exist_ok=True)
        path.rename(new)

    return apply


def replace(old: str, new: str) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return apply


def write(data: bytes) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        path.write_bytes(data)

    return apply


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "edited number": (edit(lambda value: value["metrics"]["AP"].update(value=99.0)), "was changed"),
    "edited last digit": (replace('"value": 57.0', '"value": 57.00000000000001'), "was changed"),
    "edited seed": (edit(lambda value: value.update(seed=7)), "was changed"),
    "edited status": (edit(lambda value: value["protocol"].update(status="exact")), "was changed"),
    "seal taken away": (edit(lambda value: value.pop("sha256")), "sha256"),
    "newer schema": (edit(lambda value: value.update(schema_version=2)), "schema 2"),
    "no schema": (edit(lambda value: value.pop("schema_version")), "schema None"),
    "moved to another name": (move("resnet50.other/voc-det/{id}.json"), "belongs to"),
    "moved to another task": (move("resnet50.moco/coco/{id}.json"), "belongs to"),
    "moved up": (move("{id}.json"), "belongs to"),
    "moved down": (move("a/b/c/d/{id}.json"), "belongs to"),
    "renamed": (move("resnet50.moco/voc-det/0000000000000000.json"), "belongs to"),
    "nan": (replace('"value": 57.0', '"value": NaN'), "NaN"),
    "infinity": (replace('"value": 57.0', '"value": 1e999'), "out of range"),
    "equal keys": (replace('"seed": 0', '"seed": 0, "seed": 1'), "twice"),
    "cut short": (write(b'{"schema_version": 1, "task": "voc'), "line 1"),
    "empty": (write(b""), "line 1"),
    "not UTF-8": (write(b"\xff\xfe"), "UTF-8"),
    "not an object": (write(b"[]"), "not a record"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_used_is_named(store: Store, fault: str) -> None:
    good = make_record("resnet50.random", ap=33.0)
    bad = make_record("resnet50.moco", status="custom")
    store.add(good)
    path = store.add(bad)
    spoil, words = FAULTS[fault]
    spoil(path)
    if fault.startswith(("moved", "renamed")):
        for moved in store.root.rglob("*{id}*"):
            moved.rename(moved.with_name(path.name))
    scan = store.scan()
    assert [record.id for record in scan.records] == [good.id]
    assert len(scan.left_out) == 1
    assert words in scan.left_out[0]
    assert str(store.root) in scan.left_out[0]


def test_a_link_to_a_folder_is_named(store: Store, tmp_path: Path) -> None:
    elsewhere = Store(tmp_path / "elsewhere")
    elsewhere.add(make_record())
    store.root.mkdir()
    (store.root / "resnet50.moco_v2_ep200").symlink_to(elsewhere.root / "resnet50.moco_v2_ep200")
    scan = store.scan()
    assert scan.records == []
    assert len(scan.left_out) == 1
    assert "link" in scan.left_out[0]


def _record(writer: int, index: int) -> Record:
    return make_record(f"resnet50.writer{writer}", index, ap=writer + index / 100)


def _by_name(record: Record) -> tuple[str, int]:
    return record.weights.name, record.seed


def _write(root: str, writer: int, barrier: Any) -> None:
    store = Store(Path(root))
    barrier.wait(timeout=60)
    for index in range(NUM_RECORDS):
        store.add(_record(writer, index))
        store.add(make_record("resnet50.shared", index, ap=index / 10))


def test_eight_writers_at_once_lose_nothing(store: Store) -> None:
    # spawned, not forked: a test runner has threads
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(NUM_WRITERS)
    writers = [
        context.Process(target=_write, args=(str(store.root), writer, barrier))
        for writer in range(NUM_WRITERS)
    ]
    for process in writers:
        process.start()
    for process in writers:
        process.join(timeout=120)
    assert [process.exitcode for process in writers] == [0] * NUM_WRITERS
    expected = [_record(writer, index) for writer in range(NUM_WRITERS) for index in range(NUM_RECORDS)]
    expected += [make_record("resnet50.shared", index, ap=index / 10) for index in range(NUM_RECORDS)]
    scan = store.scan()
    assert scan.left_out == []
    assert sorted(scan.records, key=_by_name) == sorted(expected, key=_by_name)
    assert len(tree(store)) == len(expected), "no temporary file is left"
