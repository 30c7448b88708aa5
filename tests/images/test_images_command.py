"""`bench data check images`: a good set is described, every fault is listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.commands.data import command
from bench.core.errors import DataError, UsageError
from tests.images.test_source import png, tar, write


def run(*arguments: object) -> tuple[str, BaseException | None]:
    """(stdout, the error)."""
    words = ["check", *(str(argument) for argument in arguments)]
    result = CliRunner().invoke(command, words, standalone_mode=False)
    return result.stdout, result.exception


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "set", {"cat/0.png": png(0), "dog/1.png": png(1), "dog/2.png": png(2)})


def test_a_good_set(root: Path) -> None:
    out, error = run("images", root, "--workers", 2)
    assert error is None
    lines = out.splitlines()
    assert lines[0] == f"{root}: no fault"
    assert [line.split(maxsplit=1) for line in lines[1:3]] == [["images", "3"], ["classes", "2: cat, dog"]]
    assert lines[3].split() == ["in", "a", "class", "1", "to", "2", "images"]
    values = json.loads(run("images", root, "--json")[0])
    assert lines[4].split() == ["fingerprint", values.pop("fingerprint")]
    assert values == {
        "folder": str(root),
        "faults": [],
        "num_images": 3,
        "classes": ["cat", "dog"],
        "class_counts": [1, 2],
    }


def test_no_classes_and_a_shard(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", [("x.png", png())])
    out, error = run("images", path)
    assert error is None
    assert "no classes" in out and "in a class" not in out
    values = json.loads(run("images", path, "--json")[0])
    assert (values["classes"], values["class_counts"]) == (None, None)


def test_many_classes_are_counted(tmp_path: Path) -> None:
    out, error = run("images", write(tmp_path / "set", {f"c{index:02}/x.png": png() for index in range(25)}))
    assert error is None
    assert "25: c00, " in out and "c19, and 5 more" in out and "c20" not in out


def test_faults_of_names_and_of_pixels(root: Path) -> None:
    write(root, {"cat/x.jpg": b"<html>", "dog/y.jpg": b"<html>"})
    out, error = run("images", root, "--workers", 0)
    assert isinstance(error, DataError) and error.exit_code == 4
    assert [line.partition(": ")[0] for line in out.splitlines()] == [
        str(root / "cat/x.jpg"),
        str(root / "dog/y.jpg"),
    ]
    assert str(error) == f"{root}: 2 faults; nothing can be trained on it"
    assert json.loads(run("images", root, "--json")[0])["faults"] == out.splitlines()
    write(root, {"dog/z.gif": b"GIF89a"})
    out, error = run("images", root)
    assert isinstance(error, DataError)
    assert out.splitlines() == [
        f"{root / 'dog/z.gif'}: not named like an image (.bmp, .jpeg, .jpg, .png, .ppm, .webp)"
    ]
    assert json.loads(run("images", root, "--json")[0])["faults"] == out.splitlines()


def test_it_is_listed_and_suggested() -> None:
    assert "To pretrain on" in run("--help")[0]
    _, error = run("image")
    assert isinstance(error, UsageError) and 'Did you mean "images"?' in str(error)


def test_control_characters_reach_no_terminal(root: Path) -> None:
    write(root, {"cat/a\x1b[2J.png": b"x"})
    out, error = run("images", root)
    assert isinstance(error, DataError)
    assert "\x1b" not in out
