"""A record: its round trip, its id, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from bench.core.atomic import json_text
from bench.core.errors import StoreError
from bench.core.records import SEAL, parse_record, record_id, sealed
from tests.helpers.records import digest, make_record


def as_read(record: Any) -> Any:
    return json.loads(json_text(sealed(record)))


def test_round_trip_keeps_every_bit() -> None:
    values = {"AP": 57.123456789012345, "AP50": 1 / 3, "AP75": 5e-324}
    record = make_record(metrics=values, details={"per_class": {"cat": [0.1, 0.2, 3, None, "ü"]}})
    again = parse_record(as_read(record), "x.json")
    assert again == record
    assert {name: metric.value for name, metric in again.metrics.items()} == values
    assert json_text(sealed(again)) == json_text(sealed(record))


def test_id_is_of_weights_task_version_identity_and_seed_alone() -> None:
    base = make_record()
    assert base.id == make_record(ap=1.0, created="2027-01-01T00:00:00+00:00").id
    others = [
        make_record("resnet50.other"),
        make_record(file="other"),
        make_record(seed=1),
        make_record(task="other-det"),
        make_record(task_version=9),
        make_record(identity="other"),
    ]
    assert len({base.id, *(record.id for record in others)}) == 7
    found = record_id(base.weights.key, "voc-det", base.task_version, digest("identity of voc0712"), 0)
    assert found == base.id
    assert len(found) == 16


def test_result_leaves_time_and_machine_out() -> None:
    first, second = make_record(created="2026-01-01T00:00:00+00:00"), make_record()
    assert first != second
    assert first.result() == second.result()
    assert make_record(ap=57.1).result() != second.result()


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.0])
def test_another_schema_is_named(version: Any) -> None:
    with pytest.raises(StoreError, match="schema"):
        parse_record({**as_read(make_record()), "schema_version": version}, "x.json")


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_what_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(StoreError, match=r"x\.json: not a record"):
        parse_record(value, "x.json")


def test_an_edit_is_found_wherever_it_is() -> None:
    def leaves(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        found = []
        for key, inner in items:
            nested = isinstance(inner, dict | list) and inner
            found += leaves(inner, (*place, key)) if nested else [(*place, key)]
        return found

    places = leaves(as_read(make_record()))
    assert ("metrics", "AP", "value") in places
    assert len(places) > 50
    for place in places:
        value = as_read(make_record())
        spot = value
        for key in place[:-1]:
            spot = spot[key]
        spot[place[-1]] = 99
        with pytest.raises(StoreError):
            parse_record(value, "x.json")


def test_a_field_too_many_or_too_few_is_refused_though_the_seal_fits() -> None:
    from bench.core.records import seal

    for change in ({"more": 1}, {"task": None}):
        value = {**as_read(make_record()), **change}
        del value[SEAL]
        value = {key: inner for key, inner in value.items() if inner is not None}
        with pytest.raises(StoreError, match="not a valid record"):
            parse_record({**value, SEAL: seal(value)}, "x.json")


def test_numbers_must_be_finite_and_the_main_metric_there() -> None:
    with pytest.raises(ValidationError):
        make_record(ap=float("nan"))
    with pytest.raises(ValidationError, match="main_metric"):
        make_record(main_metric="mIoU")
