"""SBD's label maps: every value arrives, the list is MMSegmentation's, what a MAT file claims is checked."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.core.errors import DataError, DiskError, UsageError
from bench.core.palette import voc_palette
from tests.helpers.download_sets import AUG, TRAIN, VAL, labels_of, mat, sbd_files, tar_of, voc_files
from transfer.data import sbd

LABELS = labels_of(5)


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no MAT file"),
    "text": (b"<html>" * 100, "no MAT file"),
    "pickle": (b"\x80\x04" + bytes(200), "no MAT file"),
    "cut off": (mat(LABELS, packed=True)[:-40], "no MAT file"),
    "another variable": (mat(LABELS, packed=False).replace(b"GTcls", b"GTxxx"), "no MAT file"),
    "21": (mat(np.full((3, 4), 21, np.uint8)), "the value .21"),
    "255": (mat(np.full((3, 4), 255, np.uint8)), "the value .255"),
    "-1": (mat(np.full((3, 4), -1, np.int16)), "the value .-1"),
    "a half": (mat(np.full((3, 4), 0.5)), "the value .0.5"),
    "nan": (mat(np.full((3, 4), np.nan)), "the value .nan"),
    "infinity": (mat(np.full((3, 4), np.inf)), "the value .inf"),
    "256": (mat(np.full((3, 4), 256, np.int32)), "the value .256"),
    "three sides": (mat(np.zeros((2, 2, 2), np.uint8)), "height x width"),
    "no pixel": (mat(np.zeros((0, 4), np.uint8)), "the value"),
    "letters": (mat(np.array(["ab", "cd"])), "height x width"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_sound_is_refused_with_the_file(name: str) -> None:
    data, words = BAD[name]
    with pytest.raises(DataError, match=words) as caught:
        sbd.read_labels(data, "benchmark.tgz: cls/2008_01.mat")
    assert str(caught.value).startswith("benchmark.tgz: cls/2008_01.mat: ")


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "f4", "f8"])
def test_every_kind_of_number_is_read(dtype: str, is_packed: bool) -> None:
    data = mat(LABELS.astype(dtype), packed=is_packed)
    found = sbd.read_labels(data, "x")
    assert found.dtype == np.uint8
    assert np.array_equal(found, LABELS)


def test_png_is_indexed_with_the_colours_of_voc() -> None:
    data = sbd.label_png(LABELS)
    assert data[24:26] == b"\x08\x03"  # 8 bits, indexed
    image = Image.open(io.BytesIO(data))
    assert image.mode == "P" and np.array_equal(np.asarray(image), LABELS)
    colours = bytes(value for colour in voc_palette() for value in colour)
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
        ({f"{ROOT}/cls/2008_02.mat": b"x"}, "2008_02.mat: no MAT file"),
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
