"""The index is made once, used again while nothing has changed, and never trusted when damaged."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import DataError, DiskError
from bench.images import source as source_module
from bench.images.index import Listing, Names, number_labels
from bench.images.source import ImageSource, open_source
from tests.images.test_source import Member, png, problems_of, special, tar, value_of, write


class Scans:
    """Counts how often a source is listed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for name in ("_list_folders", "read_list", "list_shards"):
            monkeypatch.setattr(source_module, name, self.counted(getattr(source_module, name)))

    def counted(self, function: Callable[..., Listing]) -> Callable[..., Listing]:
        def call(*arguments: object) -> Listing:
            self.count += 1
            return function(*arguments)

        return call


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> Scans:
    return Scans(monkeypatch)


def classes(place: Path) -> Path:
    return write(place / "my set", {"a/0.png": png(0), "b/1.png": png(1), "b/2.png": png(2)})


def flat(place: Path) -> Path:
    return write(place / "my set", {f"{index}.png": png(index) for index in range(3)})


def listed(place: Path) -> Path:
    write(flat(place), {"list.txt": b"0.png x\n1.png y\n2.png y\n"})
    return place / "my set" / "list.txt"


def shards(place: Path) -> Path:
    tar(place / "my set" / "0.tar", [("a/0.png", png(0)), ("b/1.png", png(1))])
    return tar(place / "my set" / "1.tar", [("b/2.png", png(2))]).parent


KINDS = {"classes": classes, "flat": flat, "list": listed, "shards": shards}


def same(first: ImageSource, second: ImageSource) -> None:
    assert (first.classes, first.fingerprint, len(first)) == (second.classes, second.fingerprint, len(second))
    assert (first.labels is None) == (second.labels is None)
    if first.labels is not None and second.labels is not None:
        assert first.labels.dtype == second.labels.dtype == np.int64
        assert first.labels.tolist() == second.labels.tolist()
    for index in range(len(first)):
        assert first.where(index) == second.where(index)
        assert value_of(first, index) == value_of(second, index) == index


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_start_lists_nothing(tmp_path: Path, scans: Scans, kind: str) -> None:
    path, index = KINDS[kind](tmp_path), tmp_path / "index"
    first = open_source(path, index_root=index)
    second = open_source(path, index_root=index)
    assert scans.count == 1
    same(first, second)
    same(first, open_source(path))
    (file,) = index.iterdir()
    assert file.name.startswith(("my_set-", "list.txt-")) and file.suffix == ".safetensors"


CHANGES: dict[str, list[Callable[[Path], object]]] = {
    "classes": [
        lambda root: write(root, {"a/3.png": png()}),
        lambda root: (root / "b" / "1.png").unlink(),
        lambda root: (root / "b" / "1.png").rename(root / "b" / "3.png"),
        lambda root: write(root, {"c/3.png": png()}),
        lambda root: (root / "b").rename(root / "c"),
    ],
    "flat": [lambda root: write(root, {"3.png": png()}), lambda root: (root / "1.png").unlink()],
    "list": [lambda path: path.write_text("0.png x\n1.png y\n2.png x\n")],
    "shards": [
        lambda root: tar(root / "2.tar", [("a/4.png", png())]),
        lambda root: (root / "0.tar").unlink(),
        # As long as before, another image.
        lambda root: tar(root / "1.tar", [("b/3.png", png(3))]),
    ],
}


@pytest.mark.parametrize(
    ("kind", "number"), [(kind, n) for kind, all in CHANGES.items() for n in range(len(all))]
)
def test_after_a_change_it_is_made_anew(
    tmp_path: Path, scans: Scans, capsys: pytest.CaptureFixture[str], kind: str, number: int
) -> None:
    path, index = KINDS[kind](tmp_path), tmp_path / "index"
    first = open_source(path, index_root=index)
    CHANGES[kind][number](path)
    capsys.readouterr()
    second = open_source(path, index_root=index)
    assert scans.count == 2
    assert second.fingerprint != first.fingerprint
    assert second.fingerprint == open_source(path).fingerprint
    assert "has changed; the index is made anew" in capsys.readouterr().err
    before = scans.count
    assert open_source(path, index_root=index).fingerprint == second.fingerprint
    assert scans.count == before
    assert len(list(index.iterdir())) == 1


def test_a_list_put_back_with_its_time_is_the_same(tmp_path: Path, scans: Scans) -> None:
    path = listed(tmp_path)
    open_source(path, index_root=tmp_path / "index")
    info = path.stat()
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    open_source(path, index_root=tmp_path / "index")
    assert scans.count == 1
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns + 1))
    open_source(path, index_root=tmp_path / "index")
    assert scans.count == 2


@pytest.mark.parametrize("kind", KINDS)
def test_no_damaged_bit_is_trusted(tmp_path: Path, scans: Scans, kind: str) -> None:
    path, index = KINDS[kind](tmp_path), tmp_path / "index"
    first = open_source(path, index_root=index)
    (file,) = index.iterdir()
    whole = file.read_bytes()
    for count, place in enumerate(range(0, len(whole), 7), 2):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        file.write_bytes(data)
        again = open_source(path, index_root=index)
        # A bit in the header's JSON may leave its meaning as it was, but not what is read.
        assert again.fingerprint == first.fingerprint and len(again) == 3
        if whole[place : place + 1] != b" ":
            assert scans.count == count, (place, whole[max(place - 9, 0) : place + 9])
        assert file.read_bytes() == whole


@pytest.mark.parametrize("data", [b"", b"x" * 100, bytes(8), b"\xff" * 64, b"\x02" + bytes(7) + b"{}"])
def test_another_file_in_its_place_is_replaced(
    tmp_path: Path, scans: Scans, capsys: pytest.CaptureFixture[str], data: bytes
) -> None:
    path, index = classes(tmp_path), tmp_path / "index"
    first = open_source(path, index_root=index)
    (file,) = index.iterdir()
    file.write_bytes(data)
    same(first, open_source(path, index_root=index))
    assert scans.count == 2
    assert f"{file}: damaged" in capsys.readouterr().err


def test_sources_of_one_name_have_indices_of_their_own(tmp_path: Path, scans: Scans) -> None:
    index = tmp_path / "index"
    paths = [classes(tmp_path / "1"), flat(tmp_path / "2")]
    for path in (*paths, *paths):
        open_source(path, index_root=index)
    assert scans.count == len(list(index.iterdir())) == 2


def test_the_index_of_another_kind_at_the_same_place_is_not_used(tmp_path: Path) -> None:
    root = flat(tmp_path)
    info = root.stat()
    open_source(root, index_root=tmp_path / "index")
    for file in root.iterdir():
        file.unlink()
    write(root, {"a/x.png": png()})
    os.utime(root, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert open_source(root, index_root=tmp_path / "index").classes == ("a",)


def test_a_source_with_faults_leaves_no_index(tmp_path: Path) -> None:
    root = write(classes(tmp_path), {"a/empty.png": b""})
    with pytest.raises(DataError):
        open_source(root, index_root=tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("a file")
    with pytest.raises(DiskError, match="index"):
        open_source(classes(tmp_path), index_root=tmp_path / "index")


def test_names() -> None:
    names = Names.of(["a", "", "ü/x", "b"])
    assert [names[index] for index in range(4)] == ["a", "", "ü/x", "b"]
    for index in (-1, 4):
        with pytest.raises(IndexError):
            names[index]


def test_numbers_are_ascii() -> None:
    labels, names = number_labels(["1_0", "٣", "+1"])
    assert sorted(names) == list(names) == ["+1", "1_0", "٣"]
    assert labels.tolist() == [1, 2, 0]
    assert number_labels(["007", "2"])[0].tolist() == [7, 2]


# Damaged and hostile shards.


def gnu_sparse(path: Path) -> None:
    info = special("x.png", tarfile.GNUTYPE_SPARSE, size=0)
    tar(path, [info, ("y.png", png())], tarfile.GNU_FORMAT)


def pax_sparse(path: Path) -> None:
    info = tarfile.TarInfo("x.png")
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,4"}
    info.pax_headers |= {"GNU.sparse.name": "x.png", "GNU.sparse.size": "4"}
    info.size = 4
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(b"abcd"))


def cut(end: int) -> Callable[[Path], None]:
    return lambda path: spoil(path, lambda data: data[:end])


def spoil(path: Path, change: Callable[[bytearray], bytearray | bytes]) -> None:
    tar(path, [("a.png", png()), ("x.png", png()), ("z.png", png())], tarfile.USTAR_FORMAT)
    path.write_bytes(change(bytearray(path.read_bytes())))


def poke(data: bytearray, start: int, new: bytes, *, header: int | None = None) -> bytearray:
    """Change bytes; with `header`, mend the checksum of the header there."""
    data[start : start + len(new)] = new
    if header is not None:
        data[header + 148 : header + 156] = b" " * 8
        data[header + 148 : header + 156] = b"%06o\0 " % sum(data[header : header + 512])
    return data


def members(*items: Member) -> Callable[[Path], None]:
    return lambda path: void(tar(path, list(items)))


def void(_value: object) -> None:
    return None


def packed(path: Path) -> None:
    tar(path, [("x.png", png())])
    path.write_bytes(gzip.compress(path.read_bytes()))


def joined(path: Path) -> None:
    data = tar(path, [("x.png", png())]).read_bytes()
    path.write_bytes(data + tar(path, [("y.png", png())]).read_bytes())


def huge_pax_header(path: Path) -> None:
    info = tarfile.TarInfo("x.png")
    info.pax_headers = {"comment": "c" * 40_000}
    tar(path, [info])


def endless_chain(path: Path) -> None:
    one = tarfile.TarInfo("x.png").create_pax_global_header({"comment": "x"})
    path.write_bytes(one * 3000 + bytes(1024))


# The second member's header is at byte 1,024: a header and one block of data for the first.
GOOD = ("good.png", png())
BAD_TARS: dict[str, tuple[Callable[[Path], None], str]] = {
    "gzip": (packed, "compressed with gzip; unpack"),
    "named tar, is text": (lambda path: void(path.write_text("x" * 2000)), "damaged or cut"),
    "no bytes": (lambda path: void(path.write_bytes(b"")), "damaged or cut"),
    "short": (lambda path: void(path.write_bytes(b"abc")), "damaged or cut"),
    "no member": (members(), "no image in the shards"),
    "cut in a header": (cut(1300), "damaged or cut at byte 512"),
    "cut in the data": (cut(1600), "damaged or cut"),
    "cut between members": (cut(1024), "no end mark"),
    "cut in the end mark": (cut(3 * 1024 + 100), "damaged or cut"),
    "a damaged header in the middle": (
        lambda path: spoil(path, lambda data: poke(data, 1030, b"?")),
        "a damaged header",
    ),
    "a damaged first header": (lambda path: spoil(path, lambda data: poke(data, 5, b"?")), "damaged or cut"),
    "a size beyond the end": (
        lambda path: spoil(path, lambda data: poke(data, 1024 + 124, b"77777777777\0", header=1024)),
        "'x.png', 8,589,934,591 bytes, does not fit",
    ),
    "a size below zero": (
        lambda path: spoil(
            path, lambda data: poke(data, 1024 + 124, b"\xff" * 10 + b"\xfc\x00", header=1024)
        ),
        "'x.png', -1,024 bytes, does not fit",
    ),
    "a size that is none": (
        lambda path: spoil(path, lambda data: poke(data, 1024 + 124, b"abc", header=1024)),
        "a damaged header",
    ),
    "joined by cat": (joined, "more after the end mark"),
    "a huge header": (huge_pax_header, "a header claims 40,"),
    "a chain of headers": (endless_chain, "damaged or cut"),
    "a link": (
        members(GOOD, special("x.png", tarfile.SYMTYPE, "good.png")),
        "'x.png': is a link to 'good.png'",
    ),
    "a hard link": (members(GOOD, special("x.png", tarfile.LNKTYPE, "good.png")), "'x.png': is a link"),
    "a character device": (members(GOOD, special("x.png", tarfile.CHRTYPE)), "'x.png': is a device"),
    "a block device": (members(GOOD, special("x.png", tarfile.BLKTYPE)), "'x.png': is a device"),
    "a pipe": (members(GOOD, special("x.png", tarfile.FIFOTYPE)), "'x.png': is a device, a pipe"),
    "an unknown kind": (members(GOOD, special("x.png", b"V")), "of an unknown kind"),
    "GNU sparse": (gnu_sparse, "'x.png': is a sparse file"),
    "PAX sparse": (pax_sparse, "'x.png': is a sparse file"),
    "up and out": (members(GOOD, ("../x.png", png())), "'../x.png': the name would leave"),
    "up within": (members(GOOD, ("a/../x.png", png())), "'a/../x.png': the name would leave"),
    "absolute": (members(GOOD, ("/x.png", png())), "'/x.png': the name would leave"),
    "backslash": (members(GOOD, ("a\\x.png", png())), "the name would leave"),
    "control characters": (members(GOOD, ("a\x1b[2Jx.png", png())), "the name would leave"),
    "a folder up": (members(GOOD, special("../x", tarfile.DIRTYPE)), "'../x': the name would leave"),
    "twice": (members(GOOD, ("./good.png", png(1))), "good.png: twice"),
    "no image": (members(GOOD, ("x.gif", b"GIF89a")), "x.gif: not named like an image"),
    "empty": (members(GOOD, ("x.png", b"")), "x.png: is empty"),
    "folders for some": (members(GOOD, ("a/x.png", png())), "expected every image as <class>/<image>"),
    "too deep": (members(("a/b/x.png", png())), "a/b/x.png: expected every image as"),
    "a number missing": (members(GOOD, ("x.png", png()), ("x.cls", b"1")), "good.png: no .cls beside it"),
    "a number alone": (members(GOOD, ("good.cls", b"1"), ("x.cls", b"1")), "x.cls: no image"),
    "a number twice": (members(GOOD, ("good.cls", b"1"), ("good.cls", b"1")), "good.cls: twice"),
    "a number that is none": (members(GOOD, ("good.cls", b"cat")), "good.cls: holds 'cat'"),
    "a number below zero": (members(GOOD, ("good.cls", b"-1")), "good.cls: holds '-1'"),
    "a huge number": (members(GOOD, ("good.cls", b"9" * 99)), "good.cls: holds '999"),
}


@pytest.mark.parametrize("kind", BAD_TARS)
def test_bad_archives_are_refused_and_nothing_is_written(tmp_path: Path, kind: str) -> None:
    make, words = BAD_TARS[kind]
    path = tmp_path / "set" / "bad.tar"
    path.parent.mkdir()
    make(path)
    before = sorted(tmp_path.rglob("*"))
    for place, index_root in ((path, None), (path.parent, tmp_path / "index")):
        with pytest.raises(DataError) as caught:
            open_source(place, index_root=index_root)
        found = [problem for problem in caught.value.problems if words in problem]
        assert found, caught.value.problems
        assert found[0].startswith(str(path.parent))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_twice_over_two_shards(tmp_path: Path) -> None:
    for name in ("0.tar", "1.tar"):
        tar(tmp_path / "set" / name, [(f"{name[0]}.png", png()), ("x.png", png())])
    (problem,) = problems_of(tmp_path / "set")
    assert problem == f"{tmp_path / 'set' / '1.tar'}: x.png: twice in the shards; expected each name once"


def test_all_faults_of_all_shards_at_once(tmp_path: Path) -> None:
    tar(tmp_path / "set" / "0.tar", [("../x.png", png()), ("y.gif", b"x")])
    tar(tmp_path / "set" / "1.tar", [special("z.png", tarfile.SYMTYPE, "/etc/passwd")])
    assert len(problems_of(tmp_path / "set")) == 3


def test_damage_anywhere_in_a_shard_is_named_or_changes_no_image(tmp_path: Path) -> None:
    """Each header byte flipped: a DataError, or the same images under the same names."""
    path = tmp_path / "x.tar"
    spoil(path, lambda data: data)
    whole = bytearray(path.read_bytes())
    refused = 0
    for place in range(1024, 1536):
        path.write_bytes(bytes(poke(bytearray(whole), place, bytes([whole[place] ^ 0x55]))))
        try:
            source = open_source(path)
        except DataError:
            refused += 1
            continue
        assert len(source) == 3
    # All but the checksum's own padding, perhaps.
    assert refused >= 500
