"""The JSON reader: strict where the standard one is not; never another error than ours."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import DataError, StoreError
from bench.core.safe_json import MAX_DEPTH, parse_json, read_json

REFUSED = {
    "empty": "",
    "space": " \n",
    "word": "hello",
    "nan": "NaN",
    "nan inside": '{"a": [1, NaN]}',
    "infinity": "Infinity",
    "minus infinity": "[-Infinity]",
    "too large": "1e999",
    "too small": "[-1e400]",
    "large in digits": "1" * 400 + ".0",
    "too many digits": "9" * 5000,
    "equal keys": '{"a": 1, "a": 1}',
    "equal keys deep inside": '[{"b": {"a": 1, "c": 2, "a": 3}}]',
    "keys that are equal when read": '{"a": 1, "\\u0061": 2}',
    "single quotes": "{'a': 1}",
    "comment": '{"a": 1} // x',
    "last comma": "[1, 2,]",
    "two values": "1 2",
    "cut": '{"images": [{"id": 1',
    "open text": '"abc',
    "control character": '"a\nb"',
    "bad escape": '"\\x41"',
    "leading zero": "01",
    "plus": "+1",
    "byte order mark": "\ufeff1",
    "one level too deep": "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
    "objects too deep": '{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1),
    "very deep": "[" * 500_000 + "]" * 500_000,
    "very deep, not closed": '[{"a":' * 200_000,
    "a late equal key among many": "{" + ",".join(f'"{i}":1' for i in range(100_000)) + ',"99999":1}',
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name_and_soon(case: str) -> None:
    start = time.process_time()
    with pytest.raises(DataError, match=r"^here\.json: ") as caught:
        parse_json(REFUSED[case], "here.json")
    assert time.process_time() - start < 5
    assert len(str(caught.value)) < 300


def test_the_place_is_named() -> None:
    with pytest.raises(DataError, match="line 3, column 4"):
        parse_json('{\n"a": 1,\n   b}', "here.json")
    with pytest.raises(DataError, match="'twice'"):
        parse_json('{"once": 1, "twice": 1, "twice": 2}', "here.json")


def test_depth_is_of_brackets_and_not_of_text() -> None:
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH, "here.json") != []
    for text in ("[" * 1000, '\\"[{' * 100, "\\\\", '\\\\\\"[' * 50):
        assert parse_json(json.dumps([text]), "here.json") == [text]
    assert len(parse_json("[" + ",".join(["[]"] * 1000) + "]", "here.json")) == 1000
    with pytest.raises(DataError, match="deep"):
        parse_json('["\\\\", ' + "[" * 100 + "]" * 101, "here.json")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"ü": 1}', encoding="utf-8")
    assert read_json(path) == {"ü": 1}
    assert read_json(path, max_bytes=path.stat().st_size) == {"ü": 1}
    os.mkfifo(tmp_path / "pipe")
    for bad in (tmp_path / "missing", tmp_path, tmp_path / "pipe", Path("/dev/zero"), path / "x"):
        with pytest.raises(DataError) as caught:
            read_json(bad)
        assert str(caught.value).startswith(f"{bad}: ")
    with pytest.raises(DataError, match="at most 3"):
        read_json(path, max_bytes=3)


@pytest.mark.parametrize("data", [b"\xff", b'"\xc3"', "1".encode("utf-16"), b"\xed\xa0\x80"])
def test_other_encodings_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(DataError, match="UTF-8"):
        read_json(tmp_path / "x.json")


def test_the_callers_error_decides_the_exit_code(tmp_path: Path) -> None:
    for text in ("", "NaN", "1e999", '{"a":1,"a":1}', "[" * 100, "9" * 5000):
        with pytest.raises(StoreError):
            parse_json(text, "here.json", error=StoreError)
    with pytest.raises(StoreError):
        read_json(tmp_path / "missing", error=StoreError)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150, deadline=2000)
@given(VALUES, st.booleans())
def test_what_was_written_is_read(value: Any, ascii_only: bool) -> None:
    found = parse_json(json.dumps(value, ensure_ascii=ascii_only), "here.json")
    assert found == value
    assert repr(found) == repr(value), "also -0.0, and 1 is not 1.0"


PARTS = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    '"a"',
    "\\",
    "1",
    "-",
    ".",
    "e9",
    "9" * 300,
    "NaN",
    "true",
    "null",
]


@settings(max_examples=300, deadline=2000)
@given(st.text(max_size=200) | st.lists(st.sampled_from(PARTS), max_size=60).map("".join))
def test_any_text_is_a_value_or_a_data_error(text: str) -> None:
    try:
        value = parse_json(text, "here.json")
    except DataError as error:
        assert str(error).startswith("here.json: ")  # noqa: PT017
    else:
        assert value == json.loads(text), "what is read is what the standard reader finds"


@settings(max_examples=100, deadline=2000)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(data)
    try:
        read_json(path)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017


def test_a_string_that_does_not_end_takes_no_time() -> None:
    """From each of its quotes on there is no end, and to look for one from each would be quadratic."""
    text = "[" + "[]," * MAX_DEPTH + '"' + '\\"' * 200_000
    start = time.process_time()
    with pytest.raises(DataError):
        parse_json(text, "here")
    assert time.process_time() - start < 1
