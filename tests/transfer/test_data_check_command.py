"""`bench data check`, through the command line: every fault is listed, a good set is described."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.commands._check import layouts
from bench.commands.data import command
from bench.core.errors import DataError, UsageError
from tests.helpers.engine import options, voc_det
from tests.helpers.voc_set import annotation, copy_of, edit, first_id, make_devkit
from transfer.api import TASKS
from transfer.data.voc import read_voc
from transfer.run import make_plan


def run(*arguments: object) -> tuple[str, BaseException | None]:
    """(stdout, the error)."""
    words = ["check", *(str(argument) for argument in arguments)]
    result = CliRunner().invoke(command, words, standalone_mode=False)
    return result.stdout, result.exception


def test_every_layout_of_the_registry_has_a_check() -> None:
    assert layouts().keys() == {layout.name for _, task in TASKS for layout in task.spec.layouts}
    out, error = run("--help")
    assert error is None
    assert all(layout in out for layout in layouts())


def test_a_good_set(voc: Path) -> None:
    out, error = run("voc", voc)
    assert error is None
    first, *_ = out.splitlines()
    assert first == f"{voc}: no fault"
    assert "6 train, 3 test" in out
    assert "custom" in out
    values = json.loads(run("voc", voc, "--json")[0])
    assert values["faults"] == []
    assert values["counts"] == {"train": 6, "test": 3}
    assert len(values["fingerprint"]) == 64


def test_counts_are_held_against_the_published_ones(voc: Path, tmp_path: Path) -> None:
    devkit = make_devkit(voc, tmp_path)
    out, error = run("voc", devkit)
    assert error is None
    for line in (
        "VOC2007/trainval: 6 images (protocol: 5,011)",
        "VOC2012/trainval: 6 images (protocol: 11,540)",
        "VOC2007/test: 3 images (protocol: 4,952)",
    ):
        assert line in out


def spoil_every_training_image(root: Path) -> list[str]:
    names = (root / "ImageSets/Main/trainval.txt").read_text().split()
    for name in names:
        edit(root / "Annotations" / f"{name}.xml", "<name>", "<name>un")
    return names


def test_all_faults_are_listed_and_none_twice(voc: Path, tmp_path: Path) -> None:
    root = copy_of(voc, tmp_path / "set")
    names = spoil_every_training_image(root)
    main = root / "ImageSets" / "Main" / "trainval.txt"
    with open(main, "a") as file:
        file.writelines(f"missing{index:02}\n" for index in range(30))
        file.write("../../etc/passwd\nhas flags 1\n")
    picture = root / "JPEGImages" / f"{first_id(root, 'test')}.jpg"
    picture.write_bytes(picture.read_bytes()[:-400])
    out, error = run("voc", root)
    assert isinstance(error, DataError)
    lines = out.splitlines()
    assert len(lines) == len(set(lines)) == len(error_count(run("voc", root, "--json")[0]))
    for name in names:
        assert any(f"{name}.xml, object 1: unknown class" in line for line in lines)
    # Annotation and picture of each.
    assert sum("missing" in line for line in lines) >= 60
    assert any("passwd" in line and "line 37" in line for line in lines)
    assert any("several columns" in line and "line 38" in line for line in lines)
    assert any(str(picture) in line for line in lines)
    assert f"{len(lines)} faults" in str(error)


def error_count(text: str) -> list[str]:
    values: dict[str, Any] = json.loads(text)
    found: list[str] = values["faults"]
    return found


def test_a_truncated_picture_is_found_by_the_check_and_before_a_transfer(voc: Path, tmp_path: Path) -> None:
    root = copy_of(voc, tmp_path / "set")
    picture = root / "JPEGImages" / f"{first_id(root, 'test')}.jpg"
    picture.write_bytes(picture.read_bytes()[:-400])
    out, error = run("voc", root)
    assert isinstance(error, DataError)
    assert out.startswith(str(picture)) and "truncated" in out
    with pytest.raises(DataError, match="truncated"):
        make_plan(voc_det(), options(tmp_path, root))


@pytest.mark.parametrize("name", ["JPEGImages/{}.jpg", "Annotations/{}.xml", "ImageSets/Main/test.txt"])
def test_a_pipe_is_not_waited_for(voc: Path, tmp_path: Path, name: str) -> None:
    root = copy_of(voc, tmp_path / "set")
    path = root / name.format(first_id(root, "test"))
    path.unlink()
    os.mkfifo(path)
    out, error = run("voc", root)
    assert isinstance(error, DataError)
    assert f"{path}: cannot be read" in out


def test_an_unknown_layout_is_an_error_that_names_the_known(voc: Path) -> None:
    _, error = run("vox", voc)
    assert isinstance(error, UsageError)
    assert 'Did you mean "voc"?' in str(error)


@pytest.mark.parametrize("name", ["", "ImageSets", "ImageSets/Main"])
def test_a_folder_that_may_not_be_read_is_named(
    voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    root = copy_of(voc, tmp_path / "set")
    closed = root / name
    real = os.stat, os.listdir

    def stat(path: Any, **values: Any) -> Any:
        if closed in Path(os.fspath(path)).parents:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real[0](path, **values)

    def listdir(path: Any) -> list[str]:
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real[1](path)

    # As root everything may be read, so the system's answer is made.
    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "listdir", listdir)
    with pytest.raises(DataError, match="Permission denied"):
        read_voc(root, train=("VOC2007/trainval",), test="VOC2007/test")


@pytest.mark.parametrize("name", ["Annotations", "JPEGImages"])
def test_a_file_that_may_not_be_read_is_named(voc: Path, tmp_path: Path, name: str) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    root = copy_of(voc, tmp_path / "set")
    path = next((root / name).iterdir())
    path.chmod(0)
    out, error = run("voc", root)
    assert isinstance(error, DataError) and str(path) in out


def test_no_set_at_all(tmp_path: Path) -> None:
    out, error = run("voc", tmp_path / "nowhere")
    assert isinstance(error, DataError)
    assert "no such folder" in out


def test_control_characters_of_a_file_reach_no_terminal(voc: Path, tmp_path: Path) -> None:
    root = copy_of(voc, tmp_path / "set")
    edit(annotation(root, "test"), "<name>", "<name>\x7f\u202e")
    out, error = run("voc", root)
    assert isinstance(error, DataError)
    assert "\x7f" not in out and "\u202e" not in out


@pytest.mark.parametrize("name", ["bccd_voc", "openimages5_voc", "person_cc_voc", "voc_cc_mini"])
def test_real_sets_have_no_fault(real_data: Path, name: str) -> None:
    out, error = run("voc", real_data / name)
    assert error is None, out
