"""Configs: every fault is one line with file and key, all at once, and nothing is converted in silence."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from bench.core.config import MAX_BYTES, Section, find_config, load_config, read_toml
from bench.core.errors import ConfigError, UsageError


class Solver(Section):
    iterations: Annotated[int, Field(ge=1, le=1000)]
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)]
    steps: tuple[int, ...]
    nesterov: bool
    precision: Literal["fp32", "bf16"] = "fp32"

    @model_validator(mode="after")
    def _steps_fit(self) -> Solver:
        if any(step >= self.iterations for step in self.steps):
            raise ValueError("steps must lie below iterations")
        return self


class Example(Section):
    title: str
    num_classes: Annotated[int, Field(ge=2)]
    solver: Solver


GOOD = """\
title = "an example"
num_classes = 20

[solver]
iterations = 100
learning_rate = 0.1
steps = [50, 75]
nesterov = true
"""


def line(old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


ITERATIONS, RATE, STEPS = "iterations = 100", "learning_rate = 0.1", "steps = [50, 75]"

BAD_VALUES: dict[str, tuple[str, str]] = {
    "text for a number": (line(ITERATIONS, 'iterations = "100"'), "iterations"),
    "fraction for a count": (line(ITERATIONS, "iterations = 100.5"), "iterations"),
    "whole fraction for a count": (line(ITERATIONS, "iterations = 100.0"), "iterations"),
    "truth for a count": (line(ITERATIONS, "iterations = true"), "iterations"),
    "list for a count": (line(ITERATIONS, "iterations = [100]"), "iterations"),
    "table for a count": (line(ITERATIONS, "iterations = { a = 1 }"), "iterations"),
    "zero": (line(ITERATIONS, "iterations = 0"), "iterations"),
    "negative": (line(ITERATIONS, "iterations = -1"), "iterations"),
    "above the range": (line(ITERATIONS, "iterations = 1001"), "iterations"),
    "64 bits": (line(ITERATIONS, f"iterations = {2**63}"), "iterations"),
    "6000 digits in hex": (line(ITERATIONS, f"iterations = 0x{'f' * 5000}"), "iterations"),
    "text for a rate": (line(RATE, 'learning_rate = "0.1"'), "learning_rate"),
    "truth for a rate": (line(RATE, "learning_rate = true"), "learning_rate"),
    "nan": (line(RATE, "learning_rate = nan"), "learning_rate"),
    "infinity": (line(RATE, "learning_rate = inf"), "learning_rate"),
    "minus infinity": (line(RATE, "learning_rate = -inf"), "learning_rate"),
    "overflow": (line(RATE, "learning_rate = 1e999"), "learning_rate"),
    "rate of zero": (line(RATE, "learning_rate = 0"), "learning_rate"),
    "rate too high": (line(RATE, "learning_rate = 10.1"), "learning_rate"),
    "nan in a list": (line(STEPS, "steps = [50, nan]"), "steps[1]"),
    "fraction in a list": (line(STEPS, "steps = [50, 7.5]"), "steps"),
    "text in a list": (line(STEPS, 'steps = [50, "75"]'), "steps"),
    "list in a list": (line(STEPS, "steps = [[50]]"), "steps"),
    "number for a list": (line(STEPS, "steps = 50"), "steps"),
    "steps beyond the end": (line(STEPS, "steps = [50, 100]"), "solver"),
    "number for truth": (line("nesterov = true", "nesterov = 1"), "nesterov"),
    "text for truth": (line("nesterov = true", 'nesterov = "true"'), "nesterov"),
    "number for text": (line('title = "an example"', "title = 3"), "title"),
    "date for text": (line('title = "an example"', "title = 2020-01-01"), "title"),
    "time for text": (line('title = "an example"', "title = 12:30:45"), "title"),
    "list for text": (line('title = "an example"', 'title = ["a"]'), "title"),
    "value for a table": ('title = "a"\nnum_classes = 20\nsolver = 3\n', "solver"),
    "list of tables": (line("[solver]", "[[solver]]"), "solver"),
    "no such choice": (GOOD + 'precision = "fp8"\n', "precision"),
    "choice in capitals": (GOOD + 'precision = "FP32"\n', "precision"),
    "below the range": (line("num_classes = 20", "num_classes = 1"), "num_classes"),
    "unknown key": (GOOD + "warmup = 3\n", "warmup"),
    "unknown table": (GOOD + "[model]\na = 1\n", "model"),
    "key of the table above": (line("[solver]", "iterations = 3\n[solver]"), "iterations"),
    "capital letter": (line(ITERATIONS, "Iterations = 100"), "Iterations"),
    "hyphen": (line("learning_rate", "learning-rate"), "learning-rate"),
    "space in a key": (line(RATE, '"learning rate" = 0.1'), "learning rate"),
    "missing value": (line(RATE, ""), "learning_rate"),
    "missing table": ('title = "a"\nnum_classes = 20\n', "solver"),
    "empty": ("", "title"),
    "comments alone": ("# nothing\n", "title"),
    "long text": (line("nesterov = true", f'nesterov = "{"x" * 50_000}"'), "nesterov"),
    "terminal codes in a key": (GOOD + '"\\u001b[31mred" = 1\n', "red"),
    "line break in a key": (GOOD + '"a\\nb" = 1\n', "a\\nb"),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_a_bad_value_names_file_and_key(tmp_path: Path, case: str) -> None:
    text, key = BAD_VALUES[case]
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(Example, path)
    message = str(caught.value)
    assert all(part.startswith(f"{path}: ") for part in message.splitlines())
    assert all(part.isprintable() and len(part) < 400 for part in message.splitlines())
    assert key in message


BAD_FILES: dict[str, bytes] = {
    "yaml": b"solver:\n  iterations: 100\n",
    "json": b'{"title": "a"}',
    "ini": b"[solver]\niterations: 3\n",
    "python": b"title = dict(a=1)\n",
    "binary": bytes(range(256)) * 4,
    "zip": b"PK\x03\x04" + b"\x00" * 100,
    "nul": GOOD.encode() + b"\x00",
    "byte order mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "utf-16": GOOD.encode("utf-16"),
    "utf-16 without a mark": GOOD.encode("utf-16-le"),
    "latin-1": 'title = "ü"'.encode("latin1"),
    "two megabytes": b"# " + b"x" * (2 << 20),
    "one byte too many": GOOD.encode() + b"#" * (MAX_BYTES + 1 - len(GOOD)),
    "equal keys": GOOD.encode() + b"nesterov = false\n",
    "equal tables": GOOD.encode() + b"[solver]\n",
    "table and value": b"solver = 1\n[solver]\n",
    "no value": b"title =\n",
    "no sign": b"title\n",
    "bare word": b"title = hello\n",
    "open text": b'title = "hello\n',
    "open list": b"steps = [1, 2\n",
    "number like .1": b"learning_rate = .1\n",
    "python truth": b"nesterov = True\n",
    "none": b"title = null\n",
    "two on a line": b"a = 1 b = 2\n",
    "5000 digits": b"num_classes = " + b"1" * 5000 + b"\n",
    "deep list": b"a = " + b"[" * 20_000 + b"]" * 20_000 + b"\n",
    "deep tables": b"a = " + b"{a = " * 9000 + b"1" + b"}" * 9000 + b"\n",
    "deep key": b"a" + b".a" * 30_000 + b" = 1\n",
    "deep header": b"[a" + b".a" * 30_000 + b"]\n",
    "deep key, a little": b"a" + b".a" * 90 + b" = 1\n",
    "thousands of unknown keys": b"\n".join(b"key%d = 1" % index for index in range(5000)),
    "thousands of tables": b"\n".join(b"[a%d.b.c.d]" % index for index in range(4000)),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_named_soon_and_briefly(tmp_path: Path, case: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(BAD_FILES[case])
    start = time.process_time()
    with pytest.raises(ConfigError) as caught:
        load_config(Example, path)
    assert time.process_time() - start < 10
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) <= 21


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("missing", "pipe", "loop", ".", "x" * 300):
        with pytest.raises(ConfigError) as caught:
            load_config(Example, tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
    with pytest.raises(ConfigError, match="/dev/zero"):
        read_toml(Path("/dev/zero"))


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.toml"
    path.write_text(GOOD)
    return path


def test_a_good_file(good: Path) -> None:
    solver = Solver(iterations=100, learning_rate=0.1, steps=(50, 75), nesterov=True)
    assert load_config(Example, good) == Example(title="an example", num_classes=20, solver=solver)
    good.write_text(line(RATE, "learning_rate = 1"))
    assert load_config(Example, good).solver.learning_rate == 1.0, "a whole number is a number"
    with pytest.raises(ValidationError):
        solver.iterations = 3  # type: ignore[misc]


@pytest.mark.parametrize("typo", ["iteration", "itertions", "iterationss", "iteratinos", "iterat1ons"])
def test_near_names_are_suggested_where_they_belong(good: Path, typo: str) -> None:
    good.write_text(line(ITERATIONS, f"{typo} = 100"))
    with pytest.raises(ConfigError, match=rf'\[solver\] {typo}: unknown key\. Did you mean "iterations"'):
        load_config(Example, good)


def test_all_faults_at_once(good: Path) -> None:
    good.write_text(line(ITERATIONS, "iterations = 0\nwrong = 1").replace("0.1", "-1").replace("20", "1"))
    with pytest.raises(ConfigError) as caught:
        load_config(Example, good)
    assert len(str(caught.value).splitlines()) == 4


OVERRIDES: list[tuple[str, str, Any]] = [
    ("solver.iterations=200", "iterations", 200),
    (" solver . iterations = 200 ", "iterations", 200),
    ("solver.learning_rate=1e-4", "learning_rate", 1e-4),
    ("solver.steps=[1,2]", "steps", (1, 2)),
    ("solver.steps=[]", "steps", ()),
    ("solver.nesterov=false", "nesterov", False),
    ("solver.precision=bf16", "precision", "bf16"),
    ("solver.precision='bf16'", "precision", "bf16"),
]


@pytest.mark.parametrize(("override", "key", "value"), OVERRIDES)
def test_an_override_is_applied(good: Path, override: str, key: str, value: Any) -> None:
    assert getattr(load_config(Example, good, [override]).solver, key) == value
    assert load_config(Example, good, ["solver.iterations=90", override, "title=a=b"]).title == "a=b"


BAD_OVERRIDES = {
    "": "expected",
    "=": "expected",
    "=3": "expected",
    "solver": "expected",
    "solver.iterations": "expected",
    "solver.iterations=": "expected",
    "solver..iterations=3": "expected",
    ".iterations=3": "expected",
    "solver.\udcff=3": "expected",
    "title=\udcff": "UTF-8",
    "title.x=3": "title",
    "solver.iterations.x=3": "iterations",
    "solver=3": "solver",
    "solver.iterations=1.5": "iterations",
    "solver.iterations=many": "iterations",
    "solver.iterations=0": "iterations",
    "solver.iteration=3": 'Did you mean "iterations"',
    "solvr.iterations=3": 'Did you mean "solver"',
    "solver.learning_rate=nan": "nan",
    "solver.learning_rate=1e999": "inf",
    "solver.steps=[nan]": "nan",
    "solver.steps={a=[inf]}": "inf",
    "title=2020-01-01": "date",
    "solver.iterations=3\nother=4": "one value",
    "solver.iterations=" + "1" * 5000: "iterations",
    "solver.iterations=0x" + "f" * 5000: "64 bits",
    "solver.steps=" + "[" * 5000: "steps",
    "a" + ".a" * 5000 + "=1": "dots",
}


@pytest.mark.parametrize(("override", "words"), BAD_OVERRIDES.items(), ids=lambda text: text[:30])
def test_a_bad_override_is_a_config_error(good: Path, override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(Example, good, [override])
    assert words in str(caught.value)
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


def test_finding_a_config(good: Path) -> None:
    assert find_config(good.parent, "good") == good
    with pytest.raises(ConfigError, match='Did you mean "good"'):
        find_config(good.parent, "god")
    for slug in ("", "../good", "x" * 300, "a\0b"):
        with pytest.raises(UsageError):
            find_config(good.parent / "none", slug, error=UsageError)


def only_config_errors(path: Path, overrides: list[str]) -> None:
    try:
        load_config(Example, path, overrides)
    except ConfigError as error:
        assert str(error)  # noqa: PT017


PARTS = [
    "title",
    "solver",
    "iterations",
    ".",
    "=",
    " = ",
    "\n",
    "[",
    "]",
    "[[",
    "{",
    "}",
    '"',
    "'",
    '"""',
    ",",
]
PARTS += [
    "1",
    "0.1",
    "-",
    "_",
    "nan",
    "inf",
    "true",
    "1979-05-27",
    "07:32:00",
    "#",
    "\\",
    "\\u00e9",
    "\x00",
    "é",
]
TEXTS = st.text(max_size=200) | st.lists(st.sampled_from(PARTS), max_size=40).map("".join)


@settings(max_examples=300, deadline=2000)
@given(TEXTS | st.sampled_from([GOOD]).flatmap(lambda text: TEXTS.map(lambda more: text + more)))
def test_any_text_is_a_config_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    only_config_errors(path, [])


@settings(max_examples=200, deadline=2000)
@given(
    st.lists(TEXTS | st.tuples(st.sampled_from(["title=", "solver.steps="]), TEXTS).map("".join), max_size=3)
)
def test_any_override_is_applied_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, overrides: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "good.toml"
    path.write_text(GOOD)
    only_config_errors(path, overrides)
