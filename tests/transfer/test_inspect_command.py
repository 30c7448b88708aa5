"""`bench inspect`, through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from bench.commands import _text
from bench.commands.inspect import command
from bench.core.errors import WeightsError
from tests.helpers.checkpoints import BGR, linked, make_half, make_moco, make_students
from tests.test_cli import START
from transfer.adapters.load import load_backbone


def run(*arguments: object) -> tuple[str, BaseException | None]:
    """(stdout, the error)."""
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(command, words, standalone_mode=False)
    return result.stdout, result.exception


def run_json(*arguments: object) -> dict[str, Any]:
    out, _ = run(*arguments, "--json")
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.fixture(scope="module")
def moco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_moco(tmp_path_factory.mktemp("inspect") / "moco_v2.pth.tar")


@pytest.fixture(scope="module")
def dropped(moco: Path) -> dict[str, list[str]]:
    """What its JSON says is left out."""
    found: dict[str, list[str]] = run_json(moco)["dropped"]
    return found


def test_text_of_a_good_file(checkpoint: Path) -> None:
    out, error = run(checkpoint)
    card = load_backbone(checkpoint).card
    assert error is None
    assert out.startswith(f"{checkpoint}: ")
    for word in (card.name, card.source_sha256, card.tensors_sha256, "RGB", "123.675", "265 of 265 tensors"):
        assert str(word) in out
    assert "layout    torchvision\n" in out
    assert "53 num_batches_tracked" in out and "fc.*" in out


def test_json_of_a_good_file(checkpoint: Path) -> None:
    found = run_json(checkpoint)
    assert found["card"] == load_backbone(checkpoint).card.model_dump(mode="json")
    assert (found["layout"], found["problem"], found["size_bytes"]) == (
        "torchvision",
        "",
        checkpoint.stat().st_size,
    )
    assert found["dropped"]["fc.*"] == ["fc.weight", "fc.bias"]


@pytest.fixture(scope="module")
def text(moco: Path) -> str:
    out, error = run(moco)
    assert error is None
    return out


def test_both_encoders_of_moco(moco: Path, text: str) -> None:
    for label, prefix in (("query", "q"), ("key", "k")):
        assert f"{label}: state_dict:module.encoder_{prefix}. (265 of 265 names)" in text
    assert "322 module.encoder_k.*" in text
    out, _ = run(moco, "--encoder", "key")
    assert "322 module.encoder_q.*" in out and "moco_v2.key" in out


def test_keys(moco: Path, text: str, dropped: dict[str, list[str]]) -> None:
    every, _ = run(moco, "--keys")
    assert len(text.splitlines()) < 40
    for rule, names in dropped.items():
        assert all(f" {name}\n" in every for name in names), rule
    assert dropped["module.encoder_k.*"][-1] not in text


def test_where_a_copy_comes_from(tmp_path: Path, checkpoint: Path) -> None:
    card = load_backbone(checkpoint).card.model_dump(mode="json")
    said = {"source_file": "first.pth", "source_sha256": "1" * 64, "layout": "moco", "licence": "MIT"}
    out, error = run(linked(checkpoint, tmp_path, {**card, **said}))
    assert error is None
    assert "first.pth, layout moco" in out and "MIT" in out and ".card.json" in out


def test_a_file_that_cannot_be_used_is_shown_all_the_same(tmp_path: Path) -> None:
    path = make_half(tmp_path / "half.pth")
    done = subprocess.run([*START, "inspect", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 5
    for word in ("sha256", "torch zip", "318 tensors", "state_dict: (265 of 265 names)", "half-width"):
        assert word in done.stdout
    assert "taken" not in done.stdout
    assert done.stderr.startswith("bench: ") and len(done.stderr.splitlines()) == 1
    assert "half-width" in done.stderr and "Traceback" not in done.stderr
    out, error = run(path, "--json")
    assert isinstance(error, WeightsError) and error.exit_code == 5
    assert json.loads(out)["problem"] == str(error)


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"PK\x03\x04 and no more"])
def test_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    _, error = run(path)
    assert isinstance(error, WeightsError)
    assert str(path) in str(error)


@pytest.mark.parametrize("path", [".", "gone.pth"])
def test_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    out, error = run(path)
    assert isinstance(error, WeightsError) and out == ""


EVIL = "\x1b]0;mine\x07\x1b[2J\x9b31m\u202e\r\ud800."


def evil(path: Path) -> Path:
    """A file whose names would write to the terminal: of an encoder, a rule, a container and a group."""
    make_students(path, ("net.", EVIL))
    state = torch.load(path, weights_only=True)
    torch.save({"state_dict": state, EVIL: {f"{EVIL}x": torch.zeros(1)}}, path)
    return path


def test_names_from_the_file_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    path = linked(evil(tmp_path / "evil.pth"), tmp_path, {"notes": [EVIL[:-2]], "url": EVIL[:-2]}, name="x")
    for arguments in (["--encoder", "net.", "--keys"], []):
        out, error = run(path, *arguments)
        assert all(line.isprintable() for line in out.split("\n"))
        assert r"\x1b" in out
        assert str(error or "").isprintable()
        out, _ = run(path, *arguments, "--json")
        assert out.isascii() and "\x1b" not in out
        assert EVIL in {
            encoder["place"].removeprefix("state_dict:") for encoder in json.loads(out)["encoders"]
        }


def test_a_long_name_is_cut(tmp_path: Path) -> None:
    torch.save(
        {"x" * 100_000: torch.zeros(1), "y" * 100_000: {"z" * 100_000: torch.zeros(1)}}, tmp_path / "x"
    )
    out, error = run(tmp_path / "x")
    assert max(map(len, out.splitlines())) < 1000
    assert len(str(error)) < 1000


@pytest.mark.parametrize("width", [80, 120])
def test_lines_are_folded_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkpoint: Path, width: int
) -> None:
    monkeypatch.setattr(_text, "terminal_width", lambda: width)
    out, _ = run(linked(checkpoint, tmp_path, {"input": BGR, "notes": ["word " * 60]}, name="m"))
    # A path is one word, and never broken.
    assert [line for line in out.splitlines() if len(line) > width and str(tmp_path) not in line] == []
    assert out.count("\n") > 15
    monkeypatch.setattr(_text, "terminal_width", lambda: None)
    assert " ".join(out.split()) == " ".join(run(tmp_path / "m")[0].split())


def test_it_is_quick_and_imports_no_engine(checkpoint: Path) -> None:
    code = (
        "import sys\nfrom bench.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write(' '.join(sys.modules))"
    )
    times = []
    for _ in range(3):
        start = os.times()
        done = subprocess.run(
            [sys.executable, "-c", code, "inspect", str(checkpoint)],
            capture_output=True,
            text=True,
            check=True,
        )
        end = os.times()
        # Of the processor: beside other tests, the clock says more of them than of us.
        times.append(end.children_user + end.children_system - start.children_user - start.children_system)
        if times[-1] < 2:
            break
    assert "265 of 265 tensors" in done.stdout
    modules = {name.partition(".")[0] for name in done.stderr.split()}
    assert not modules & {"torch", "torchvision", "detectron2", "mmseg", "mmengine", "mmcv", "timm", "pandas"}
    assert checkpoint.stat().st_size > 100e6
    assert min(times) < 2
