"""`bench data synth` and `bench data show`, through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from bench.commands.data import command
from bench.core.errors import DataError, UsageError

SMALL = [
    "--detection-train",
    "4",
    "--detection-test",
    "2",
    "--class-train",
    "2",
    "--class-val",
    "1",
    "--workers",
    "1",
]


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("command") / "synth"
    assert "wrote 36 images" in _run("synth", "--out", str(path), *SMALL)
    return path


def test_json_says_what_was_written(tmp_path: Path) -> None:
    result = json.loads(_run("synth", "--out", str(tmp_path / "set"), "--json", *SMALL))
    assert result["num_images"] == 36
    assert result["dry_run"] is False
    assert Path(result["out"], "dataset.json").is_file()


def test_dry_run_writes_nothing_and_finds_what_would_fail(root: Path, tmp_path: Path) -> None:
    assert "would write 4,900 images" in _run("synth", "--out", str(tmp_path / "set"), "--dry-run")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="--force"):
        _run("synth", "--out", str(root), "--dry-run")
    with pytest.raises(UsageError, match="32 to 1024"):
        _run("synth", "--out", str(tmp_path / "set"), "--dry-run", "--size", "7")


def test_force_replaces(root: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        _run("synth", "--out", str(root), *SMALL)
    assert "seed 0" in _run("synth", "--out", str(root), "--force", *SMALL)


@pytest.mark.parametrize(
    ("part", "options", "said"),
    [
        ("", [], "4 images"),
        ("voc", ["--split", "test"], "2 images"),
        ("folder", ["--split", "val", "--count", "7"], "7 images"),
        ("folder/train", [], "20 images"),
    ],
)
def test_show_draws_a_sheet(root: Path, tmp_path: Path, part: str, options: list[str], said: str) -> None:
    out = tmp_path / "sheet.png"
    assert said in _run("show", str(root / part), "--out", str(out), *options)
    with Image.open(out) as image:
        assert image.format == "PNG"
        assert min(image.size) > 200


def test_show_refuses_with_the_reason(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    with pytest.raises(DataError, match="no such folder"):
        _run("show", str(tmp_path / "nowhere"), "--out", str(out))
    with pytest.raises(UsageError, match='Did you mean "test"'):
        _run("show", str(root), "--split", "tset", "--out", str(out))
    with pytest.raises(DataError, match="no image, no class folder"):
        _run("show", str(tmp_path), "--out", str(out))
    assert not out.exists()
    out.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already"):
        _run("show", str(root), "--out", str(out))
    assert out.read_bytes() == b"mine"


def test_importing_the_command_imports_nothing_heavy() -> None:
    code = (
        "import sys, bench.commands.data\n"
        "heavy = ('numpy', 'PIL', 'rich', 'torch', 'bench.synth.scene')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["synth", "show"])
def test_help_ends_with_examples(name: str) -> None:
    text = CliRunner().invoke(command, [name, "--help"]).stdout
    assert f"bench data {name}" in text.split("Examples:")[1]
