"""`bench convert`, through the command line. What a tool makes of its file: `engines/test_proof.py`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import yaml

from bench.core.card import Card
from bench.core.card_file import card_path
from bench.core.errors import DiskError, UsageError, WeightsError
from bench.core.weights import Weights
from tests.helpers.checkpoints import BGR, linked, make_caffe2, make_moco
from tests.helpers.often import often
from tests.helpers.run_convert import files, run
from transfer.adapters import convert as adapters_convert
from transfer.adapters import load as adapters_load
from transfer.adapters.inspection import inspect_checkpoint
from transfer.adapters.load import load_backbone
from transfer.engines import proof
from transfer.engines.proof import Proof

CONFIGS = {"detectron2": ".yaml", "mmseg": ".py"}
SUFFIXES = [
    ("torchvision", ".safetensors"),
    ("detectron2", ".pkl"),
    ("mmseg", ".pth"),
    ("timm", ".pth"),
]


@pytest.fixture(scope="module")
def moco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_moco(tmp_path_factory.mktemp("convert") / "moco_v2.pth.tar")


@pytest.fixture(scope="module")
def source(moco: Path) -> Card:
    """The card of what is in it."""
    card = inspect_checkpoint(moco).card
    assert card is not None
    return card


@pytest.fixture(scope="module")
def plain(checkpoint: Path) -> Weights:
    return load_backbone(checkpoint)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, plain: Weights) -> None:
    """The checkpoint was read already."""
    monkeypatch.setattr(adapters_load, "load_backbone", lambda *_, **__: plain)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, read: None) -> None:
    """The same, and the file is a short one: for tests of where files are written."""
    monkeypatch.setattr(adapters_convert, "file_bytes", lambda *_: b"converted")


@pytest.fixture
def proven(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes]]:
    """The proof passes at once, and keeps the target and the file's bytes."""
    asked: list[tuple[str, bytes]] = []

    def prove(target: str, path: Path, weights: Weights) -> tuple[Proof, ...]:
        asked.append((target, path.read_bytes()))
        return (Proof(f"{target} one", 265, 1.25e-7, 0.5), Proof(f"{target} two", 265, 0.0, 0.5, "a note"))

    monkeypatch.setattr(proof, "prove", prove)
    return asked


@pytest.mark.parametrize(("target", "suffix"), SUFFIXES)
def test_file_card_and_config(
    tmp_path: Path, moco: Path, source: Card, proven: list[tuple[str, bytes]], target: str, suffix: str
) -> None:
    """Read back, each file has the tensors and the card of its source, name included."""
    path = tmp_path / "new" / f"net{suffix}"
    out, err = run(moco, "--to", target, "-o", path)
    written = files(tmp_path)
    assert set(written) == {path.name, f"{path.name}.card.json", *(
        [f"net{CONFIGS[target]}"] if target in CONFIGS else []
    )}  # fmt: skip
    # What was proven is what lies there.
    assert proven == [(target, written[path.name])]
    assert f"{target} one: 265 of 265 tensors equal" in out and "1.25e-07" in out and "a note" in out
    assert all(f"wrote {tmp_path / 'new' / name}\n" in out for name in written)
    assert "several encoders" in err and "several encoders" not in out
    found = inspect_checkpoint(path)
    assert (found.problem, found.card) == ("", source)
    assert source.name == "resnet50.moco_v2"


def test_a_copy_of_a_copy(tmp_path: Path, moco: Path, source: Card) -> None:
    first, second = tmp_path / "net.pth", tmp_path / "net.pkl"
    run(moco, "--to", "mmseg", "-o", first, "--no-verify")
    run(first, "--to", "detectron2", "-o", second, "--no-verify")
    assert load_backbone(second).card == source


def test_the_proof_is_real(tmp_path: Path, checkpoint: Path, plain: Weights) -> None:
    path = tmp_path / "net.pth"
    source = torch.load(checkpoint, weights_only=True)
    result = json.loads(run(checkpoint, "--to", "torchvision", "-o", path, "--json")[0])
    assert result["files"] == [str(path), f"{path}.card.json"]
    assert (result["target"], result["dry_run"]) == ("torchvision", False)
    (entry,) = result["proofs"]
    assert (entry["target"], entry["num_tensors"], entry["largest_difference"]) == ("torchvision", 265, 0.0)
    assert Card.model_validate(result["card"]) == plain.card
    stored = torch.load(path, weights_only=True)
    assert torch.equal(stored["bn1.bias"], source["bn1.bias"])


def test_weights_that_a_tool_cannot_have_are_refused_and_nothing_stays(
    tmp_path: Path, checkpoint: Path
) -> None:
    path = linked(checkpoint, tmp_path, {"input": BGR})
    before = files(tmp_path)
    with pytest.raises(WeightsError, match="1x1"):
        run(path, "--to", "torchvision", "-o", tmp_path / "out" / "net.pth")
    assert files(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_the_input_goes_into_card_and_config(tmp_path: Path, checkpoint: Path, plain: Weights) -> None:
    spec = tmp_path / "bgr.toml"
    spec.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in BGR.items()))
    out = tmp_path / "net.pkl"
    options = ["--no-verify", "--input-spec", spec, "--name", "resnet50.msra"]
    said, _ = run(checkpoint, "--to", "detectron2", "-o", out, *options)
    assert "not proven" in said
    config = yaml.safe_load((tmp_path / "net.yaml").read_text())
    assert config["INPUT"]["FORMAT"] == "BGR" and config["MODEL"]["WEIGHTS"] == "net.pkl"
    card = load_backbone(out).card
    assert card.input.model_dump(mode="json") == {**BGR, "padding": "pytorch"}
    assert card.name == "resnet50.msra"
    assert plain.card.key != card.key


def test_a_layout_whose_input_is_not_known(tmp_path: Path) -> None:
    path = make_caffe2(tmp_path / "obow.pkl", obow=True)
    with pytest.raises(WeightsError, match="--input-spec"):
        run(path, "--to", "timm", "-o", tmp_path / "net.pth", "--dry-run")


def test_encoder(tmp_path: Path, moco: Path) -> None:
    result = json.loads(
        run(moco, "--to", "timm", "-o", tmp_path / "key.pth", "--encoder", "key", "--no-verify", "--json")[0]
    )
    assert (result["card"]["encoder"], result["card"]["name"], result["proofs"]) == (
        "state_dict:module.encoder_k.",
        "resnet50.moco_v2.key",
        [],
    )


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", ["net.pkl", "net.pkl.card.json", "net.yaml"])
@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_what_is_there_is_replaced_only_when_asked(
    tmp_path: Path, checkpoint: Path, proven: list[tuple[str, bytes]], name: str, dry_run: list[str]
) -> None:
    (tmp_path / name).write_bytes(b"mine")
    command_line = [checkpoint, "--to", "detectron2", "-o", tmp_path / "net.pkl", *dry_run]
    with pytest.raises(UsageError, match="--force") as caught:
        run(*command_line)
    assert str(tmp_path / name) in str(caught.value) and caught.value.exit_code == 2
    assert files(tmp_path) == {name: b"mine"} and proven == []
    run(*command_line, "--force")
    assert (files(tmp_path)[name] == b"mine") == bool(dry_run)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("link", ["itself", "symlink", "hardlink"])
def test_the_checkpoint_itself_is_never_replaced(tmp_path: Path, checkpoint: Path, link: str) -> None:
    path = linked(checkpoint, tmp_path, name="net.pth")
    out = path if link == "itself" else tmp_path / "out.pth"
    if link == "symlink":
        out.symlink_to(path)
    elif link == "hardlink":
        out.hardlink_to(path)
    before = files(tmp_path)
    for force in ([], ["--force"]):
        with pytest.raises(UsageError, match="checkpoint itself"):
            run(path, "--to", "torchvision", "-o", out, "--no-verify", *force)
    assert files(tmp_path) == before


@pytest.mark.usefixtures("read")
@pytest.mark.parametrize(
    ("target", "out"),
    [("detectron2", "net.pth"), ("mmseg", "net.safetensors"), ("timm", "net"), ("torchvision", ".")],
)
def test_a_wrong_ending_is_wrong_usage(tmp_path: Path, checkpoint: Path, target: str, out: str) -> None:
    with pytest.raises(UsageError, match="ends in") as caught:
        run(checkpoint, "--to", target, "-o", tmp_path / out)
    assert caught.value.exit_code == 2
    assert files(tmp_path) == {}


@pytest.mark.usefixtures("quick")
def test_a_place_that_cannot_be(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(UsageError, match="folder"):
        run(checkpoint, "--to", "timm", "-o", tmp_path / "folder.pth")
    with pytest.raises(DiskError, match="too long"):
        run(checkpoint, "--to", "timm", "-o", tmp_path / f"{'x' * 300}.pth", "--no-verify")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError, match=r"not a folder|in the way"):
        run(checkpoint, "--to", "timm", "-o", tmp_path / "file" / "net.pth", "--no-verify")


@pytest.mark.usefixtures("quick")
def test_dry_run_writes_nothing(tmp_path: Path, checkpoint: Path, proven: list[tuple[str, bytes]]) -> None:
    out, _ = run(checkpoint, "--to", "mmseg", "-o", tmp_path / "new" / "net.pth", "--dry-run")
    assert all(f"would write {tmp_path / 'new' / name}\n" in out for name in ("net.pth", "net.py"))
    assert list(tmp_path.iterdir()) == [] and proven == []


@pytest.mark.parametrize(
    ("target", "name"), [("timm", "net.pkl"), ("timm", "there.pth"), ("mmseg", "card.pth")]
)
def test_a_wrong_place_is_told_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, name: str
) -> None:
    def load(*_: object, **__: object) -> Weights:
        pytest.fail("it was read")

    monkeypatch.setattr(adapters_load, "load_backbone", load)
    (tmp_path / "there.pth").write_bytes(b"mine")
    (tmp_path / "card.pth.card.json").write_bytes(b"mine")
    with pytest.raises(UsageError):
        run(tmp_path / "gone.pth", "--to", target, "-o", tmp_path / name)


def test_a_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"mine")
    with pytest.raises(WeightsError, match=r"gone\.pth"):
        run(tmp_path / "gone.pth", "--to", "timm", "-o", tmp_path / "net.pth", "--force")
    assert files(tmp_path) == {"net.pth": b"mine"}


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_an_output_that_is_not_utf8_is_refused(tmp_path: Path, checkpoint: Path, dry_run: list[str]) -> None:
    out = tmp_path / os.fsdecode(b"bad\xff.pth")
    with pytest.raises(UsageError) as caught:
        run(checkpoint, "--to", "timm", "-o", out, *dry_run)
    assert r"bad\udcff.pth" in str(caught.value) and str(caught.value).isprintable()
    assert files(tmp_path) == {}


@pytest.mark.parametrize("options", [[], ["--json"], ["--dry-run"]])
def test_a_checkpoint_whose_name_is_not_utf8(tmp_path: Path, checkpoint: Path, options: list[str]) -> None:
    path = linked(checkpoint, tmp_path, name=os.fsdecode(b"bad\xff.pth"))
    out = tmp_path / "out" / "net.pkl"
    run(path, "--to", "detectron2", "-o", out, "--no-verify", *options)
    if "--dry-run" not in options:
        assert load_backbone(out).card.source_file.isprintable()


@pytest.mark.parametrize(
    ("target", "name", "told"),
    often(
        [
            ("torchvision", "net.pth", True),
            ("timm", "net.pth", True),
            ("timm", "net.safetensors", False),
            ("detectron2", "net.pkl", False),
            ("mmseg", "net.pth", False),
        ],
        lambda case: case[0] in ("torchvision", "detectron2"),
    ),
)
def test_a_file_that_cannot_hold_its_card_needs_it_beside(
    tmp_path: Path, checkpoint: Path, target: str, name: str, told: bool
) -> None:
    """Where its input is not what everybody takes for granted."""
    path = linked(checkpoint, tmp_path, {"input": {**BGR, "stride_in": "3x3"}})
    place = tmp_path / "out" / name
    for options in (["--dry-run"], ["--no-verify"]):
        out, err = run(path, "--to", target, "-o", place, *options)
        assert (f"{name}.card.json must stay beside {name}" in err) == told
        assert "must stay" not in out
    card_path(place).unlink()
    held = load_backbone(place).card.input.channel_order == "bgr"
    assert held != told, "what is told is true"
    _, err = run(checkpoint, "--to", target, "-o", tmp_path / "plain" / name, "--dry-run")
    assert "must stay" not in err


def test_notes_of_a_card_cannot_write_to_the_terminal(tmp_path: Path, checkpoint: Path) -> None:
    path = linked(checkpoint, tmp_path, {"notes": ["\x1b[2J\x9b\u202e"]})
    for options in ([], ["--json"]):
        out, err = run(path, "--to", "timm", "-o", card_path(path).with_suffix(".pth"), "--dry-run", *options)
        assert all(line.isprintable() for line in f"{out}{err}".split("\n"))
        assert r"\x1b[2J" in err


def test_what_is_printed_cannot_write_to_the_terminal(
    tmp_path: Path, checkpoint: Path, plain: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = plain.card.model_copy(update={"name": "a\x1b[2J", "layout": "b\u202e"})
    monkeypatch.setattr(adapters_load, "load_backbone", lambda *_, **__: Weights(card, plain.tensors))
    for options in ([], ["--json"]):
        out, err = run(checkpoint, "--to", "timm", "-o", tmp_path / "x\x9b.pth", "--dry-run", *options)
        assert all(line.isprintable() for line in f"{out}{err}".split("\n"))
