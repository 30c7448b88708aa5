"""Sources of images: class folders, flat folders, lists and shards, read in any process; faults are named."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.core.errors import DataError, UsageError
from bench.images import source as source_module
from bench.images.source import ImageSource, open_source
from tests.core.test_safe_image import _file


def png(value: int = 0) -> bytes:
    return _file(Image.new("RGB", (4, 3), (value, value, value)), "PNG")


def value_of(source: ImageSource, index: int) -> int:
    pixels = source.read(index)
    assert pixels.shape == (3, 4, 3) and pixels.dtype == np.uint8
    return int(pixels[0, 0, 0])


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


Member = tuple[str, bytes] | tarfile.TarInfo


def tar(path: Path, members: list[Member], format: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            archive.addfile(info, io.BytesIO(member[1]))
    return path


def special(name: str, kind: bytes, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def problems_of(path: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        open_source(path)
    return list(caught.value.problems)


# One image as each kind of source holds it; the result is the path to open.
HOLDERS: dict[str, Callable[[Path, bytes], Path]] = {
    "classes": lambda place, data: write(place, {"cat/x.jpg": data}),
    "flat": lambda place, data: write(place, {"x.jpg": data}),
    "list": lambda place, data: write(place, {"some/x.jpg": data, "all.txt": b"some/x.jpg\n"}) / "all.txt",
    "shard": lambda place, data: tar(place / "a.tar", [("cat/x.jpg", data)]),
    "shards": lambda place, data: tar(place / "a.tar", [("x.jpg", data), ("x.cls", b"3")]).parent,
}


def test_class_folders_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    names = ("b/2.png", "b/10.PNG", "a b/x.png", "a/z.jpeg", "a-c/y.webp", "b/ü.png")
    root = write(tmp_path / "set", {name: png(index) for index, name in enumerate(names)})
    write(root, {"README.md": b"x", ".git/x": b"x", "a/.DS_Store": b"x"})
    source = open_source(root)
    assert source.classes == ("a", "a b", "a-c", "b")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 2, 3, 3, 3]
    expected = ["a/z.jpeg", "a b/x.png", "a-c/y.webp", "b/10.PNG", "b/2.png", "b/ü.png"]
    assert [source.name(index) for index in range(len(source))] == expected
    assert [source.where(index) for index in range(len(source))] == [str(root / name) for name in expected]
    assert [value_of(source, index) for index in range(len(source))] == [
        names.index(name) for name in expected
    ]


def test_a_flat_folder_has_no_classes(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"b.png": png(2), "a.PNG": png(1), ".hidden.png": png(3), "c.png": png(4)})
    source = open_source(root)
    assert (source.classes, source.labels, source.root) == (None, None, root)
    assert [value_of(source, index) for index in range(3)] == [1, 2, 4]
    for index in (-1, 3):
        with pytest.raises(IndexError):
            source.read(index)


def test_all_faults_of_folders_at_once(tmp_path: Path) -> None:
    root = write(
        tmp_path / "set", {"a/x.gif": b"GIF89a", "a/deep/y.jpg": b"x", "a/e.jpg": b"", "b/x.png": png()}
    )
    (root / "none").mkdir()
    os.mkfifo(root / "b" / "pipe.jpg")
    (root / "b" / "gone.jpg").symlink_to(root / "b" / "nothing.jpg")
    outside = write(tmp_path, {"outside/x.png": png()})
    (root / "b" / "out.png").symlink_to(outside / "outside" / "x.png")
    (root / "c").symlink_to(outside / "outside")
    found = "\n".join(problems_of(root))
    for words in (
        "a/x.gif: not named like an image",
        "a/deep: a folder",
        "a/e.jpg: is empty",
        "none: no image in it",
        "b/pipe.jpg: no regular file",
        "b/gone.jpg: cannot be read",
        "'b/out.png' leads outside",
    ):
        assert words in found
    (root / "a" / "x.gif").unlink()
    assert "not named like" not in "\n".join(problems_of(root))


def test_a_link_to_a_class_folder_outside_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"a/x.png": png()})
    write(tmp_path, {"outside/x.png": png()})
    (root / "c").symlink_to(tmp_path / "outside")
    assert "'c' leads outside" in problems_of(root)[0]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a/x.png", "y.png"], "a folder (a) and an image (y.png) side by side"),
        (["x.png", "y.tar"], "an image (x.png) and an archive (y.tar) side by side"),
        (["a/x.png", "y.tar"], "a folder (a) and an archive (y.tar) side by side"),
        (["y.tar", "z.tar.gz"], "an archive (y.tar) and a compressed archive (z.tar.gz) side by side"),
        (["z.tgz"], "z.tgz: compressed; unpack"),
        (["notes.md"], "no image, no class folder and no shard"),
        ([], "no image, no class folder and no shard"),
    ],
)
def test_what_lies_at_the_top_must_be_of_one_kind(tmp_path: Path, names: list[str], words: str) -> None:
    root = tmp_path / "set"
    root.mkdir()
    write(root, {name: png() for name in names})
    (problem,) = problems_of(root)
    assert words in problem


@pytest.mark.parametrize(
    ("name", "words"), [("none", "cannot be read"), ("x.jpg", "expected a folder"), ("x.tar.gz", "unpack")]
)
def test_other_things_are_refused(tmp_path: Path, name: str, words: str) -> None:
    if name != "none":
        write(tmp_path, {name: png()})
    assert words in problems_of(tmp_path / name)[0]


@pytest.mark.parametrize("name", ["pipe.tar", "pipe.txt", "pipe"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert "no regular file" in problems_of(tmp_path / name)[0]


# List files.


def listed(tmp_path: Path, text: str | bytes, count: int = 3) -> Path:
    write(tmp_path, {f"in/my {index}.png": png(index) for index in range(count)})
    data = text if isinstance(text, bytes) else text.encode()
    return write(tmp_path, {"list.txt": data}) / "list.txt"


@pytest.mark.parametrize(
    ("text", "labels", "classes"),
    [
        ("in/my 2.png\nin/my 0.png\n", None, None),
        ("in/my 2.png\tcat dog\nin/my 0.png\tant", [1, 0], ("ant", "cat dog")),
        ("in/my 2.png  7\r\nin/my 0.png 2\r\n", [7, 2], tuple("01234567")),
        (b"\xef\xbb\xbfin/my 2.png n02\n./in//my 0.png n01\n", [1, 0], ("n01", "n02")),
    ],
)
def test_lists(tmp_path: Path, text: str | bytes, labels: list[int] | None, classes: Any) -> None:
    path = listed(tmp_path, text)
    source = open_source(path)
    assert [value_of(source, index) for index in range(2)] == [2, 0]
    assert source.classes == classes
    assert (None if source.labels is None else source.labels.tolist()) == labels
    assert source.where(1) == str(tmp_path / "in" / "my 0.png")


def test_every_line_of_a_list_is_checked(tmp_path: Path) -> None:
    write(tmp_path, {"secret.png": png(), "set/in/empty.png": b""})
    (tmp_path / "set" / "in" / "out").symlink_to(tmp_path)
    (tmp_path / "set" / "in" / "link.png").symlink_to(tmp_path / "secret.png")
    lines = [
        "in/my 0.png 1",
        "",
        "in/my 1.png",
        "in/../in/my 0.png 1",
        "../secret.png 1",
        "/etc/hostname.png 1",
        "in/out/secret.png 1",
        "in/link.png 1",
        "in/none.png 1",
        "in/empty.png 1",
        "./in/my 0.png 1",
        "in 1",
        "in/my 2.png one",
        "in/m\x07y.png 1",
    ]
    problems = problems_of(listed(tmp_path / "set", "\n".join(lines) + "\n"))
    path = tmp_path / "set" / "list.txt"
    for number, words in {
        2: "blank",
        4: "would leave",
        5: "would leave",
        6: "would leave",
        7: "outside the folder through a link",
        8: "outside the folder through a link",
        9: "cannot be read",
        10: "is empty",
        11: "on line 1 already",
        12: "a folder",
        14: "would leave",
    }.items():
        (problem,) = (text for text in problems if text.startswith(f"{path}, line {number}: "))
        assert words in problem
    assert any("1 of 13 images without a label" in problem for problem in problems)
    assert any("'one' is no number" in problem for problem in problems)
    assert len(problems) == 13


@pytest.mark.parametrize(("label", "words"), [("-1", "-1 is not from 0"), ("100000", "100000 is not from 0")])
def test_numbers_out_of_range(tmp_path: Path, label: str, words: str) -> None:
    assert words in problems_of(listed(tmp_path, f"in/my 0.png {label}\nin/my 1.png 5"))[0]


def test_lists_that_are_none(tmp_path: Path) -> None:
    assert "line 1: blank" in problems_of(listed(tmp_path, ""))[0]
    assert "not UTF-8 at byte 2" in problems_of(listed(tmp_path, b"ab\xff.png"))[0]


# Tar shards.


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_shards_of_class_folders_equal_the_folders(tmp_path: Path, format: int) -> None:
    files = {f"{name}/{'long' * 20}{index}.png": png(index) for index in range(12) for name in ("b", "a b")}
    order = list(files)
    random.Random(0).shuffle(order)
    for number in range(3):
        members: list[Member] = [(f"./{name}", files[name]) for name in order[number::3]]
        members += [special("./", tarfile.DIRTYPE), special("./b", tarfile.DIRTYPE), ("b/._x.png", b"mac")]
        tar(tmp_path / "tars" / f"{number}.tar", members, format)
    write(tmp_path / "tars", {"sizes.json": b"{}"})
    shards, folders = open_source(tmp_path / "tars"), open_source(write(tmp_path / "set", files))
    assert len(shards) == 24
    assert shards.classes == folders.classes == ("a b", "b")
    assert shards.labels is not None and folders.labels is not None
    assert shards.labels.tolist() == folders.labels.tolist()
    assert shards.fingerprint == folders.fingerprint
    for index in random.Random(1).sample(range(24), 24):
        assert np.array_equal(shards.read(index), folders.read(index))
    assert shards.where(0).startswith(str(tmp_path / "tars")) and ".tar: a b/long" in shards.where(0)


def test_shards_with_numbers_beside_the_images(tmp_path: Path) -> None:
    members: list[Member] = []
    for index in (2, 0, 1):
        members += [(f"train/{index}.cls", f"{index * 2}\n".encode()), (f"train/{index}.png", png(index))]
        members += [(f"train/{index}.json", b"{}"), (f"train/{index}.txt", b"a caption")]
    source = open_source(tar(tmp_path / "x.tar", members))
    assert source.classes == ("0", "1", "2", "3", "4")
    assert source.labels is not None and source.labels.tolist() == [0, 2, 4]
    assert [value_of(source, index) for index in range(3)] == [0, 1, 2]


def test_names_and_images_beyond_ustar(tmp_path: Path) -> None:
    name = "ü" * 120 + "/" + "x" * 240 + ".png"
    source = open_source(tar(tmp_path / "x.tar", [(name, png(5))]))
    assert source.classes == ("ü" * 120,)
    assert value_of(source, 0) == 5


# Reading later, elsewhere.


def three_shards(tmp_path: Path) -> Path:
    for number in range(3):
        tar(
            tmp_path / "set" / f"{number}.tar",
            [(f"{number}{index}.png", png(number * 4 + index)) for index in range(4)],
        )
    return tmp_path / "set"


def _read_in_child(source: ImageSource, queue: Any) -> None:
    opened: list[str] = []
    real = os.open
    os.open = lambda path, *rest: (opened.append(Path(path).name), real(path, *rest))[1]
    queue.put(([value_of(source, index) for index in range(len(source))], sorted(opened)))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_another_process_reads_with_its_own_handles(tmp_path: Path, method: str) -> None:
    source = open_source(three_shards(tmp_path))
    assert value_of(source, 5) == 5
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=_read_in_child, args=(source, queue))
    child.start()
    # Each shard is opened there once, also the one that was open here.
    assert queue.get(timeout=30) == (list(range(12)), ["0.tar", "1.tar", "2.tar"])
    child.join()
    # Whatever the child has closed, the parent's handles are open.
    assert [value_of(source, index) for index in range(12)] == list(range(12))


def test_few_shards_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "_MAX_HANDLES", 2)
    source = open_source(three_shards(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    assert [value_of(source, index) for index in (0, 4, 8, 1, 5, 9)] == [0, 4, 8, 1, 5, 9]
    assert len(os.listdir("/proc/self/fd")) == before + 2
    del source
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("holder", HOLDERS)
def test_pickled_sources_are_small_and_the_same(tmp_path: Path, holder: str) -> None:
    source = open_source(HOLDERS[holder](tmp_path, png(7)))
    source.read(0)
    again = pickle.loads(pickle.dumps(source))
    assert value_of(again, 0) == 7
    assert (again.fingerprint, again.where(0)) == (source.fingerprint, source.where(0))


def test_pickling_costs_bytes_not_objects(tmp_path: Path) -> None:
    names = [f"n{index:05}.png" for index in range(2000)]
    root = write(tmp_path, {"set/" + name: b"x" for name in names}) / "set"
    # A name's bytes, where it ends, its size in bytes.
    assert len(pickle.dumps(open_source(root))) < 2000 * (10 + 8 + 8) + 2000


def test_the_fingerprint_sees_names_sizes_labels_and_classes(tmp_path: Path) -> None:
    sets = {
        "base": {"a/x.png": png(), "b/y.png": png()},
        "name": {"a/z.png": png(), "b/y.png": png()},
        "size": {"a/x.png": png() + b"0", "b/y.png": png()},
        "class": {"a/x.png": png(), "c/y.png": png()},
        "more": {"a/x.png": png(), "b/y.png": png(), "b/z.png": png()},
    }
    prints = {name: open_source(write(tmp_path / name, files)).fingerprint for name, files in sets.items()}
    write(tmp_path / "labels", {"a/x.png": png(), "b/y.png": png()})
    for name, text in {
        "l1": "a/x.png 0\nb/y.png 1",
        "l2": "a/x.png 1\nb/y.png 0",
        "l3": "a/x.png\nb/y.png",
    }.items():
        write(tmp_path / "labels", {f"{name}.txt": text.encode()})
        prints[name] = open_source(tmp_path / "labels" / f"{name}.txt").fingerprint
    assert len(set(prints.values())) == len(prints)
    assert all(len(text) == 64 for text in prints.values())
    # Made in another order, at another place, listed by name: the same.
    assert (
        open_source(write(tmp_path / "again", dict(reversed(sets["base"].items())))).fingerprint
        == prints["base"]
    )
    write(tmp_path / "labels", {"l4.txt": b"a/x.png a\nb/y.png b"})
    assert open_source(tmp_path / "labels" / "l4.txt").fingerprint == prints["base"]


def test_an_index_does_not_go_among_the_images(tmp_path: Path) -> None:
    root = write(tmp_path, {"set/x.png": png()}) / "set"
    for place in (root, root / "index"):
        with pytest.raises(UsageError, match="lies inside"):
            open_source(root, index_root=place)
    assert [path.name for path in root.iterdir()] == ["x.png"]
