"""The XML reader: nothing but a plain, small document; never another error than ours."""

from __future__ import annotations

import os
import time
from encodings.aliases import aliases
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import DataError, StoreError
from bench.core.safe_xml import MAX_BYTES, MAX_DEPTH, MAX_ELEMENTS, parse_xml, read_xml

LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 9))
REFUSED = {
    "empty": b"",
    "space": b"  \n",
    "text": b"hello",
    "not closed": b"<a><b></a>",
    "cut": b"<annotation><object><name>do",
    "two roots": b"<a/><b/>",
    "after the end": b"<a/>x",
    "equal attributes": b"<a x='1' x='2'/>",
    "control character": b"<a>\x00</a>",
    "bad name": b"<1a/>",
    "binary": bytes(range(256)),
    "not UTF-8": b"<a>\xff\xfe</a>",
    "bare ampersand": b"<a>&</a>",
    "unknown entity": b"<a>&nbsp;</a>",
    "doctype": b"<!DOCTYPE a><a/>",
    "doctype elsewhere": b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
    "own entity": b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
    "outside entity": b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
    "parameter entity": b"<!DOCTYPE a [<!ENTITY % b SYSTEM 'http://127.0.0.1/x'> %b;]><a/>",
    "billion laughs": f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><a>&l8;</a>'.encode(),
    "quadratic": b"<!DOCTYPE a [<!ENTITY b '" + b"x" * 50_000 + b"'>]><a>" + b"&b;" * 50_000 + b"</a>",
    "unknown encoding": b"<?xml version='1.0' encoding='nonsense'?><a/>",
    "encoding of several bytes": "<?xml version='1.0' encoding='shift_jis'?><a>ア</a>".encode("shift_jis"),
    "wrong encoding": b"<?xml version='1.0' encoding='utf-16'?><a/>",
    "one level too deep": b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1),
    "very deep": b"<a>" * 140_000 + b"</a>" * 140_000,
    "very deep, not closed": b"<a>" * 340_000,
    "many elements": b"<a>" + b"<b/>" * MAX_ELEMENTS + b"</a>",
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name_and_soon(case: str) -> None:
    start = time.process_time()
    with pytest.raises(DataError, match=r"^here\.xml: "):
        parse_xml(REFUSED[case], "here.xml")
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"<a>1</a>", "1"),
        (b"<?xml version='1.0'?><!-- note --><a>1<!-- n --></a>\n", "1"),
        ("\ufeff<a>ü</a>".encode(), "ü"),
        ("<?xml version='1.0' encoding='iso-8859-1'?><a>ü</a>".encode("latin1"), "ü"),
        ("<?xml version='1.0' encoding='utf-16'?><a>ü</a>".encode("utf-16"), "ü"),
        (b"<a>&lt;&#65;<![CDATA[<b>]]></a>", "<A<b>"),
    ],
)
def test_plain_documents_are_read(data: bytes, text: str) -> None:
    assert parse_xml(data, "here.xml").text == text


def test_the_limits_themselves_are_allowed() -> None:
    root = parse_xml(b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH, "here.xml")
    assert sum(1 for _ in root.iter()) == MAX_DEPTH
    assert len(parse_xml(b"<a>" + b"<b/>" * (MAX_ELEMENTS - 1) + b"</a>", "here.xml")) == MAX_ELEMENTS - 1


def test_files_are_bounded_before_they_are_read(tmp_path: Path) -> None:
    def write(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    body = b"<a>" + b" " * (MAX_BYTES - 7) + b"</a>"
    assert read_xml(write("fits.xml", body)).tag == "a"
    for path in (write("large.xml", body + b" "), tmp_path / "missing.xml", tmp_path, Path("/dev/zero")):
        with pytest.raises(DataError) as caught:
            read_xml(path)
        assert str(caught.value).startswith(f"{path}: ")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.xml")
    with pytest.raises(DataError, match=r"pipe\.xml"):
        read_xml(tmp_path / "pipe.xml")


def test_the_callers_error_decides_the_exit_code(tmp_path: Path) -> None:
    for data in (b"", b"<!DOCTYPE a><a/>", b"<a>" * 20 + b"</a>" * 20):
        with pytest.raises(StoreError):
            parse_xml(data, "here.xml", error=StoreError)
    with pytest.raises(StoreError):
        read_xml(tmp_path / "missing.xml", error=StoreError)


@pytest.mark.parametrize("letter", ["", "\xe9"])
def test_no_encoding_of_python_is_a_way_in(letter: str) -> None:
    for name in sorted({*aliases, *aliases.values(), "idna", "punycode", "undefined", "unicode_escape"}):
        data = f"<?xml version='1.0' encoding='{name}'?><a>{letter}</a>".encode("latin1")
        only_data_errors(data)


def only_data_errors(data: bytes) -> None:
    try:
        root = parse_xml(data, "here.xml")
    except DataError as error:
        assert str(error).startswith("here.xml: ")  # noqa: PT017
    else:
        assert sum(1 for _ in root.iter()) <= MAX_ELEMENTS


@settings(max_examples=150, deadline=2000)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_document_or_a_data_error(data: bytes) -> None:
    only_data_errors(data)


PARTS = [
    b"<a>",
    b"</a>",
    b"<a x='1'",
    b">",
    b"&lt;",
    b"&b;",
    b"<!--",
    b"-->",
    b"<![CDATA[",
    b"]]>",
    b"<?p ?>",
]
PARTS += [
    b"<?p ?>",
    b"<!DOCTYPE a [",
    b"<!ENTITY b 'c'>",
    b"]>",
    b"\xff",
    b"\x00",
    b"1",
    b"<?xml version='1.0'?>",
]


@settings(max_examples=300, deadline=2000)
@given(st.lists(st.sampled_from(PARTS), max_size=25).map(b"".join))
def test_any_sequence_of_its_parts_is_a_document_or_a_data_error(data: bytes) -> None:
    only_data_errors(data)
