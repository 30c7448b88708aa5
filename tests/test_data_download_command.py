"""`bench data download` against a server of our own: whole, resumed, refused, stopped, killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bench.commands import _download
from bench.commands._download import command
from bench.commands.data import command as data_command
from bench.core import atomic, download, lock, safe_tar
from bench.core.errors import DataError, DiskError, UsageError
from bench.images.source import open_source
from tests.helpers.download_sets import AUG, TRAIN, put_on
from tests.helpers.file_server import Site, serve
from transfer.data.download_sets import SETS
from transfer.data.voc import read_voc

ROOT = Path(__file__).parents[1]


class Served:
    """A site with all archives, `bodies`."""

    def __init__(self, site: Site, bodies: dict[str, bytes]) -> None:
        self.site, self.bodies = site, bodies

    @property
    def asked(self) -> list[str]:
        return [path.removeprefix("/") for path, _ in self.site.asked]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as site:
        yield Served(site, put_on(site, monkeypatch))


def run(*arguments: object) -> tuple[str, str]:
    """(stdout, stderr) of the command; its error is raised."""
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(command, words, catch_exceptions=False, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.stdout, result.stderr


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_it_is_a_command_and_its_help_names_every_set() -> None:
    assert data_command.commands["download"] is command
    text = command.help or ""
    lines = [line.split(maxsplit=1) for line in text.splitlines()]
    assert all([name, what] in lines for name, what in SETS.items())


def test_voc0712_is_what_the_reader_takes(served: Served, tmp_path: Path) -> None:
    out, err = run("voc0712", "--out", tmp_path / "data")
    assert served.asked == ["trainval07.tar", "test07.tar", "trainval12.tar"]
    assert out.count(": made\n") == 2 and all(f"{served.site.url}/{name}" in err for name in served.asked)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["VOCdevkit"]
    train = ("VOC2007/trainval", "VOC2012/trainval")
    data = read_voc(tmp_path / "data" / "VOCdevkit", train=train, test="VOC2007/test")
    assert (len(data.train), len(data.test)) == (8, 2)


def test_voc_seg_adds_label_maps_to_a_voc2012_that_is_there(served: Served, tmp_path: Path) -> None:
    run("voc2012", "--out", tmp_path)
    found = json.loads(run("voc-seg", "--out", tmp_path, "--json")[0])
    assert served.asked == ["trainval12.tar", "benchmark.tgz"]
    assert [(part["was_there"], part["made"]) for part in found["parts"]] == [(True, False), (False, True)]
    voc = tmp_path / "VOCdevkit" / "VOC2012"
    assert (voc / "ImageSets/Segmentation/aug.txt").read_text().split() == list(AUG)
    for name in AUG:
        labels = Image.open(voc / "SegmentationClassAug" / f"{name}.png")
        assert labels.mode == "P" and int(np.asarray(labels).max()) <= 20
    assert found["notes"] == [f"{voc}/ImageSets/Segmentation/aug.txt: train 2 + aug 3 = 5 images"]
    assert len(TRAIN) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["VOCdevkit"]


def test_imagenette_is_read_as_class_folders(served: Served, tmp_path: Path) -> None:
    run("imagenette", "--out", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["imagenette2"]
    images = open_source(tmp_path / "imagenette2" / "train")
    assert images.classes == ("n01", "n02") and len(images) == 2


def test_a_second_time_nothing_is_asked_and_nothing_changes(served: Served, tmp_path: Path) -> None:
    run("voc-seg", "--out", tmp_path)
    before = tree(tmp_path), {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    served.site.asked.clear()
    out, err = run("voc-seg", "--out", tmp_path)
    assert served.asked == [] and err == "" and out.count("is there already") == 2
    assert before == (tree(tmp_path), {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")})


@pytest.mark.parametrize("options", [[], ["--json"], ["--keep-archives"]])
@pytest.mark.parametrize("name", SETS)
def test_dry_run_asks_nobody_and_writes_nothing(
    served: Served, tmp_path: Path, name: str, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets.imagenette import Imagenette

    sizes = {key: Imagenette._ARCHIVES["full"] for key in ("160px", "320px")}
    monkeypatch.setattr(Imagenette, "_ARCHIVES", Imagenette._ARCHIVES | sizes)
    out, err = run(name, "--out", tmp_path / "data", "--dry-run", *options)
    assert served.site.asked == [] and list(tmp_path.iterdir()) == []
    assert served.site.url in err
    if options == ["--json"]:
        found = json.loads(out)
        assert found["dry_run"] is True and not any(part["made"] for part in found["parts"])
    else:
        assert "would be made" in out


def test_archives_that_are_kept_and_found_again(served: Served, tmp_path: Path) -> None:
    run("voc2007", "--out", tmp_path, "--keep-archives")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["VOCdevkit", "test07.tar", "trainval07.tar"]
    assert (tmp_path / "test07.tar").read_bytes() == served.bodies["test07.tar"]
    shutil.rmtree(tmp_path / "VOCdevkit")
    served.site.asked.clear()
    dry, err = run("voc2007", "--out", tmp_path, "--dry-run")
    assert err.count("is there, md5") == 2 and "would be made" in dry
    out, _ = run("voc2007", "--out", tmp_path)
    assert served.asked == []
    assert out.count("was there, and is left") == 2  # they may be the user's own
    assert sorted(path.name for path in tmp_path.iterdir()) == ["VOCdevkit", "test07.tar", "trainval07.tar"]


def test_a_broken_connection_goes_on_with_the_rest(served: Served, tmp_path: Path) -> None:
    served.site.cut = 5000
    with pytest.raises(DataError, match="same command goes on"):
        run("voc2007", "--out", tmp_path)
    assert tree(tmp_path / "archives.part")[-1] == "trainval07.tar.part/said.json"
    served.site.cut = None
    run("voc2007", "--out", tmp_path)
    assert [ask for ask in served.site.asked if ask[1]] == [("/trainval07.tar", "bytes=5000-")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["VOCdevkit"]


def test_whole_archives_survive_a_stop_and_are_kept_if_asked_now(served: Served, tmp_path: Path) -> None:
    body = served.site.files.pop("/test07.tar")
    with pytest.raises(DataError, match="404"):
        run("voc2007", "--out", tmp_path)
    assert tree(tmp_path) == ["archives.part", "archives.part/.lock", "archives.part/trainval07.tar"]
    served.site.files["/test07.tar"] = body
    served.site.asked.clear()
    run("voc2007", "--out", tmp_path, "--keep-archives")
    assert served.asked == ["test07.tar"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["VOCdevkit", "test07.tar", "trainval07.tar"]


def test_another_md5_is_never_unpacked(served: Served, tmp_path: Path) -> None:
    served.site.files["/trainval07.tar"] += bytes(512)
    with pytest.raises(DataError, match="md5") as caught:
        run("voc2007", "--out", tmp_path / "data")
    assert caught.value.exit_code == 4
    assert list(tmp_path.iterdir()) == []


def test_a_hostile_archive_of_the_right_md5_leaves_itself_alone(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_tar, "MAX_MEMBER_BYTES", 10)
    with pytest.raises(DataError, match=r"trainval07.tar: .*refused"):
        run("voc2007", "--out", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archives.part"]


def test_what_is_no_archive_is_left_and_named(served: Served, tmp_path: Path) -> None:
    (tmp_path / "trainval07.tar").write_bytes(b"mine")
    for options in ([], ["--dry-run"]):
        with pytest.raises(UsageError, match=r"trainval07.tar: is there already, but it is not"):
            run("voc2007", "--out", tmp_path, *options)
    assert tree(tmp_path) == ["trainval07.tar"] and served.site.asked == []


def test_a_folder_that_is_not_whole_is_left(served: Served, tmp_path: Path) -> None:
    (tmp_path / "VOCdevkit" / "VOC2007").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"VOC2007: is there already, but"):
        run("voc0712", "--out", tmp_path)
    assert tree(tmp_path) == ["VOCdevkit", "VOCdevkit/VOC2007"] and served.site.asked == []


def test_a_file_where_the_folder_should_be(served: Served, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "VOCdevkit").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "data", tmp_path / "data"):
        with pytest.raises(DiskError):
            run("voc2007", "--out", out)


def test_no_room_to_unpack_keeps_the_archives(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("bench.core.safe_tar.shutil.disk_usage", lambda _place: SimpleNamespace(free=10))
        with pytest.raises(DiskError, match="10 are free") as caught:
            run("voc2012", "--out", tmp_path)
    assert caught.value.exit_code == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archives.part"]
    run("voc2012", "--out", tmp_path)
    assert served.asked == ["trainval12.tar"]


def full_disk(_bytes: object) -> BinaryIO:
    return open("/dev/full", "ab")


def test_a_full_disk_while_it_downloads_and_while_it_unpacks(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(download._Bytes, "append", full_disk)
        with pytest.raises(DiskError, match="the disk is full"):
            run("voc2012", "--out", tmp_path / "data")
    write, written = atomic.StagedFolder.write, []

    def full(stage: atomic.StagedFolder, name: str, data: bytes) -> None:
        written.append(name)
        if len(written) == 4:
            raise DiskError("the disk is full")
        write(stage, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(atomic.StagedFolder, "write", full)
        with pytest.raises(DiskError):
            run("voc2012", "--out", tmp_path / "data")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["archives.part"]
    run("voc2012", "--out", tmp_path / "data")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["VOCdevkit"]


def test_of_two_at_once_the_second_is_told(served: Served, tmp_path: Path) -> None:
    with lock.hold(tmp_path / _download.ARCHIVES), pytest.raises(UsageError, match="in use by process"):
        run("voc2012", "--out", tmp_path)
    assert served.site.asked == []


# A process of its own: torchvision's table leads to the site, and something happens at the fourth file.
CHILD = """
import os, signal, sys
from torchvision.datasets.voc import DATASET_YEAR_DICT
from bench.core import atomic
url, md5, out, number = sys.argv[1:]
DATASET_YEAR_DICT["2012"] |= {"url": url, "filename": "trainval12.tar", "md5": md5}
write, done = atomic.StagedFolder.write, []
def writing(stage, name, data):
    write(stage, name, data)
    done.append(name)
    if len(done) == 4:
        os.kill(os.getpid(), int(number))
atomic.StagedFolder.write = writing
sys.argv = ["bench", "data", "download", "voc2012", "--out", out]
from bench.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_or_killed_while_it_unpacks(served: Served, tmp_path: Path, number: signal.Signals) -> None:
    import hashlib

    md5 = hashlib.md5(served.bodies["trainval12.tar"]).hexdigest()
    arguments = [f"{served.site.url}/trainval12.tar", md5, str(tmp_path), str(int(number))]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments],
        cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "VOCdevkit" / "VOC2012").exists()
    if number == signal.SIGINT:
        assert done.returncode == 130 and done.stderr.endswith("Stopped.\n")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["archives.part"]
    else:
        assert done.returncode == -number
        assert any(path.name.startswith(atomic.TEMP_PREFIX) for path in (tmp_path / "VOCdevkit").iterdir())
    run("voc2012", "--out", tmp_path)
    assert served.asked == ["trainval12.tar"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["VOCdevkit"]
    assert sorted(path.name for path in (tmp_path / "VOCdevkit").iterdir()) == ["VOC2012"]
