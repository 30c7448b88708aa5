"""SBD's label maps: every value arrives, the list is MMSegmentation's, what a MAT file claims is checked."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from PIL import Image

from bench.core.errors import DataError, DiskError, UsageError
from tests.helpers.download_sets import AUG, TRAIN, VAL, labels_of, mat, sbd_files, tar_of, voc_files
from transfer.data import sbd

LABELS = labels_of(5)


def element(kind: int, data: bytes, size: int | None = None) -> bytes:
    return struct.pack("<2I", kind, len(data) if size is None else size) + data + bytes(-len(data) % 8)


def matrix(kind: int, dims: tuple[int, ...], name: bytes, *rest: bytes, flags: int = 0) -> bytes:
    head = element(6, struct.pack("<2I", kind | flags, 0)) + element(5, struct.pack(f"<{len(dims)}i", *dims))
    return element(14, head + element(1, name) + b"".join(rest))


def file_of(*matrices: bytes) -> bytes:
    return b"MATLAB 5.0".ljust(124) + struct.pack("<H", 0x0100) + b"IM" + b"".join(matrices)


def struct_of(*fields: tuple[bytes, bytes], name: bytes = b"GTcls", dims: tuple[int, ...] = (1, 1)) -> bytes:
    names = b"".join(field.ljust(32, b"\0") for field, _ in fields)
    length = struct.pack("<HHi", 5, 4, 32)
    return matrix(2, dims, name, length, element(1, names), *(value for _, value in fields))


def array(data: bytes, dims: tuple[int, ...], *, kind: int = 9, type_: int = 2, flags: int = 0) -> bytes:
    return matrix(kind, dims, b"", element(type_, data), flags=flags)


def segmentation(value: bytes) -> bytes:
    return file_of(struct_of((b"Segmentation", value)))


GOOD = array(bytes(range(12)), (3, 4))
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "level 5"),
    "text": (lambda: b"<html>" * 100, "level 5"),
    "hdf5": (lambda: b"MATLAB 7.3".ljust(124) + b"\x00\x02IM" + bytes(600), "level 5"),
    "level 4": (lambda: bytes(200), "level 5"),
    "pickle": (lambda: b"\x80\x04" + bytes(200), "level 5"),
    "no variable": (lambda: file_of(), "0 variables"),
    "another variable": (lambda: file_of(struct_of((b"Segmentation", GOOD), name=b"GT")), "0 variables"),
    "two": (lambda: file_of(*[struct_of((b"Segmentation", GOOD))] * 2), "2 variables"),
    "no struct": (lambda: file_of(matrix(9, (1, 1), b"GTcls", element(2, b"\1"))), "single struct"),
    "many structs": (lambda: file_of(struct_of((b"Segmentation", GOOD), dims=(1 << 30, 1 << 30))), "single"),
    "another field": (lambda: file_of(struct_of((b"Boundaries", GOOD))), "not one field"),
    "the field twice": (lambda: file_of(struct_of(*[(b"Segmentation", GOOD)] * 2)), "not one field"),
    "no matrix in it": (lambda: segmentation(element(2, b"12345678")), "not one field"),
    "a value less": (
        lambda: file_of(
            matrix(2, (1, 1), b"GTcls", struct.pack("<HHi", 5, 4, 32), element(1, bytes(64)), GOOD)
        ),
        "field names",
    ),
    "names of no length": (
        lambda: file_of(matrix(2, (1, 1), b"GTcls", struct.pack("<HHi", 5, 4, 0), element(1, b""), GOOD)),
        "field names",
    ),
    "names of 2 GiB": (
        lambda: file_of(matrix(2, (1, 1), b"GTcls", struct.pack("<HHi", 5, 4, 2**31 - 1), element(1, b""))),
        "field names",
    ),
    "a cell": (lambda: segmentation(matrix(1, (1, 1), b"", GOOD)), "no array of numbers"),
    "letters": (lambda: segmentation(array(b"ab", (1, 2), kind=4)), "no array of numbers"),
    "a sparse array": (lambda: segmentation(array(b"ab", (1, 2), kind=5)), "no array of numbers"),
    "an object": (lambda: segmentation(array(b"ab", (1, 2), kind=3)), "no array of numbers"),
    "a function": (lambda: segmentation(array(b"ab", (1, 2), kind=16)), "no array of numbers"),
    "complex": (lambda: segmentation(array(b"ab", (1, 2), flags=0x0800)), "no array of numbers"),
    "numbers of no kind": (lambda: segmentation(array(b"abcd", (1, 4), type_=18)), "no array of numbers"),
    "three sides": (lambda: segmentation(array(bytes(8), (2, 2, 2))), "height x width"),
    "no pixel": (lambda: segmentation(array(b"", (0, 4))), "height x width"),
    "a negative side": (lambda: segmentation(array(bytes(4), (-2, -2))), "height x width"),
    "a huge side": (lambda: segmentation(array(bytes(4), (2**31 - 1, 2**31 - 1))), "height x width"),
    "less than it says": (lambda: segmentation(array(bytes(11), (3, 4))), "has 11 bytes"),
    "more than it says": (lambda: segmentation(array(bytes(13), (3, 4))), "has 13 bytes"),
    "nothing of what it says": (lambda: segmentation(array(b"", (9000, 9000))), "has 0 bytes"),
    "21": (lambda: mat(np.full((3, 4), 21, np.uint8)), "the value 21"),
    "255": (lambda: mat(np.full((3, 4), 255, np.uint8)), "the value 255"),
    "-1": (lambda: mat(np.full((3, 4), -1, np.int16)), "the value -1"),
    "a half": (lambda: mat(np.full((3, 4), 0.5)), "the value 0.5"),
    "nan": (lambda: mat(np.full((3, 4), np.nan)), "the value nan"),
    "infinity": (lambda: mat(np.full((3, 4), np.inf)), "the value inf"),
    "256": (lambda: mat(np.full((3, 4), 256, np.int32)), "the value 256"),
    "many elements": (lambda: file_of(*[element(14, b"")] * 2000), "damaged matrix"),
    "an element that is too long": (lambda: file_of(element(14, b"abc", size=2**32 - 1)), "cut off"),
    "a packed bomb": (lambda: file_of(element(15, zlib.compress(bytes(64 * 1024**2)))), "unpacks to more"),
    "many packed bombs": (
        lambda: file_of(*[packed(struct_of((b"a", array(bytes(6 * 1024**2), (6, 1024**2)))))] * 4),
        "unpacks to more",
    ),
    "packed twice": (lambda: file_of(packed(packed(segmentation(GOOD)[128:]))), "type 15"),
    "packed, cut off": (lambda: file_of(packed(segmentation(GOOD)[128:])[:-9]), "cut off"),
    "packed text": (lambda: file_of(element(15, b"<html><html>")), "cannot be unpacked"),
    "packed nothing": (lambda: file_of(element(15, zlib.compress(b""))), "type 0"),
    "long flags": (
        lambda: file_of(element(14, element(6, bytes(16)) + element(5, bytes(8)) + element(1, b"GTcls"))),
        "damaged matrix",
    ),
}


def packed(data: bytes) -> bytes:
    body = zlib.compress(data)
    return struct.pack("<2I", 15, len(body)) + body


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_not_sound_is_refused_with_the_file(name: str) -> None:
    make, words = HOSTILE[name]
    with pytest.raises(DataError, match=words) as caught:
        sbd.read_labels(make(), "benchmark.tgz: cls/2008_01.mat")
    assert str(caught.value).startswith("benchmark.tgz: cls/2008_01.mat: ")


def test_deep_cells_do_not_end_the_process() -> None:
    """`scipy.io.loadmat` follows them by recursion in C."""
    cell = GOOD
    for _ in range(5000):
        cell = matrix(1, (1, 1), b"", cell)
    found = sbd.read_labels(file_of(struct_of((b"Boundaries", cell), (b"Segmentation", GOOD))), "x")
    assert found.tolist() == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "f4", "f8"])
def test_the_same_as_scipy_reads(dtype: str, is_packed: bool) -> None:
    data = mat(LABELS.astype(dtype), packed=is_packed)
    theirs = scipy.io.loadmat(io.BytesIO(data))["GTcls"][0]["Segmentation"][0]
    ours = sbd.read_labels(data, "x")
    assert ours.dtype == np.uint8
    assert np.array_equal(ours, theirs) and np.array_equal(ours, LABELS)


def test_the_other_order_of_bytes() -> None:
    head = struct.pack(">6I", 6, 8, 9, 0, 5, 8) + struct.pack(">2i", 2, 3) + struct.pack(">2I", 1, 0)
    inner = head + struct.pack(">2I", 4, 12) + struct.pack(">6H", 1, 2, 3, 4, 5, 20) + bytes(4)
    names = b"Segmentation".ljust(16, b"\0")
    outer = struct.pack(">6I", 6, 8, 2, 0, 5, 8) + struct.pack(">2i", 1, 1) + struct.pack(">2I", 1, 5)
    outer += b"GTcls\0\0\0" + struct.pack(">HHi", 4, 5, 16) + struct.pack(">2I", 1, 16) + names
    outer += struct.pack(">2I", 14, len(inner)) + inner
    data = b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + struct.pack(">2I", 14, len(outer)) + outer
    assert sbd.read_labels(data, "x").tolist() == [[1, 3, 5], [2, 4, 20]]
    assert np.array_equal(
        scipy.io.loadmat(io.BytesIO(data))["GTcls"][0]["Segmentation"][0], [[1, 3, 5], [2, 4, 20]]
    )


def test_damage_is_refused_or_harmless() -> None:
    """Each byte changed, each length: an array of the right values, or one line; nothing else."""
    data = mat(LABELS, packed=False)
    rng = np.random.default_rng(0)
    for at in range(0, len(data), 3):
        changed = bytearray(data)
        changed[at] ^= int(rng.integers(1, 256))
        for body in (bytes(changed), data[:at]):
            try:
                found = sbd.read_labels(body, "x")
            except DataError:
                continue
            assert found.dtype == np.uint8 and found.max() <= 20


def test_png_is_indexed_with_the_colours_of_voc() -> None:
    data = sbd.label_png(LABELS)
    assert data[24:26] == b"\x08\x03"  # 8 bits, indexed
    image = Image.open(io.BytesIO(data))
    assert image.mode == "P" and np.array_equal(np.asarray(image), LABELS)
    colours = sbd.voc_palette()
    assert len(colours) == 768
    # VOC's: aeroplane, bicycle, cat, person, tvmonitor, and the border's 255.
    known = {1: (128, 0, 0), 2: (0, 128, 0), 8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    for value, colour in (known | {255: (224, 224, 192)}).items():
        assert tuple(colours[3 * value : 3 * value + 3]) == colour
    palette = image.getpalette()
    assert palette is not None and bytes(palette) == colours


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    lists = {"Main/trainval": (*TRAIN, *VAL, *AUG), "Segmentation/train": TRAIN, "Segmentation/val": VAL}
    for name, data in voc_files("2012", lists, (*TRAIN, *VAL)).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "VOCdevkit" / "VOC2012"


def archive_of(tmp_path: Path, files: dict[str, bytes]) -> Path:
    path = tmp_path / "benchmark.tgz"
    path.write_bytes(tar_of(files, packed=True))
    return path


def make(archive: Path, voc: Path) -> sbd.Plan:
    plan = sbd.plan(archive, voc)
    sbd.convert(archive, voc, plan)
    return plan


def test_label_maps_and_list(tmp_path: Path, voc: Path) -> None:
    assert not sbd.is_there(voc)
    plan = make(archive_of(tmp_path, sbd_files()), voc)
    assert plan.aug == AUG and plan.num_train == len(TRAIN)
    assert (voc / sbd.LIST).read_text() == "".join(f"{name}\n" for name in AUG)
    ids = sorted({TRAIN[0], *VAL, *AUG})
    assert sorted(path.name for path in (voc / sbd.LABELS).iterdir()) == [f"{name}.png" for name in ids]
    for index, name in enumerate(ids):
        assert np.array_equal(np.asarray(Image.open(voc / sbd.LABELS / f"{name}.png")), labels_of(index))
    assert sbd.is_there(voc)


ROOT = "benchmark_RELEASE/dataset"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({f"{ROOT}/train.txt": None}, "no benchmark_RELEASE/dataset/train.txt"),
        ({f"{ROOT}/val.txt": None}, "no benchmark_RELEASE/dataset/val.txt"),
        ({f"{ROOT}/train.txt": b"../../x\n"}, "image '../../x'"),
        ({f"{ROOT}/train.txt": b"\xff\xfe"}, "not a list"),
        ({f"{ROOT}/train.txt": b"", f"{ROOT}/val.txt": b"2007_01\n"}, "lists no image"),
        ({f"{ROOT}/train.txt": b"2011_99\n"}, "have no MAT file"),
        ({f"{ROOT}/train.txt": b"2011_99\n", f"{ROOT}/cls/2011_99.mat": mat(LABELS)}, "have no image in"),
        ({f"{ROOT}/cls/2008_02.mat": None}, r"1 listed images have no MAT file .*2008_02"),
        ({f"{ROOT}/cls/2008_02.mat": b"x"}, "2008_02.mat: is no MAT file"),
        ({f"{ROOT}/cls/a b.mat": mat(LABELS)}, "image 'a b'"),
    ],
)
def test_what_does_not_fit_leaves_nothing(
    tmp_path: Path, voc: Path, change: dict[str, bytes | None], words: str
) -> None:
    files = {name: data for name, data in (sbd_files() | change).items() if data is not None}
    archive = archive_of(tmp_path, files)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=words):
        make(archive, voc)
    assert sorted(tmp_path.rglob("*")) == before


def test_lists_and_maps_of_others_are_left(tmp_path: Path, voc: Path) -> None:
    archive = archive_of(tmp_path, sbd_files())
    (voc / sbd.LIST).write_text("mine\n")
    with pytest.raises(UsageError, match="another list"):
        sbd.plan(archive, voc)
    (voc / sbd.LABELS).mkdir()
    with pytest.raises(UsageError, match=r"first: mine"):
        sbd.is_there(voc)
    (voc / sbd.LABELS / "mine.png").write_bytes(b"")
    assert sbd.is_there(voc)  # as of MMSegmentation's own script
    (voc / sbd.LIST).unlink()
    with pytest.raises(UsageError, match=r"without .*aug.txt"):
        sbd.is_there(voc)
    assert [path.name for path in (voc / sbd.LABELS).iterdir()] == ["mine.png"]


def test_stopped_and_started_again(tmp_path: Path, voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = archive_of(tmp_path, sbd_files())

    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    before = sorted(tmp_path.rglob("*"))
    plan = sbd.plan(archive, voc)
    with pytest.raises(KeyboardInterrupt):
        sbd.convert(archive, voc, plan, stop)
    assert sorted(tmp_path.rglob("*")) == before

    def stop_late() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("transfer.data.sbd.os.sync", stop_late)
        with pytest.raises(KeyboardInterrupt):
            sbd.convert(archive, voc, plan)
    assert not (voc / sbd.LABELS).exists() and not sbd.is_there(voc)
    make(archive, voc)
    assert sbd.is_there(voc)


def test_no_room(tmp_path: Path, voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_place: object, _sizes: object) -> None:
        raise DiskError("full")

    monkeypatch.setattr("transfer.data.sbd.safe_tar.check_space", full)
    with pytest.raises(DiskError):
        make(archive_of(tmp_path, sbd_files()), voc)
    assert not (voc / sbd.LABELS).exists() and not (voc / sbd.LIST).exists()
