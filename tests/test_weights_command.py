"""`bench weights`: the list, and a download from a server of our own with its card."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.commands.weights import command
from bench.core.card import InputSpec
from bench.core.card_file import card_path, read_declared
from bench.core.download import Digest
from bench.core.errors import UsageError, WeightsError
from tests.helpers.file_server import Site, serve
from transfer.adapters import public_weights
from transfer.adapters.load import load_backbone
from transfer.adapters.public_weights import PUBLIC_WEIGHTS, PublicWeights

NAME = "resnet50.toy_v1"
INPUT = InputSpec(channel_order="bgr", mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0), stride_in="1x1")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> Iterator[Site]:
    """A server with one checkpoint, and the table with that one alone."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    body = checkpoint.read_bytes()
    with serve() as site:
        site.files["/toy.pth"] = body
        entry = PublicWeights(
            name=NAME,
            url=f"{site.url}/toy.pth",
            digest=Digest("md5", hashlib.md5(body).hexdigest()[:8]),
            source="owner/repository README.md",
            licence="MIT",
            layout="torchvision",
            input=INPUT,
            note="of a test",
        )
        monkeypatch.setattr(public_weights, "PUBLIC_WEIGHTS", (entry,))
        yield site


def run(*arguments: object) -> tuple[str, str]:
    """(stdout, stderr) of the command; its error is raised."""
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(command, words, catch_exceptions=False, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.stdout, result.stderr


def test_the_list_has_every_entry_on_one_line() -> None:
    table, _ = run("list")
    lines = table.splitlines()
    for entry in PUBLIC_WEIGHTS:
        line = next(line for line in lines if line.startswith(f"{entry.name} "))
        assert entry.digest.digits in line
        assert entry.licence in line
        assert line.endswith(entry.source)


def test_the_list_as_json() -> None:
    entries = json.loads(run("list", "--json")[0])
    assert [entry["name"] for entry in entries] == [entry.name for entry in PUBLIC_WEIGHTS]
    assert [entry["url"] for entry in entries] == [entry.url for entry in PUBLIC_WEIGHTS]
    assert any(entry["input"] is not None and entry["input"]["channel_order"] == "bgr" for entry in entries)


def test_what_is_got_is_loaded_as_its_card_says(site: Site, tmp_path: Path) -> None:
    out, err = run("get", NAME, "--out", tmp_path / "weights")
    path = tmp_path / "weights" / "toy.pth"
    sha256 = hashlib.sha256(site.files["/toy.pth"]).hexdigest()
    assert path.read_bytes() == site.files["/toy.pth"]
    assert str(path) in out and sha256 in out
    assert f"{site.url}/toy.pth" in err and "MIT" in err
    card = load_backbone(path).card
    assert (card.name, card.source_sha256, card.source_file) == (NAME, sha256, "toy.pth")
    assert (card.url, card.licence, card.input) == (f"{site.url}/toy.pth", "MIT", INPUT)
    assert "of a test" in card.notes
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["toy.pth", "toy.pth.card.json"]


def test_json_and_a_second_time(site: Site, tmp_path: Path) -> None:
    first = json.loads(run("get", NAME, "--out", tmp_path, "--json")[0])
    second = json.loads(run("get", NAME.removeprefix("resnet50."), "--out", tmp_path, "--json")[0])
    assert first["downloaded"] is True
    assert second == first | {"downloaded": False}
    assert len(site.asked) == 1
    assert Path(first["card"]).is_file()


def test_dry_run_asks_nobody_and_writes_nothing(site: Site, tmp_path: Path) -> None:
    found = json.loads(run("get", NAME, "--out", tmp_path / "weights", "--dry-run", "--json")[0])
    assert (found["downloaded"], found["sha256"], found["dry_run"]) == (False, None, True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "toy.pth").write_bytes(site.files["/toy.pth"])
    run("get", NAME, "--out", tmp_path, "--dry-run")
    assert [path.name for path in tmp_path.iterdir()] == ["toy.pth"]
    assert site.asked == []


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_what_is_there_is_replaced_only_when_asked(site: Site, tmp_path: Path, dry_run: list[str]) -> None:
    path = tmp_path / "toy.pth"
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="--force"):
        run("get", NAME, "--out", tmp_path, *dry_run)
    path.unlink()
    card_path(path).write_text('{"name": "mine"}')
    with pytest.raises(UsageError, match="--force"):
        run("get", NAME, "--out", tmp_path, *dry_run)
    assert card_path(path).read_text() == '{"name": "mine"}'
    assert site.asked == []
    run("get", NAME, "--out", tmp_path, "--force")
    declared = read_declared(path)
    assert declared is not None and declared.name == NAME


def test_another_card_beside_the_right_file_is_refused(site: Site, tmp_path: Path) -> None:
    """It may lack the input that the weights expect."""
    path = tmp_path / "toy.pth"
    path.write_bytes(site.files["/toy.pth"])
    card_path(path).write_text('{"name": "mine"}')
    with pytest.raises(UsageError, match="is not the card of"):
        run("get", NAME, "--out", tmp_path)
    assert card_path(path).read_text() == '{"name": "mine"}'
    run("get", NAME, "--out", tmp_path, "--force")
    declared = read_declared(path)
    assert declared is not None and declared.name == NAME
    assert site.asked == []


def test_a_wrong_file_leaves_nothing(site: Site, tmp_path: Path) -> None:
    site.files["/toy.pth"] = b"another"
    with pytest.raises(WeightsError, match="md5"):
        run("get", NAME, "--out", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nobody_answers_and_no_folder_is_left(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve() as gone:
        url = f"{gone.url}/toy.pth"
    (entry,) = public_weights.PUBLIC_WEIGHTS
    monkeypatch.setattr(public_weights, "PUBLIC_WEIGHTS", (dataclasses.replace(entry, url=url),))
    with pytest.raises(WeightsError, match="refused"):
        run("get", NAME, "--out", tmp_path / "new" / "weights")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(WeightsError, match="refused"):
        run("get", NAME, "--out", tmp_path / "mine")
    assert (tmp_path / "mine").is_dir()


def test_a_folder_whose_name_cannot_be_printed(site: Site, tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"bad\xff\x1b[2J")
    for options in ([], ["--dry-run"], ["--json"]):
        said, _ = run("get", NAME, "--out", out, *options)
        assert all(line.isprintable() for line in said.split("\n"))
    assert (out / "toy.pth").is_file()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet50.moco_v2_800e", "moco_v2_800ep"),
        ("moco_v2_80ep", "moco_v2_800ep"),
        ("resnet50.torchvison_v2", "torchvision_v2"),
    ],
)
def test_the_nearest_name_is_suggested(tmp_path: Path, name: str, near: str) -> None:
    with pytest.raises(UsageError, match=near):
        run("get", name, "--out", tmp_path)


def test_an_unknown_name_says_where_the_names_are(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "weights", "get", "???", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=os.environ)
    assert (done.returncode, done.stdout) == (2, "")
    assert "bench weights list" in done.stderr
    assert "Did you mean" not in done.stderr
