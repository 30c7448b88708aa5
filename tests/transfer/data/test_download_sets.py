"""Which archives make which set: from torchvision's tables, whole folders or none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import DataError, EngineError, UsageError
from tests.helpers.download_sets import NAMES, put_on, tar_of, voc_archives, voc_files
from tests.helpers.file_server import Site, serve
from transfer.data.download_sets import SETS, Unpacked, find_set
from transfer.data.voc import read_voc


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with serve() as site:
        put_on(site, monkeypatch)
        yield site


def nothing(_done: int, _total: int) -> None:
    pass


def archives_in(folder: Path, bodies: dict[str, bytes]) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    paths = {key: folder / f"{key}.tar" for key in bodies}
    for key, path in paths.items():
        path.write_bytes(bodies[key])
    return paths


@pytest.mark.parametrize("name", SETS)
def test_real_tables_have_every_set(name: str) -> None:
    found = find_set(name)
    archives = [archive for part in found.parts for archive in part.archives]
    assert found.name == name and archives
    for archive in archives:
        assert archive.url.startswith("https://") and archive.url.endswith(archive.file_name)
        assert (archive.digest.kind, len(archive.digest.digits)) == ("md5", 32)


def test_which_folders_a_set_is_made_of() -> None:
    def places(name: str) -> list[str]:
        return [str(part.place(Path("d"))) for part in find_set(name).parts]

    assert places("voc0712") == ["d/VOCdevkit/VOC2007", "d/VOCdevkit/VOC2012"]
    assert places("voc-seg") == ["d/VOCdevkit/VOC2012", "d/VOCdevkit/VOC2012/SegmentationClassAug"]
    assert places("imagenette-160") == ["d/imagenette2-160"]
    assert [archive.file_name for archive in find_set("voc2007").parts[0].archives] == [
        "VOCtrainval_06-Nov-2007.tar",
        "VOCtest_06-Nov-2007.tar",
    ]


@pytest.mark.parametrize(("name", "near"), [("voc0721", "voc0712"), ("vocseg", "voc-seg")])
def test_the_nearest_name_is_suggested(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=f'Did you mean "{near}"'):
        find_set(name)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {},
        {"url": "ftp://x/a.tar", "filename": "a.tar", "md5": "0" * 32, "base_dir": "VOCdevkit/VOC2012"},
        {"url": "https://x/a.tar", "filename": "../a.tar", "md5": "0" * 32, "base_dir": "VOCdevkit/VOC2012"},
        {"url": "https://x/a.tar", "filename": "a.tar", "md5": "0" * 8, "base_dir": "VOCdevkit/VOC2012"},
        {"url": "https://x/a.tar", "filename": "a.tar", "md5": None, "base_dir": "VOCdevkit/VOC2012"},
        {"url": "https://x/a.tar", "filename": "a.tar", "md5": "0" * 32, "base_dir": "elsewhere"},
    ],
)
def test_another_torchvision_is_named(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    if entry is None:
        monkeypatch.delitem(DATASET_YEAR_DICT, "2012")
    else:
        monkeypatch.setitem(DATASET_YEAR_DICT, "2012", entry)
    with pytest.raises(EngineError, match=r"torchvision .*DATASET_YEAR_DICT\['2012'\]"):
        find_set("voc0712")
    find_set("voc2007")


def test_other_tables_that_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets.imagenette import Imagenette
    from torchvision.datasets.sbd import SBDataset

    monkeypatch.delattr(SBDataset, "md5")
    monkeypatch.delattr(Imagenette, "_ARCHIVES")
    for name in ("voc-seg", "imagenette"):
        with pytest.raises(EngineError, match="torchvision"):
            find_set(name)


def test_what_is_made_is_what_the_reader_takes(tmp_path: Path, site: Site) -> None:
    paths = archives_in(tmp_path / "in", voc_archives())
    out = tmp_path / "data"
    first, second = find_set("voc0712").parts
    assert not first.is_there(out)
    first.build(out, [paths["2007"], paths["2007-test"]], nothing)
    second.build(out, [paths["2012"]], nothing)
    assert first.is_there(out) and second.is_there(out)
    train = ("VOC2007/trainval", "VOC2012/trainval")
    data = read_voc(out / "VOCdevkit", train=train, test="VOC2007/test")
    assert (len(data.train), len(data.test)) == (8, 2)


@pytest.mark.parametrize(
    ("year", "lists", "words"),
    [
        ("2007", {"Main/trainval": ("1",)}, "ImageSets/Main/test.txt is missing"),
        ("2012", {"Main/trainval": ("1",)}, "no file in VOCdevkit/VOC2007"),
    ],
)
def test_archives_that_are_not_whole_make_nothing(
    tmp_path: Path, site: Site, year: str, lists: dict[str, tuple[str, ...]], words: str
) -> None:
    paths = archives_in(tmp_path / "in", {"x": tar_of(voc_files(year, lists))})
    with pytest.raises(DataError, match=words):
        find_set("voc2007").parts[0].build(tmp_path / "data", [paths["x"]], nothing)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    "gone",
    [
        "ImageSets/Main/test.txt",
        "ImageSets",
        "JPEGImages/000002.jpg",
        "Annotations/000003.xml",
        "Annotations",
    ],
)
def test_a_folder_that_is_not_whole_is_left_and_named(tmp_path: Path, site: Site, gone: str) -> None:
    import shutil

    paths = archives_in(tmp_path / "in", voc_archives())
    part = find_set("voc2007").parts[0]
    part.build(tmp_path, [paths["2007"], paths["2007-test"]], nothing)
    path = part.place(tmp_path) / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UsageError, match=r"is there already, but .*Move it away"):
        part.is_there(tmp_path)


def test_a_voc2012_without_label_maps_serves_boxes_and_not_voc_seg(tmp_path: Path, site: Site) -> None:
    body = tar_of(voc_files("2012", {"Main/trainval": ("1", "2")}))
    paths = archives_in(tmp_path / "in", {"x": body})
    part = find_set("voc2012").parts[0]
    part.build(tmp_path, [paths["x"]], nothing)
    assert part.is_there(tmp_path)
    with pytest.raises(UsageError, match=r"ImageSets/Segmentation/train.txt"):
        find_set("voc-seg").parts[0].is_there(tmp_path)


def test_a_file_or_a_dead_link_in_its_place(tmp_path: Path, site: Site) -> None:
    (tmp_path / "VOCdevkit").mkdir()
    place = tmp_path / "VOCdevkit" / "VOC2007"
    part = find_set("voc2007").parts[0]
    place.write_text("mine")
    with pytest.raises(UsageError, match="Move it away"):
        part.is_there(tmp_path)
    place.unlink()
    place.symlink_to(tmp_path / "none")
    with pytest.raises(UsageError, match="Move it away"):
        part.is_there(tmp_path)


def test_of_two_processes_the_second_leaves_what_the_first_made(tmp_path: Path, site: Site) -> None:
    paths = archives_in(tmp_path / "in", voc_archives())
    part = find_set("voc2012").parts[0]
    assert isinstance(part, Unpacked)

    def other(done: int, total: int) -> None:
        if done == total:
            (part.place(tmp_path)).mkdir()
            (part.place(tmp_path) / "mine").write_text("mine")

    with pytest.raises(UsageError, match="another process"):
        part.build(tmp_path, [paths["2012"]], other)
    assert [path.name for path in part.place(tmp_path).iterdir()] == ["mine"]
    assert [path.name for path in (tmp_path / "VOCdevkit").iterdir()] == ["VOC2012"]


def test_names_of_archives_are_those_of_the_table(site: Site) -> None:
    archives = [archive for part in find_set("voc0712").parts for archive in part.archives]
    assert [archive.file_name for archive in archives] == list(NAMES.values())
