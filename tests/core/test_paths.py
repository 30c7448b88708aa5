"""Names that came from files stay in their folder; file names fit everywhere; no device is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import DataError, StoreError
from bench.core.paths import CONFIGS, PUBLISHED, as_text, file_size, inside, safe_name

LEAVING = [
    "",
    "/",
    "/etc/passwd",
    "//etc/passwd",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    "a/../b",
    "..\\x",
    "a\\b",
    "C:\\x",
    "x\0",
    "x\0.jpg",
    "a\nb",
    "a\rb",
    "a\tb",
    "\x1b[31m",
    "\u202egpj",
    "\ud800",
    "\x7f",
]
PLAIN = [
    "a",
    "a.jpg",
    "a/b/c.jpg",
    "a b",
    "ä/ü.jpg",
    "...",
    "..a",
    "a..",
    "~",
    "-rf",
    "a'b\"c",
    "%2e%2e",
    "./a",
]


@pytest.mark.parametrize("name", LEAVING)
def test_a_name_that_would_leave_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        inside(tmp_path, name)
    assert str(tmp_path) in str(caught.value)
    assert str(caught.value).isprintable(), "what was found is shown, not sent to the terminal"


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_name_is_joined(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name) == tmp_path / name


def test_links_may_not_lead_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "real").mkdir()
    (root / "within").symlink_to(root / "real")
    (root / "out").symlink_to(tmp_path)
    (root / "up").symlink_to("..")
    (root / "file").symlink_to("/etc/hostname")
    (root / "chain").symlink_to(root / "out")
    assert inside(root, "within/x") == root / "within/x"
    for name in ("out", "out/x", "up", "up/x", "file", "chain/x", "within/../out/x"):
        with pytest.raises(DataError):
            inside(root, name)


def test_a_sibling_that_starts_alike_is_outside(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data-secret").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "data-secret")
    with pytest.raises(DataError):
        inside(tmp_path / "data", "link")


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to("real")
    assert inside(tmp_path / "root", "a/b") == tmp_path / "root/a/b"


@pytest.mark.parametrize("name", ["loop", "loop/x", "ping"])
def test_a_circle_of_links_is_no_crash(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "ping").symlink_to(tmp_path / "pong")
    (tmp_path / "pong").symlink_to(tmp_path / "ping")
    try:
        found = inside(tmp_path, name)
    except DataError:
        return
    assert not found.exists()  # from Python 3.13 on it resolves to itself; then it cannot be opened


def test_the_callers_error_decides_the_exit_code(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        inside(tmp_path, "../x", error=StoreError)
    with pytest.raises(StoreError, match="--name"):
        safe_name("../x", "--name", error=StoreError)


@settings(max_examples=300)
@given(st.text(st.sampled_from("./\\a\0~ \n-"), max_size=12) | st.text(max_size=300))
def test_any_name_stays_inside_or_is_a_data_error(name: str) -> None:
    root = Path("/no such root/data")
    try:
        path = inside(root, name)
    except DataError:
        return
    assert Path(os.path.normpath(path)).is_relative_to(root)


@given(st.text(max_size=300))
def test_a_safe_name_is_one_plain_part(name: str) -> None:
    try:
        assert safe_name(name, "name") == name
    except DataError:
        return
    assert Path(name).name == name
    assert name.isascii()
    assert name[0].isalnum()
    assert len(name) <= 200


@pytest.mark.parametrize("name", ["resnet50.moco_v2_ep200", "a", "A+b-c.1", "x" * 200])
def test_names_of_ours_are_safe(name: str) -> None:
    assert safe_name(name, "name") == name


@pytest.mark.parametrize("name", ["", ".", "..", ".x", "-x", "_x", "a b", "a/b", "a\n", "ä", "x" * 201])
def test_names_that_are_not(name: str) -> None:
    with pytest.raises(DataError):
        safe_name(name, "name")


def test_only_regular_files_have_a_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    os.mkfifo(tmp_path / "pipe")
    assert file_size(tmp_path / "file") == 5
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero"), tmp_path / "missing"):
        with pytest.raises(OSError) as caught:
            file_size(path)
        assert caught.value.strerror


def test_the_folders_of_the_project_are_there() -> None:
    assert (CONFIGS / "transfer").is_dir()
    assert (PUBLISHED / "results.csv").is_file()


def test_a_name_of_stray_bytes_can_be_written() -> None:
    assert as_text(os.fsdecode(b"b\xffd \xc3\xa4")) == "b\\xffd ä"
