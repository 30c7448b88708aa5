"""The card beside a checkpoint: what it says is used, and what can be checked is checked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from bench.core.card import InputSpec
from bench.core.card_file import card_path, card_text
from bench.core.errors import WeightsError
from bench.core.weights import Weights, write_weights
from tests.helpers.checkpoints import BGR, linked, make_caffe2, make_moco, make_students
from tests.helpers.converted import RGB
from transfer.adapters.convert import TARGETS, file_bytes
from transfer.adapters.load import load_backbone

SPEC = InputSpec.model_validate(BGR)


@pytest.fixture(scope="module")
def plain(checkpoint: Path) -> Weights:
    """What the flat checkpoint gives without a card."""
    return load_backbone(checkpoint)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cards")


@pytest.fixture(scope="module")
def moco(folder: Path) -> Path:
    return make_moco(folder / "moco_v2.pth.tar")


@pytest.fixture(scope="module")
def students(folder: Path) -> Path:
    return make_students(folder / "mine.pth")


@pytest.fixture(scope="module")
def obow(folder: Path) -> Path:
    return make_caffe2(folder / "obow.pkl", obow=True)


def test_what_a_card_says_is_used(tmp_path: Path, checkpoint: Path, plain: Weights) -> None:
    said = {
        "name": "resnet50.mine_v1",
        "licence": "MIT",
        "url": "https://example.org",
        "notes": ["two crops"],
    }
    path = linked(checkpoint, tmp_path, {**said, "input": BGR})
    card = load_backbone(path).card
    assert (card.name, card.licence, card.url) == (said["name"], said["licence"], said["url"])
    assert card.notes[-1] == "two crops"
    assert card.input == SPEC
    # Equal tensors that are fed otherwise are another row of every table.
    assert card.tensors_sha256 == plain.card.tensors_sha256
    assert card.key != plain.card.key
    # A reader of the result must see that the layout says otherwise.
    assert any("input" in note for note in card.notes)
    assert (card.layout, card.source_file) == ("torchvision", path.name)
    assert load_backbone(path, name="resnet50.other").card.name == "resnet50.other"


def test_a_card_without_an_input_leaves_the_layouts(tmp_path: Path, checkpoint: Path, plain: Weights) -> None:
    card = load_backbone(linked(checkpoint, tmp_path, {"licence": "MIT"})).card
    assert card == plain.card.model_copy(update={"licence": "MIT"})


CHECKED = {
    "tensors_sha256": "0" * 64,
    "source_sha256": "0" * 64,
    "layout": "moco",
    "name": "../x",
    "encoder": "query",
    "input": {"channel_order": "bgr"},
    "nmae": "x",
}


@pytest.mark.parametrize("field", CHECKED)
def test_what_does_not_hold_stops_the_load(tmp_path: Path, checkpoint: Path, field: str) -> None:
    with pytest.raises(WeightsError, match=field if field != "nmae" else 'Did you mean "name"'):
        load_backbone(linked(checkpoint, tmp_path, {field: CHECKED[field]}))


def test_what_holds_passes(tmp_path: Path, checkpoint: Path, plain: Weights) -> None:
    said = {key: getattr(plain.card, key) for key in ("source_sha256", "layout")}
    assert load_backbone(linked(checkpoint, tmp_path, said)).card == plain.card
    card_path(tmp_path / checkpoint.name).write_text(
        json.dumps({"tensors_sha256": plain.card.tensors_sha256, "source_sha256": "1" * 64, "name": "a"})
    )
    # Where the tensors are those of the card, another file may have been their source.
    card = load_backbone(tmp_path / checkpoint.name).card
    assert card == plain.card.model_copy(update={"source_sha256": "1" * 64, "name": "a"})


def test_two_inputs_must_agree(tmp_path: Path, checkpoint: Path) -> None:
    path = linked(checkpoint, tmp_path, {"input": BGR})
    with pytest.raises(WeightsError, match="input: says"):
        load_backbone(path, input_spec=RGB)
    assert load_backbone(path, input_spec=SPEC).card.input == SPEC


def test_a_message_has_no_control_characters_of_the_card(tmp_path: Path, checkpoint: Path) -> None:
    for field in ("layout", "name"):
        path = linked(checkpoint, tmp_path, {field: "\x1b[2J\x9b\u202e"}, name=field)
        with pytest.raises(WeightsError) as caught:
            load_backbone(path)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("said", "asked", "name", "prefix"),
    [
        ({}, None, "resnet50.moco_v2", "q"),
        ({}, "key", "resnet50.moco_v2.key", "k"),
        ({"encoder": "module.encoder_k."}, None, "resnet50.moco_v2", "k"),
        ({"encoder": "key", "name": "resnet50.a"}, None, "resnet50.a", "k"),
        ({"encoder": "key", "name": "resnet50.a"}, "module.encoder_k", "resnet50.a", "k"),
        ({"encoder": "key", "name": "resnet50.a"}, "query", "resnet50.a.query", "q"),
        ({"encoder": "query", "name": "resnet50.a"}, "key", "resnet50.a.key", "k"),
        ({"name": "resnet50.a"}, "key", "resnet50.a.key", "k"),
    ],
)
def test_a_name_stands_for_one_encoder(
    tmp_path: Path, moco: Path, said: dict[str, Any], asked: str | None, name: str, prefix: str
) -> None:
    """Two encoders of one file would be two rows of a table with one name."""
    card = load_backbone(linked(moco, tmp_path, said), encoder=asked).card
    assert (card.name, card.encoder) == (name, f"state_dict:module.encoder_{prefix}.")


def test_several_encoders_are_noted(moco: Path) -> None:
    (note,) = load_backbone(moco).card.notes
    assert "query (state_dict:module.encoder_q.) was taken" in note
    assert "key (state_dict:module.encoder_k.)" in note.partition("taken")[2]


def test_places_that_only_the_user_knows(tmp_path: Path, students: Path) -> None:
    cards = [load_backbone(students, encoder=f"net.{role}").card for role in ("student", "teacher")]
    assert [card.name for card in cards] == ["resnet50.mine.net.student", "resnet50.mine.net.teacher"]
    with pytest.raises(WeightsError, match="--encoder"):
        load_backbone(students)
    path = linked(students, tmp_path, {"encoder": "net.teacher.", "name": "resnet50.t"})
    card = load_backbone(path).card
    assert (card.name, card.encoder) == ("resnet50.t", "net.teacher.")


def test_notes_have_no_control_characters_of_the_file(tmp_path: Path) -> None:
    path = make_students(tmp_path / "x.pth", ("net.", "\x1b[2J\x9b\u202e."))
    card = load_backbone(path, encoder="net").card
    assert all(note.isprintable() for note in card.notes)
    assert card.name.isprintable()


def test_an_input_that_the_file_cannot_say_must_be_given(tmp_path: Path, obow: Path) -> None:
    with pytest.raises(WeightsError, match=r"obow-caffe2 .*--input-spec"):
        load_backbone(obow)
    given = load_backbone(obow, input_spec=SPEC).card
    assert (given.layout, given.input) == ("obow-caffe2", SPEC)
    assert given.notes == ("the input spec was given by the user",)
    told = load_backbone(linked(obow, tmp_path, {"input": BGR})).card
    assert (told.key, told.input) == (given.key, SPEC)
    assert told.notes != given.notes


@pytest.mark.parametrize("target", ["detectron2", "timm"])
def test_a_converted_file_keeps_where_it_came_from(tmp_path: Path, moco: Path, target: str) -> None:
    """The whole card comes back, whatever the layout of the converted file says of input and notes."""
    weights = load_backbone(moco, input_spec=SPEC)
    path = tmp_path / f"net{TARGETS[target].suffixes[0]}"
    path.write_bytes(file_bytes(weights, target, path.suffix))
    card_path(path).write_text(card_text(weights.card))
    assert load_backbone(path).card == weights.card
    # The same tensors in another file: the card is theirs. Others: it is not.
    with pytest.raises(WeightsError, match="tensors_sha256"):
        load_backbone(linked(moco, tmp_path, weights.card.model_dump(mode="json")), encoder="key")


def test_through_a_link_the_card_counts(tmp_path: Path, checkpoint: Path) -> None:
    path = linked(checkpoint, tmp_path, {"input": BGR})
    (tmp_path / "link.pth").symlink_to(path)
    assert load_backbone(tmp_path / "link.pth").card.input == SPEC


def test_a_card_beside_a_file_of_ours(tmp_path: Path, plain: Weights) -> None:
    path = tmp_path / "ours.safetensors"
    write_weights(path, plain)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    card_path(path).write_text(json.dumps({"name": "resnet50.a", "url": "x", "source_sha256": sha256}))
    card = load_backbone(path).card
    assert card == plain.card.model_copy(update={"name": "resnet50.a", "url": "x"})
    for field, value in (("source_sha256", plain.card.source_sha256), ("encoder", "key"), ("layout", "moco")):
        card_path(path).write_text(json.dumps({field: value}))
        with pytest.raises(WeightsError, match=field):
            load_backbone(path)


@pytest.mark.parametrize(
    ("path", "words"),
    [(".", "a folder"), ("/", "a folder"), ("..", "a folder"), ("gone.pth", "cannot be read")],
)
def test_what_is_no_file_is_said_so(
    tmp_path: Path, path: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=words):
        load_backbone(Path(path))


@pytest.fixture
def bgr_pth(tmp_path: Path, plain: Weights) -> Path:
    """A file for MMSegmentation, with its card inside and none beside."""
    card = plain.card.model_copy(update={"name": "resnet50.bgr", "input": SPEC})
    path = tmp_path / "bgr.pth"
    path.write_bytes(file_bytes(Weights(card, plain.tensors), "mmseg", ".pth"))
    return path


def test_a_card_beside_adds_to_the_one_inside(bgr_pth: Path) -> None:
    said = {"licence": "MIT", "source_sha256": hashlib.sha256(bgr_pth.read_bytes()).hexdigest()}
    card_path(bgr_pth).write_text(json.dumps(said))
    card = load_backbone(bgr_pth).card
    assert (card.name, card.input, card.licence) == ("resnet50.bgr", SPEC, "MIT")
    card_path(bgr_pth).write_text(json.dumps(said | {"source_sha256": "1" * 64}))
    with pytest.raises(WeightsError, match="source_sha256: says"):
        load_backbone(bgr_pth)


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_a_card_beside_cannot_contradict_the_one_inside(
    tmp_path: Path, plain: Weights, bgr_pth: Path, ours: bool, whole: bool
) -> None:
    """As a stale one does, or one that was copied from another file."""
    path = bgr_pth
    if ours:
        path = tmp_path / "ours.safetensors"
        write_weights(path, Weights(plain.card.model_copy(update={"input": SPEC}), plain.tensors))
    card_path(path).write_text(card_text(plain.card) if whole else json.dumps({"input": {}}))
    with pytest.raises(WeightsError, match="input: says"):
        load_backbone(path)


def test_the_users_fields_are_laid_over_what_is_known(bgr_pth: Path) -> None:
    spec = load_backbone(bgr_pth, input_spec=InputSpec(stride_in="3x3")).card.input
    assert spec == SPEC.model_copy(update={"stride_in": "3x3"})
    with pytest.raises(
        WeightsError, match="RGB where the weights are known to be for BGR; give mean and std"
    ):
        load_backbone(bgr_pth, input_spec=InputSpec(channel_order="rgb"))
    assert load_backbone(bgr_pth, input_spec=RGB).card.input == RGB


def test_a_card_anywhere_on_a_chain_of_links(tmp_path: Path, checkpoint: Path) -> None:
    middle, end = tmp_path / "b.pth", tmp_path / "a.pth"
    middle.symlink_to(checkpoint)
    end.symlink_to("b.pth")
    card_path(middle).write_text(json.dumps({"input": BGR}))
    assert load_backbone(end).card.input == SPEC


def test_a_card_of_ours_with_a_hash_that_is_none(tmp_path: Path, plain: Weights) -> None:
    path = tmp_path / "x.safetensors"
    write_weights(path, Weights(plain.card.model_copy(update={"source_sha256": "x"}), plain.tensors))
    with pytest.raises(WeightsError, match=r"card inside: source_sha256"):
        load_backbone(path)
