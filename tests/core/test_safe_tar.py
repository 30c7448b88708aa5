"""Archives that are hostile or damaged are refused, nothing is written; odd ones that are sound are read."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.core import safe_tar
from bench.core.atomic import new_folder
from bench.core.errors import DataError, DiskError

GOOD = {"top/set/a/1.jpg": b"one", "top/set/b.txt": b"", "top/set/c": bytes(range(256)) * 10, "top/x": b"x"}
FOUND = {"a/1.jpg": b"one", "b.txt": b"", "c": bytes(range(256)) * 10}
END = bytes(1024)


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **more: object) -> bytes:
    """A header of the old kind and its data; `size` may be another than the data's."""
    info = tarfile.TarInfo(name)
    info.size, info.type = len(data), kind
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + data + bytes(-len(data) % 512)


def pax(name: str, data: bytes = b"", **fields: str) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.pax_headers = len(data), fields
    return info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512)


def records(text: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return member("pax", text, kind)


def good(files: dict[str, bytes] = GOOD) -> bytes:
    return b"".join(member(name, data) for name, data in files.items()) + END


def unpack(tmp_path: Path, *bodies: bytes, folder: str = "top/set") -> dict[str, bytes]:
    """What the archives hold, by way of a folder; after an error that folder must not be there."""
    archives = []
    for number, body in enumerate(bodies):
        archives.append(tmp_path / f"in{number}.tar")
        archives[-1].write_bytes(body)
    before = sorted(tmp_path.rglob("*"))
    try:
        with new_folder(tmp_path / "new", durable=False) as stage:
            safe_tar.unpack(archives, folder, stage)
    except BaseException:
        assert sorted(tmp_path.rglob("*")) == before
        raise
    new = tmp_path / "new"
    files = [path for path in new.rglob("*") if path.is_file()]
    assert not any(path.is_symlink() for path in new.rglob("*"))
    return {str(path.relative_to(new)): path.read_bytes() for path in files}


FILE = member("top/set/a", b"a")
HOSTILE: dict[str, tuple[bytes, str]] = {
    "a link": (member("top/set/l", kind=tarfile.SYMTYPE, linkname="/etc/passwd"), "a link"),
    "a hard link": (member("top/set/l", kind=tarfile.LNKTYPE, linkname="top/set/a"), "a hard link"),
    "a link for the folder": (member("top/set", kind=tarfile.SYMTYPE, linkname="/tmp"), "no folder"),
    "a character device": (member("top/set/d", kind=tarfile.CHRTYPE), "a device"),
    "a block device": (member("top/set/d", kind=tarfile.BLKTYPE), "a device"),
    "a pipe": (member("top/set/p", kind=tarfile.FIFOTYPE), "a pipe"),
    "an unknown kind": (member("top/set/u", kind=b"Z"), "of a kind"),
    "a volume header": (member("top/set/u", kind=b"V"), "of a kind"),
    "a file with holes": (member("top/set/s", b"a", kind=tarfile.GNUTYPE_SPARSE), "of a kind"),
    "holes by pax": (pax("top/set/s", b"a", **{"GNU.sparse.major": "1"}), "holes"),
    "an absolute name": (member("/top/set/e", b"e"), "plain relative name"),
    "up at the start": (member("../e", b"e"), "plain relative name"),
    "up in the middle": (member("top/set/../../../e", b"e"), "plain relative name"),
    "up at the end": (member("top/set/..", kind=tarfile.DIRTYPE), "plain relative name"),
    "up by pax": (pax("top/set/fine", b"e", path="top/set/../../e"), "plain relative name"),
    "up by a long name": (member("L", b"top/set/../e\0", b"L") + member("top/set/f"), "plain relative name"),
    "absolute by pax": (pax("top/set/fine", b"e", path="/etc/passwd"), "plain relative name"),
    "a backslash": (member("top/set/..\\e", b"e"), "plain relative name"),
    "a control character": (member("top/set/e\x1b[2J", b"e"), "plain relative name"),
    "a name that is no UTF-8": (member("top/set/e\udcff", b"e"), "plain relative name"),
    "an empty part": (member("top/set//e", b"e"), "plain relative name"),
    "a dot in the middle": (member("top/set/./e", b"e"), "plain relative name"),
    "a long part": (pax("top/set/x", path="top/set/" + "x" * 300), "plain relative name"),
    "deep folders": (pax("top/set/x", path="top/set/" + "d/" * 60 + "x"), "plain relative name"),
    "there twice": (member("top/set/a", b"b"), "there twice"),
    "there twice by another way": (member("./top/set/a", b"b"), "there twice"),
    "large and small letters": (member("top/set/A", b"b"), "there twice"),
    "composed and not": (member("top/set/\u00e9", b"b") + member("top/set/e\u0301", b"c"), "there twice"),
    "a file, then a folder": (member("top/set/a/b", b"b"), "a file and a folder"),
    "a folder, then a file": (member("top/set/f/b") + member("top/set/f"), "there twice"),
    "folders, large and small": (member("top/set/f/b") + member("top/set/F/c"), "a file and a folder"),
    "a folder with data": (member("top/set/f", kind=tarfile.DIRTYPE, size=512) + bytes(512), "a size"),
    "a link with data": (member("x", kind=tarfile.SYMTYPE, size=9, linkname="y"), "a size"),
    "a negative size": (member("top/set/n", size=-5), "a size"),
    "a size that no disk has": (member("top/set/n", size=1 << 62), "unpacks to more than"),
    "a size by pax that no disk has": (pax("top/set/n", size="9" * 18), "unpacks to more than"),
    "a size by pax that is no number": (pax("top/set/n", size="-1"), "a member of size"),
    "a member too large": (member("top/set/n", size=300 * 1024**2), "more than 268,435,456"),
    "a long extended header": (member("L", size=1 << 30, kind=b"L"), "extended header of"),
    "an extended header twice": (records(b"9 path=x\n") * 2 + FILE, "two extended headers"),
    "an extended header alone": (records(b"9 path=x\n"), "ends after"),
    "a damaged extended header": (records(b"99 path=x\n") + FILE, "damaged extended"),
    "an extended header of zeros": (records(b"0 path=x\n") + FILE, "damaged extended"),
    "one name for all": (records(b"9 path=x\n", tarfile.XGLTYPE) + FILE, "for all members"),
    "a wrong checksum": (member("top/set/n")[:100] + b"x" + member("top/set/n")[101:], "damaged"),
    "something behind the end": (bytes(512) + FILE, "behind its end"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused_and_nothing_is_written(tmp_path: Path, name: str, packed: bool) -> None:
    body, words = HOSTILE[name]
    data = FILE + body + END
    with pytest.raises(DataError, match=words) as caught:
        unpack(tmp_path, gzip.compress(data) if packed else data)
    assert "in0.tar" in str(caught.value) and str(caught.value).isprintable()


@pytest.mark.parametrize("packed", [False, True])
def test_cut_off_anywhere(tmp_path: Path, packed: bool) -> None:
    data = b"".join(member(name, data) for name, data in GOOD.items()) + bytes(512)
    whole = gzip.compress(data) if packed else data
    assert unpack(tmp_path, whole) == FOUND
    for end in [*range(0, len(whole), 13 if packed else 97), len(whole) - 1]:
        path = tmp_path / "in0.tar"
        path.write_bytes(whole[:end])
        with pytest.raises(DataError):
            safe_tar.sizes_of(path, "top/set")


def test_a_flipped_bit_of_what_is_packed(tmp_path: Path) -> None:
    whole = gzip.compress(good())
    path = tmp_path / "in.tar"
    for at in range(10, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        try:
            found = {entry.name: entry.read() for entry in safe_tar.walk(path, "top/set")}
        except DataError:
            continue
        assert found == FOUND  # of the headers and padding of gzip itself


@pytest.mark.parametrize(
    "body", [b"", b"\x1f\x8b", b"PK\x03\x04" + bytes(600), b"<html>" * 200, b"\xff" * 2000]
)
def test_what_is_no_archive(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(DataError):
        unpack(tmp_path, body)


def test_bombs(tmp_path: Path) -> None:
    zeros = gzip.compress(member("top/set/z", bytes(200 * 1024**2)) + END)
    assert len(zeros) < 300_000
    for body in (zeros, gzip.compress(good() + bytes(200 * 1024**2))):
        with pytest.raises(DataError, match="bomb"):
            unpack(tmp_path, body)


def test_too_many_members_and_too_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_tar, "MAX_MEMBERS", 3)
    with pytest.raises(DataError, match="more than 3 members"):
        unpack(tmp_path, good())
    monkeypatch.setattr(safe_tar, "MAX_MEMBERS", 4)
    assert unpack(tmp_path, good()) == FOUND
    monkeypatch.setattr(safe_tar, "MAX_TOTAL_BYTES", 2000)
    with pytest.raises(DataError, match="more than 2,000 bytes"):
        unpack(tmp_path / "new", good())


def _by_tarfile(**options: object) -> Callable[[], bytes]:
    def make() -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", **options) as archive:  # type: ignore[call-overload]
            for name, data in GOOD.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                info.uname, info.mtime = "jos\u00e9", 1.5
                info.mode = 0o4777
                archive.addfile(info, io.BytesIO(data))
        return buffer.getvalue()

    return make


SOUND: dict[str, Callable[[], bytes]] = {
    "gnu": _by_tarfile(format=tarfile.GNU_FORMAT),
    "pax": _by_tarfile(format=tarfile.PAX_FORMAT),
    "ustar": _by_tarfile(format=tarfile.USTAR_FORMAT),
    "global pax comment": _by_tarfile(format=tarfile.PAX_FORMAT, pax_headers={"comment": "of git"}),
    "packed": lambda: gzip.compress(good()),
    "packed in two": lambda: gzip.compress(good()[:700]) + gzip.compress(good()[700:]),
    "from here": lambda: b"".join(
        [member("./", kind=tarfile.DIRTYPE), *(member(f"./{name}", data) for name, data in GOOD.items()), END]
    ),
    "old letters": lambda: b"".join(
        [member(name, data, tarfile.AREGTYPE) for name, data in GOOD.items()] + [END]
    ),
    "contiguous": lambda: b"".join(
        [member(name, data, tarfile.CONTTYPE) for name, data in GOOD.items()] + [END]
    ),
    "folders, twice": lambda: 2 * member("top/set/a/", kind=tarfile.DIRTYPE) + good(),
    "one block of zeros": lambda: good()[:-512],
    "much behind the end": lambda: good() + b"anything" * 1000,
    "a link elsewhere": lambda: member("top/l", kind=tarfile.SYMTYPE, linkname="x") + good(),
    "one name twice elsewhere": lambda: member("top/x", b"1") + good(),
}


@pytest.mark.parametrize("name", SOUND)
def test_odd_and_sound(tmp_path: Path, name: str) -> None:
    assert unpack(tmp_path, SOUND[name]()) == FOUND


@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names(tmp_path: Path, format_: int) -> None:
    name = "d" * 120 + "/" + "\u00e9" * 110
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format_) as archive:
        info = tarfile.TarInfo(f"top/set/{name}")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    assert unpack(tmp_path, buffer.getvalue()) == {name: b"abc"}


def test_modes_of_the_archive_are_not_taken_over(tmp_path: Path) -> None:
    unpack(tmp_path, member("top/set/a", b"a", mode=0o7777) + END)
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "new" / "a").stat().st_mode & 0o7777 == 0o666 & ~mask


def test_two_archives_for_one_folder(tmp_path: Path) -> None:
    both = unpack(tmp_path, good(), good({"top/set/d": b"d", "top/set/a/1.jpg": b"one"}))
    assert both == FOUND | {"d": b"d"}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"top/set/a/1.jpg": b"two"}, "another file"),
        ({"top/set/c/x": b""}, "a file and a folder"),
        ({"top/set/C": b""}, "there twice"),
        ({"top/other": b""}, "no file in top/set"),
        ({}, "no file in top/set"),
    ],
)
def test_two_archives_that_contradict(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    with pytest.raises(DataError, match=words):
        unpack(tmp_path, good(), good(files))


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.core.safe_tar.shutil.disk_usage", lambda _place: SimpleNamespace(free=8191))
    with pytest.raises(DiskError, match=r"8,192 bytes needed to unpack, 8,191 are free"):
        unpack(tmp_path, good())
    monkeypatch.setattr("bench.core.safe_tar.shutil.disk_usage", lambda _place: SimpleNamespace(free=8192))
    assert unpack(tmp_path, good()) == FOUND


def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_stage: object, name: str, _data: bytes) -> None:
        raise DiskError(f"{name}: the disk is full")

    monkeypatch.setattr("bench.core.atomic.StagedFolder.write", full)
    with pytest.raises(DiskError):
        unpack(tmp_path, good())


def test_no_such_archive(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        safe_tar.sizes_of(tmp_path / "none.tar", "top")
    with pytest.raises(DataError, match="cannot be read"):
        safe_tar.sizes_of(tmp_path, "top")


def test_memory_stays_small_whatever_a_header_says(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "in.tar"
    path.write_bytes(member("L", size=1 << 40, kind=b"L") + member("top/set/n", size=200 * 1024**2) + END)
    tracemalloc.start()
    with pytest.raises(DataError):
        safe_tar.sizes_of(path, "top/set")
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
