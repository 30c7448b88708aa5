"""The one writer, when all goes well and when the place is wrong; kills and full disks: tests/faults."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core import atomic
from bench.core.errors import DiskError
from tests.faults import rig


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_write_makes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    for data in (b"first, and longer", b"second", b""):
        atomic.write_bytes(path, data)
        assert path.read_bytes() == data
    assert everything(tmp_path) == {"a", "a/b", "a/b/file"}


def test_create_never_replaces(tmp_path: Path) -> None:
    atomic.create_bytes(tmp_path / "file", b"first")
    with pytest.raises(FileExistsError):
        atomic.create_bytes(tmp_path / "file", b"second")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        atomic.create_bytes(tmp_path / "link", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert everything(tmp_path) == {"file", "link"}


def test_a_finished_file_is_moved_in(tmp_path: Path) -> None:
    for data in (b"first", b"second"):
        (tmp_path / "arrived").write_bytes(data)
        atomic.move_in(tmp_path / "arrived", tmp_path / "file")
        assert everything(tmp_path) == {"file"}
        assert (tmp_path / "file").read_bytes() == data
    (tmp_path / "arrived").write_bytes(b"third")
    (tmp_path / "folder" / "full").mkdir(parents=True)
    for place in ("folder", "file/x", "missing/x"):
        with pytest.raises(DiskError, match=place):
            atomic.move_in(tmp_path / "arrived", tmp_path / place)
    assert (tmp_path / "arrived").read_bytes() == b"third"
    assert (tmp_path / "file").read_bytes() == b"second"


SET = ("card", "config", "weights")
OLD = {name: b"old " * 1000 + name.encode() for name in SET}
NEW = {name: b"new " * 2000 + name.encode() for name in SET}


def contents(folder: Path) -> dict[str, bytes]:
    """What a reader finds: temporary names are none of his."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def write_set(folder: Path) -> None:
    atomic.write_files({folder / name: data for name, data in NEW.items()})


def prepare_set(folder: Path, there: tuple[str, ...]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name in there:
        atomic.write_bytes(folder / name, OLD[name])


@pytest.mark.parametrize("there", [(), ("weights",), ("card", "weights"), SET])
def test_several_files_are_written_and_replaced(tmp_path: Path, there: tuple[str, ...]) -> None:
    prepare_set(tmp_path / "a" / "b", there)
    write_set(tmp_path / "a" / "b")
    assert contents(tmp_path / "a" / "b") == NEW
    assert everything(tmp_path) == {"a", "a/b", *(f"a/b/{name}" for name in SET)}


@pytest.mark.parametrize("there", [(), ("weights",), SET])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_of_several_files_all_change_or_none(
    tmp_path: Path, there: tuple[str, ...], error: BaseException
) -> None:
    folder = tmp_path / "place"
    before = {name: OLD[name] for name in there}
    for point in range(1000):
        prepare_set(folder, there)
        calls: list[str] = []

        def fail(call: str, point: int = point, calls: list[str] = calls) -> None:
            if call in rig.MAY_BE_FULL:
                calls.append(call)
                if len(calls) == point + 1:
                    raise error

        try:
            with rig.hooked(fail):
                write_set(folder)
        except (DiskError, KeyboardInterrupt):
            found = contents(folder) if folder.exists() else {}
            # A key pressed after the last rename comes too late.
            assert found == before or (found == NEW and isinstance(error, KeyboardInterrupt)), calls
            if found == before:
                assert everything(tmp_path) == (
                    {"place", *(f"place/{name}" for name in there)} if there else set()
                )
        else:
            assert contents(folder) == NEW, f"the failure of {calls[point:]} was not told"
        if len(calls) <= point:
            assert point >= 15
            return
    pytest.fail("the work does not end")


@pytest.mark.parametrize(
    "there",
    [
        pytest.param((), marks=pytest.mark.slow),
        pytest.param(("card", "weights"), marks=pytest.mark.slow),
        SET,
    ],
)
def test_the_last_of_several_files_is_never_there_beside_others(
    tmp_path: Path, there: tuple[str, ...]
) -> None:
    """Killed at any call: the old set, the new one, or no weights; and the old ones are not lost."""
    folder = tmp_path / "place"
    before = {name: OLD[name] for name in there}

    def look() -> str:
        found = contents(folder) if folder.exists() else {}
        if found == NEW:
            return "new"
        kept = {path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        if not set(before.values()) <= kept:
            return "lost"
        return "old" if found == before else "mixed" if "weights" in found else "without"

    states = rig.crash_points(lambda: prepare_set(folder, there), lambda: write_set(folder), look)
    assert set(states) == {"old", "without", "new"}
    assert [state for state, last in zip(states, ["", *states], strict=False) if state != last] == [
        "old", "without", "new",
    ]  # fmt: skip


def test_several_files_and_wrong_places(tmp_path: Path) -> None:
    (tmp_path / "config" / "full").mkdir(parents=True)
    atomic.write_bytes(tmp_path / "weights", b"mine")
    with pytest.raises(DiskError, match="config"):
        write_set(tmp_path)
    with pytest.raises(DiskError, match="weights"):
        write_set(tmp_path / "weights")
    with pytest.raises(DiskError, match="too long"):
        atomic.write_files({tmp_path / "a": b"1", tmp_path / ("x" * 300): b"2"})
    assert everything(tmp_path) == {"config", "config/full", "weights"}
    with pytest.raises(ValueError, match="unpack"):
        atomic.write_files({tmp_path / "a": b"1", tmp_path / "b" / "a": b"2"})


def test_of_several_files_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "weights").symlink_to("mine")
    (tmp_path / "card").symlink_to("nowhere")
    write_set(tmp_path)
    assert contents(tmp_path) == NEW | {"mine": b"mine"}
    assert not (tmp_path / "weights").is_symlink()


def test_a_folder_for_what_fails_goes_again(tmp_path: Path) -> None:
    def work(put: str) -> None:
        with atomic.folder_for(tmp_path / "a" / "b" / "c"):
            if put:
                atomic.write_bytes(tmp_path / put, b"x")
            raise KeyboardInterrupt

    (tmp_path / "a").mkdir()
    for put, left in (("", {"a"}), ("a/b/x", {"a", "a/b", "a/b/x"})):
        with pytest.raises(KeyboardInterrupt):
            work(put)
        assert everything(tmp_path) == left
    with atomic.folder_for(tmp_path / "d"):
        pass
    assert everything(tmp_path) == {"a", "a/b", "a/b/x", "d"}


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_create_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def no_links(*_args: object, **_more: object) -> None:
        raise OSError(code, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    atomic.create_bytes(tmp_path / "file", b"first")
    with pytest.raises(FileExistsError):
        atomic.create_bytes(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert everything(tmp_path) == {"file"}


@pytest.mark.parametrize("links", [True, False])
def test_of_many_writers_at_once_one_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", _refuse)
    won: list[bytes] = []
    start = threading.Barrier(8)

    def write(data: bytes) -> None:
        start.wait()
        try:
            atomic.create_bytes(tmp_path / "file", data)
        except FileExistsError:
            return
        won.append(data)

    threads = [threading.Thread(target=write, args=(bytes([65 + index]) * 100_000,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert (tmp_path / "file").read_bytes() == won[0]


def _refuse(*_args: object, **_more: object) -> None:
    raise OSError(errno.EPERM, "no links here")


def test_files_and_folders_are_as_readable_as_the_user_wishes(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic.write_bytes(tmp_path / "file", b"")
        atomic.create_bytes(tmp_path / "new", b"")
        with atomic.new_folder(tmp_path / "folder"):
            pass
        assert os.umask(0o027) == 0o027, "the umask is as it was"
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "new", "folder")]
    assert modes == [0o640, 0o640, 0o750]


def test_text_and_json(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "text", "ü\n")
    assert (tmp_path / "text").read_bytes() == b"\xc3\xbc\n"
    text = atomic.json_text({"b": 0.1, "a": [1, None, "ü"]})
    assert json.loads(text) == {"a": [1, None, "ü"], "b": 0.1}
    assert text.index('"a"') < text.index('"b"')
    assert text.endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [-float("inf")]}])
def test_json_without_a_number_is_our_own_fault(value: object) -> None:
    with pytest.raises(ValueError):
        atomic.json_text(value)


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder"
    with atomic.new_folder(path) as staged:
        staged.write("a", b"1")
        staged.write("b/c", b"2")
        assert not path.exists()
    assert everything(path) == {"a", "b", "b/c"}
    assert everything(tmp_path / "deep") == {"folder", "folder/a", "folder/b", "folder/b/c"}


def test_an_error_inside_leaves_nothing(tmp_path: Path) -> None:
    def work() -> None:
        with atomic.new_folder(tmp_path / "folder") as staged:
            staged.write("a", b"1")
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        work()
    assert everything(tmp_path) == set()


def test_a_folder_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for name, replace in (("old", False), ("new", True)):
        with atomic.new_folder(path, replace=replace) as staged:
            staged.write(name, b"")
    assert everything(tmp_path) == {"folder", "folder/new"}
    with pytest.raises(FileExistsError), atomic.new_folder(path):
        pytest.fail("the work is not begun")
    assert everything(path) == {"new"}


def test_a_file_is_never_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError), atomic.new_folder(tmp_path / "file", replace=True):
        pytest.fail("the work is not begun")
    assert (tmp_path / "file").read_text() == "mine"


def test_replacing_where_names_cannot_be_swapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_exchange", lambda *_names: False)
    test_a_folder_is_replaced_only_when_asked(tmp_path)


def new_folder(path: Path, _data: bytes = b"") -> None:
    with atomic.new_folder(path) as staged:
        staged.write("a", b"1")


@pytest.mark.parametrize("write", [atomic.write_bytes, atomic.create_bytes, new_folder])
@pytest.mark.parametrize("place", ["file/x", "file/x/y", "x" * 300, "loop/x"])
def test_a_wrong_place_is_a_disk_error_that_names_it(
    tmp_path: Path, write: Callable[[Path, bytes], None], place: str
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DiskError) as caught:
        write(tmp_path / place, b"data")
    assert str(tmp_path) in str(caught.value)
    assert caught.value.exit_code == 9
    assert (tmp_path / "file").read_text() == "mine"
    assert everything(tmp_path) == {"file", "loop"}


def test_a_folder_in_the_way_of_a_file(tmp_path: Path) -> None:
    new_folder(tmp_path / "folder")
    with pytest.raises(DiskError, match="folder"):
        atomic.write_bytes(tmp_path / "folder", b"data")
    assert everything(tmp_path) == {"folder", "folder/a"}


def test_sweep_removes_leftovers_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / f"{atomic.TEMP_PREFIX}file").write_text("x")
    (tmp_path / f"{atomic.TEMP_PREFIX}folder" / "inner").mkdir(parents=True)
    outside = tmp_path / "mine"
    outside.mkdir()
    (outside / "file").write_text("mine")
    (outside / f"{atomic.TEMP_PREFIX}deeper").write_text("of another root")
    (tmp_path / f"{atomic.TEMP_PREFIX}link").symlink_to(outside)
    assert atomic.sweep(tmp_path) == 3
    assert everything(tmp_path) == {"mine", "mine/file", f"mine/{atomic.TEMP_PREFIX}deeper"}
    assert atomic.sweep(tmp_path) == 0
    assert atomic.sweep(tmp_path / "missing") == 0


def test_no_handle_and_no_temp_file_is_left(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for index in range(30):
        atomic.write_bytes(tmp_path / "file", b"x")
        atomic.create_bytes(tmp_path / f"new{index}", b"x")
        with pytest.raises(FileExistsError):
            atomic.create_bytes(tmp_path / "file", b"x")
        new_folder(tmp_path / f"folder{index}")
    assert len(os.listdir("/proc/self/fd")) == before
    assert not list(tmp_path.glob(".*"))
