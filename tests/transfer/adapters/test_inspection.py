"""What is found in a checkpoint, whether or not it can be used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.core.errors import UsageError, WeightsError
from bench.core.weights import sha256_file, write_weights
from tests.helpers.checkpoints import BGR, linked, make_caffe2, make_half, make_moco, make_students
from transfer.adapters.inspection import Inspection, inspect_checkpoint
from transfer.adapters.load import load, load_backbone


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inspection")


@pytest.fixture(scope="module")
def moco(folder: Path) -> Path:
    return make_moco(folder / "moco_v2.pth.tar")


@pytest.fixture(scope="module")
def looked(moco: Path) -> Inspection:
    return inspect_checkpoint(moco)


def test_a_good_file(checkpoint: Path) -> None:
    found = inspect_checkpoint(checkpoint)
    loaded = load(checkpoint)
    assert (found.problem, found.card, found.dropped) == ("", loaded.weights.card, loaded.dropped)
    assert (found.file, found.kind, found.card_file) == (str(checkpoint), "torch zip", None)
    assert found.size_bytes == checkpoint.stat().st_size
    assert found.sha256 == sha256_file(checkpoint) == loaded.weights.card.source_sha256
    assert (found.layout, found.encoder, found.num_backbone_tensors) == ("torchvision", "(no prefix)", 265)
    (container,) = found.containers
    assert (container.place, container.num_keys, container.num_tensors) == ("", 320, 320)
    assert container.num_elements == 25_557_032 + 2 * 26_560 + 53  # parameters, statistics, counters
    assert container.groups["fc"] == 2
    assert sum(container.groups.values()) == 320


@pytest.mark.parametrize(("encoder", "taken"), [(None, "q"), ("key", "k")])
def test_every_encoder_is_shown_and_one_is_taken(
    moco: Path, looked: Inspection, encoder: str | None, taken: str
) -> None:
    found = inspect_checkpoint(moco, encoder) if encoder else looked
    assert {one.label: (one.place, one.num_names, one.why_not) for one in found.encoders} == {
        "query": ("state_dict:module.encoder_q.", 265, None),
        "key": ("state_dict:module.encoder_k.", 265, None),
    }
    assert found.encoder == f"state_dict:module.encoder_{taken}."
    assert found.card == load_backbone(moco, encoder=encoder).card
    groups = next(one.groups for one in found.containers if one.place == "state_dict")
    assert groups["module.encoder_q"] == groups["module.encoder_k"] == 322
    assert groups["module.queue"] == 1


def test_nothing_is_left_out_twice(looked: Inspection) -> None:
    keys = [key for names in looked.dropped.values() for key in names]
    held = next(one for one in looked.containers if one.place == "state_dict")
    assert len(keys) == len(set(keys)) == held.num_tensors - 265


def test_every_key_of_the_outermost_dict_is_accounted_for(looked: Inspection, moco: Path) -> None:
    outermost = set(torch.load(moco, weights_only=False))
    assert {*looked.beside, "state_dict"} == outermost


def test_a_card_that_names_the_encoder_counts(tmp_path: Path, moco: Path) -> None:
    """What is shown must be what a transfer would take."""
    path = linked(moco, tmp_path, {"encoder": "key"})
    found = inspect_checkpoint(path)
    assert found.encoder == "state_dict:module.encoder_k."
    assert found.card == load_backbone(path).card
    assert found.card_file == f"{path}.card.json"
    assert inspect_checkpoint(path, "query").encoder == "state_dict:module.encoder_q."


def test_a_place_that_only_the_card_knows(tmp_path: Path) -> None:
    mine = make_students(tmp_path / "mine.pth")
    found = inspect_checkpoint(mine)
    assert "--encoder" in found.problem
    assert [one.place for one in found.encoders] == ["net.student.", "net.teacher."]
    (tmp_path / "with").mkdir()
    found = inspect_checkpoint(linked(mine, tmp_path / "with", {"encoder": "net.teacher."}))
    assert (found.problem, found.encoder, found.layout) == ("", "net.teacher.", "named")


def test_a_network_of_another_width(tmp_path: Path) -> None:
    found = inspect_checkpoint(make_half(tmp_path / "half.pth"))
    assert "half-width" in found.problem
    (encoder,) = found.encoders
    assert (encoder.place, encoder.num_names) == ("state_dict:", 265)
    assert encoder.why_not is not None and "32" in encoder.why_not
    assert (found.card, found.num_backbone_tensors, len(found.sha256)) == (None, 0, 64)


def test_a_tensor_that_is_missing(tmp_path: Path, checkpoint: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)
    del state["layer4.2.conv3.weight"]
    torch.save(state, tmp_path / "x.pth")
    found = inspect_checkpoint(tmp_path / "x.pth")
    assert "layer4.2.conv3.weight" in found.problem
    assert (found.layout, found.encoders[0].num_names, found.card) == ("torchvision", 264, None)


def test_a_faulty_card_hides_nothing_of_the_file(tmp_path: Path, moco: Path) -> None:
    path = linked(moco, tmp_path, {"nmae": "x"})
    found = inspect_checkpoint(path)
    assert 'Did you mean "name"' in found.problem
    assert len(found.encoders) == 2
    assert (found.card, found.card_file) == (None, f"{path}.card.json")


def test_an_input_that_is_not_known(tmp_path: Path, folder: Path) -> None:
    path = make_caffe2(folder / "obow.pkl", obow=True)
    found = inspect_checkpoint(path)
    assert "--input-spec" in found.problem
    assert (found.layout, found.card) == ("obow-caffe2", None)
    assert found.containers[1].groups["res2"] > 40
    assert inspect_checkpoint(linked(path, tmp_path, {"input": BGR})).problem == ""


def test_a_file_of_ours(tmp_path: Path, checkpoint: Path) -> None:
    weights = load_backbone(checkpoint)
    path = tmp_path / "ours"
    write_weights(path, weights)
    found = inspect_checkpoint(path)
    assert (found.problem, found.card, found.layout) == ("", weights.card, None)
    assert (found.kind, found.num_backbone_tensors) == ("safetensors", 265)
    with pytest.raises(UsageError, match="one encoder"):
        inspect_checkpoint(path, "query")


def test_a_file_that_is_cut_off(tmp_path: Path, checkpoint: Path) -> None:
    path = tmp_path / "cut.pth"
    path.write_bytes(checkpoint.read_bytes()[:5_000_000])
    found = inspect_checkpoint(path)
    assert found.problem.startswith(str(path))
    assert (found.kind, found.size_bytes, found.containers) == ("torch zip", 5_000_000, ())


@pytest.mark.parametrize("content", [b"", b"<html>", b"version https://git-lfs.github.com/spec/v1"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.pth"):
        inspect_checkpoint(path)
