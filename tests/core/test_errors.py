"""Errors: exit codes that scripts rely on, many problems in one, near names."""

from __future__ import annotations

import random
import string

import pytest

from bench.core import errors
from bench.core.errors import BenchError, did_you_mean

EXIT_CODES = {
    "BenchError": 1,
    "UsageError": 2,
    "ConfigError": 3,
    "DataError": 4,
    "WeightsError": 5,
    "CheckpointError": 5,
    "EngineError": 6,
    "DivergedError": 7,
    "StoreError": 8,
    "DiskError": 9,
    "Stopped": 75,
}
NAMES = ["iterations", "images_per_batch", "learning_rate", "steps", "gamma", "warmup_factor", "momentum"]


def error_classes() -> dict[str, type[BenchError]]:
    found = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    return {name: value for name, value in found.items() if issubclass(value, BenchError)}


def test_every_class_has_the_exit_code_of_the_documentation() -> None:
    assert {name: value.exit_code for name, value in error_classes().items()} == EXIT_CODES


@pytest.mark.parametrize(("num", "num_lines"), [(1, 1), (20, 20), (21, 21), (5011, 21)])
def test_up_to_twenty_problems_then_a_count(num: int, num_lines: int) -> None:
    text = str(errors.DataError.of([f"file {index}: bad" for index in range(num)]))
    assert len(text.splitlines()) == num_lines
    assert text.startswith("file 0: bad")
    if num > 20:
        assert f"{num - 20:,} more" in text.splitlines()[-1]
        assert "file 20: bad" not in text


def test_many_problems_keep_the_class_and_end_in_the_hint() -> None:
    error = errors.DataError.of(["a: bad"] * 30, hint="Mend them.")
    assert type(error) is errors.DataError
    assert str(error).splitlines()[-1] == "Mend them."
    assert error.problems == ("a: bad",) * 30
    assert errors.DataError("one").problems == ("one",)


def edited(name: str, num: int, draw: random.Random) -> str:
    for _ in range(num):
        place, letter = draw.randrange(len(name)), draw.choice(string.ascii_lowercase + "_")
        left, right = name[:place], name[place + 1 :]
        name = draw.choice([left + right, left + letter + right, left + letter + name[place:]])
    return name


def test_every_name_within_two_edits_is_suggested() -> None:
    draw = random.Random(0)
    for _ in range(2000):
        name = draw.choice(NAMES)
        typo = edited(name, draw.choice([1, 2]), draw)
        if typo not in NAMES:
            assert f'"{name}"' in did_you_mean(typo, NAMES), typo


def test_of_two_near_names_the_nearer_one() -> None:
    assert '"rpn_post_nms_test"' in did_you_mean(
        "rpn_post_nms_tst", ["rpn_pre_nms_test", "rpn_post_nms_test"]
    )
    assert '"task"' in did_you_mean("taks", ["slug", "task"])


@pytest.mark.parametrize("name", ["zzzzzzzz", "", "x", "x" * 100_000])
def test_nothing_is_suggested_where_nothing_is_near(name: str) -> None:
    assert did_you_mean(name, NAMES) == ""
    assert did_you_mean(name, []) == ""
