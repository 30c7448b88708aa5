"""Study records: their round trip and id, created once, an edit is found, nothing left out in silence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bench.core.errors import StoreError
from bench.core.records import SEAL, seal
from bench.core.study import StudyRecord, StudyStore, study_id
from tests.helpers.records import digest
from tests.helpers.studies import make_study_record


@pytest.fixture
def store(tmp_path: Path) -> StudyStore:
    return StudyStore(tmp_path / "views")


def tree(store: StudyStore) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}


def test_round_trip_keeps_every_bit(store: StudyStore) -> None:
    record = make_study_record(
        i_nce=1 / 3, scores={"top1": 57.123456789012345, "miou": 5e-324},
        details={"steps": [1, 0.1, None, "ü"]}, knob=0.7, knob_name="sigma (px)",
    )  # fmt: skip
    path = store.add(record)
    assert path == store.root / "colour" / f"{record.id}.json"
    assert store.find("colour", record.id) == record
    assert store.find("colour", "0" * 16) is None
    assert store.find("patches", record.id) is None
    scan = store.scan()
    assert (scan.records, scan.left_out) == ([record], [])
    assert set(tree(store)) == {path}, "no temporary file is left"


def test_a_missing_or_empty_store_has_no_records(store: StudyStore) -> None:
    assert (store.scan().records, store.scan().left_out) == ([], [])
    store.root.mkdir()
    assert (store.scan().records, store.scan().left_out) == ([], [])


def test_id_is_of_study_version_identity_setting_and_seed_alone() -> None:
    base = make_study_record()
    same = make_study_record(
        i_nce=1.0, scores={"miou": 1.0}, size="full", custom=True, series="2|13", knob=1.0, knob_name="x",
        num_candidates=9, critic="other", data="other", created="2027-01-01T00:00:00+00:00",
    )  # fmt: skip
    assert same.id == base.id
    others = [
        make_study_record(study="patches"),
        make_study_record(study_version=2),
        make_study_record(identity="other"),
        make_study_record("Lab 1|23"),
        make_study_record(seed=1),
    ]
    assert len({base.id, *(record.id for record in others)}) == 6
    assert study_id("colour", 1, digest("identity of colour"), "YDbDr 1|23", 0) == base.id
    assert len(base.id) == 16


def test_parts_of_an_id_do_not_run_into_each_other() -> None:
    assert study_id("a", 1, "b", "c1", 0) != study_id("a", 1, "b", "c", 10)
    assert study_id("a", 1, "1b", "c", 0) != study_id("a", 11, "b", "c", 0)
    assert study_id("a", 1, "b", 'c", "d', 0) != study_id("a", 1, 'b", "c', "d", 0)


def test_result_leaves_time_and_machine_out() -> None:
    first, second = make_study_record(created="2026-01-01T00:00:00+00:00"), make_study_record()
    assert first != second
    assert first.result() == second.result()
    changes: list[dict[str, Any]] = [{"i_nce": 2.6}, {"scores": {"top1": 60.1}}, {"details": {"a": 1}}]
    for change in changes:
        assert make_study_record(**change).result() != second.result()


def test_the_same_result_twice_is_success_and_changes_nothing(store: StudyStore) -> None:
    store.add(make_study_record())
    before = tree(store)
    path = store.add(make_study_record(created="2027-01-01T00:00:00+00:00"))
    assert tree(store) == before
    assert set(before) == {path}


def test_another_result_of_one_cell_is_refused_and_shows_both(store: StudyStore) -> None:
    path = store.add(make_study_record(i_nce=2.5))
    before = tree(store)
    with pytest.raises(StoreError) as caught:
        store.add(make_study_record(i_nce=2.25))
    assert str(path) in str(caught.value)
    assert "2.5000" in str(caught.value)
    assert "2.2500" in str(caught.value)
    with pytest.raises(StoreError):
        store.add(make_study_record(scores={"top1": 60.5}))
    assert tree(store) == before


def test_scan_sorts_by_study_identity_setting_and_seed(store: StudyStore) -> None:
    records = [
        make_study_record("b", 1), make_study_record("b", 0), make_study_record("a", 2),
        make_study_record("a", 0, study="alone"), make_study_record("a", 0, identity="other"),
    ]  # fmt: skip
    for record in records:
        store.add(record)
    found = [(r.study, r.identity, r.setting, r.seed) for r in store.scan().records]
    assert found == sorted(found)
    assert len(found) == 5


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b", "x" * 201])
def test_studies_that_are_no_file_names_are_refused(store: StudyStore, name: str) -> None:
    with pytest.raises(StoreError):
        store.path(name, "0" * 16)
    with pytest.raises(StoreError):
        store.add(make_study_record(study=name))
    assert not store.root.exists()


def edit(change: Callable[[dict[str, Any]], object], *, sealed: bool = False) -> Callable[[Path], None]:
    """Change the content; with a new seal where that is asked for."""

    def apply(path: Path) -> None:
        value = json.loads(path.read_text())
        change(value)
        if sealed:
            del value[SEAL]
            value[SEAL] = seal(value)
        path.write_text(json.dumps(value))

    return apply


def move(target: str) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        new = path.parents[1] / target.format(id=path.stem)
        new.parent.mkdir(parents=True, exist_ok=True)
        path.rename(new)

    return apply


def write(data: bytes) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        path.write_bytes(data)

    return apply


def replace(old: str, new: str) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))

    return apply


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "edited number": (edit(lambda value: value.update(i_nce=3.5)), "was changed"),
    "edited last digit": (replace('"i_nce": 2.5', '"i_nce": 2.5000000000000004'), "was changed"),
    "edited score": (edit(lambda value: value["scores"].update(top1=99.0)), "was changed"),
    "edited seed": (edit(lambda value: value.update(seed=7)), "was changed"),
    "edited provenance": (edit(lambda value: value["provenance"].update(git_dirty=True)), "was changed"),
    "seal taken away": (edit(lambda value: value.pop(SEAL)), SEAL),
    "edited seed, new seal": (edit(lambda value: value.update(seed=7), sealed=True), "belongs to"),
    "a field too many": (edit(lambda value: value.update(more=1), sealed=True), "more"),
    "a field too few": (edit(lambda value: value.pop("critic"), sealed=True), "critic"),
    "one candidate": (edit(lambda value: value.update(num_candidates=1), sealed=True), "num_candidates"),
    "newer schema": (edit(lambda value: value.update(schema_version=2), sealed=True), "schema"),
    "no schema": (edit(lambda value: value.pop("schema_version"), sealed=True), "schema"),
    "moved to another study": (move("patches/{id}.json"), "belongs to"),
    "moved up": (move("{id}.json"), "belongs to"),
    "moved down": (move("colour/deep/{id}.json"), "belongs to"),
    "renamed": (move("colour/0000000000000000.json"), "belongs to"),
    "nan": (replace('"i_nce": 2.5', '"i_nce": NaN'), "NaN"),
    "equal keys": (replace('"seed": 0', '"seed": 0, "seed": 1'), "twice"),
    "cut short": (write(b'{"schema_version": 1, "stu'), "line 1"),
    "empty": (write(b""), "line 1"),
    "not UTF-8": (write(b"\xff\xfe"), "UTF-8"),
    "not an object": (write(b"[]"), "not a study record"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_used_is_named(store: StudyStore, fault: str) -> None:
    good = make_study_record("good")
    store.add(good)
    path = store.add(make_study_record("bad"))
    spoil, words = FAULTS[fault]
    spoil(path)
    scan = store.scan()
    assert scan.records == [good]
    assert len(scan.left_out) == 1
    assert words in scan.left_out[0]
    assert str(store.root) in scan.left_out[0]


@pytest.mark.parametrize("fault", ["edited number", "seal taken away", "newer schema", "cut short"])
def test_a_spoilt_record_is_neither_found_nor_added_to(store: StudyStore, fault: str) -> None:
    record = make_study_record()
    path = store.add(record)
    FAULTS[fault][0](path)
    before = tree(store)
    with pytest.raises(StoreError):
        store.find("colour", record.id)
    with pytest.raises(StoreError):
        store.add(record)
    assert tree(store) == before


@pytest.mark.parametrize(
    "change",
    [
        {"i_nce": math.nan},
        {"scores": {"top1": math.inf}},
        {"seed": -1},
        {"num_candidates": 1},
        {"study_version": 0},
        {"size": "huge"},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_study_record(**change)


def test_the_identity_is_a_hash() -> None:
    value = make_study_record().model_dump(mode="json")
    for wrong in ("", "a" * 63, "G" * 64):
        with pytest.raises(ValidationError):
            StudyRecord.model_validate({**value, "identity": wrong})


def test_a_link_to_a_folder_is_named(store: StudyStore, tmp_path: Path) -> None:
    elsewhere = StudyStore(tmp_path / "elsewhere")
    elsewhere.add(make_study_record())
    store.root.mkdir()
    (store.root / "colour").symlink_to(elsewhere.root / "colour")
    scan = store.scan()
    assert scan.records == []
    assert len(scan.left_out) == 1 and str(store.root / "colour") in scan.left_out[0]
