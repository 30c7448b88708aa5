"""Identity: every field that counts moves it, nothing else does."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from bench.core.config import Section, check_config
from bench.core.protocol import differences, identity, not_in_identity, number_changing


class Inner(Section):
    rate: float = 0.5
    steps: tuple[int, ...] = (1, 2)
    workers: int = not_in_identity(4, ge=0)


class Outer(Section):
    name: str = "a"
    flip: bool = True
    limit: int | None = None
    inner: Inner = Inner()
    run: Inner = not_in_identity(Inner())
    noted: int = Field(default=1, json_schema_extra={"unit": "px"})


GOLDEN = "3e38c7bb4c5279f971ddf825bf890ef6f64805079ff924f902b4bb69ed84d1d3"
PLACE: dict[str, Any] = {
    "task": "voc-det",
    "task_version": 1,
    "data_fingerprint": "f" * 64,
    "split_counts": {"train": 3, "test": 2},
}


def of(config: Section, **changes: Any) -> str:
    return identity(number_changing(config), **{**PLACE, **changes})


def test_only_what_counts_is_in_the_fields() -> None:
    assert number_changing(Outer()) == {
        "name": "a",
        "flip": True,
        "limit": None,
        "inner": {"rate": 0.5, "steps": [1, 2]},
        "noted": 1,
    }


COUNTING: list[dict[str, Any]] = [
    {"name": "b"},
    {"flip": False},
    {"limit": 0},
    {"noted": 2},
    {"inner": {"rate": 0.5000000000000001}},
    {"inner": {"steps": [2, 1]}},
    {"inner": {"steps": [1]}},
]


def test_every_counting_field_moves_it() -> None:
    changed = [of(check_config(Outer, values, "x")) for values in COUNTING]
    assert len({of(Outer()), *changed}) == len(COUNTING) + 1


@pytest.mark.parametrize("values", [{"inner": {"workers": 9}}, {"run": {"rate": 0.1, "steps": [9]}}])
def test_marked_fields_do_not(values: dict[str, Any]) -> None:
    config = check_config(Outer, values, "x")
    assert config != Outer()
    assert of(config) == of(Outer())


def test_constraints_of_a_marked_field_still_hold() -> None:
    with pytest.raises(ValueError):
        Inner(workers=-1)


@pytest.mark.parametrize(
    "change",
    [
        {"task": "coco-det"},
        {"task_version": 2},
        {"data_fingerprint": "e" * 64},
        {"split_counts": {"train": 3, "test": 3}},
        {"split_counts": {"train": 3}},
    ],
)
def test_task_version_and_data_move_it(change: dict[str, Any]) -> None:
    assert of(Outer(), **change) != of(Outer())


def test_the_order_of_keys_and_the_way_a_number_is_written_do_not() -> None:
    fields = number_changing(Outer())
    backwards = dict(reversed(fields.items()))
    assert identity(backwards, **PLACE) == identity(fields, **PLACE)
    written = [check_config(Inner, {"rate": value}, "x") for value in (1, 1.0)]
    assert of(written[0]) == of(written[1])


def test_it_is_what_it_was() -> None:
    assert of(Outer()) == GOLDEN, "records of other versions would stand apart"


def test_a_number_that_is_none_is_our_own_fault() -> None:
    with pytest.raises(ValueError):
        identity({"rate": float("nan")}, **PLACE)


def test_differences_name_each_field() -> None:
    now = {"a": 1, "b": {"c": [1], "d": "x"}, "new": True}
    then = {"a": 1, "b": {"c": [2], "d": "y"}, "old": 3}
    lines = differences(now, then)
    assert [line.partition(":")[0] for line in lines] == ["b.c", "b.d", "new", "old"]
    assert lines[0] == "b.c: [1] (protocol: [2])"
    assert differences(now, now) == []
