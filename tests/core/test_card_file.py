"""The card as a file beside a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.core.card import Card, InputSpec
from bench.core.card_file import MAX_BYTES, Declared, card_path, card_text, find_card, read_declared
from bench.core.errors import WeightsError

FULL = Card(
    name="resnet50.moco",
    layout="moco",
    encoder="module.encoder_q.",
    source_file="moco.pth.tar",
    source_sha256="0" * 64,
    tensors_sha256="1" * 64,
    input=InputSpec(
        channel_order="bgr", mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0), stride_in="1x1"
    ),
    licence="MIT",
    url="https://example.org/moco",
    dropped=("module.queue (1)",),
    notes=("a note", "n\u00f6te"),
)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.pth.tar"
    path.write_bytes(b"weights")
    return path


def test_where_it_lies(net: Path) -> None:
    assert card_path(net) == net.parent / "net.pth.tar.card.json"
    assert find_card(net) is None
    assert read_declared(net) is None


def test_a_whole_card_comes_back(net: Path) -> None:
    card_path(net).write_text(card_text(FULL), encoding="utf-8")
    declared = read_declared(net)
    assert declared is not None
    assert Card.model_validate(declared.model_dump()) == FULL
    # A field of a card that could not be declared would be lost on the way.
    assert set(Declared.model_fields) == set(Card.model_fields)


@pytest.mark.parametrize("text", ["{}", '{"name": "a"}', '{"input": {"stride_in": "1x1"}}'])
def test_every_field_may_be_left_out(net: Path, text: str) -> None:
    card_path(net).write_text(text)
    declared = read_declared(net)
    assert declared is not None
    assert declared.model_fields_set == set(json.loads(text))
    assert declared.tensors_sha256 is None


FAULTS = {
    '{"licens": "MIT"}': 'licens: unknown key. Did you mean "licence"',
    '{"nothing_like_it_at_all": 1}': "nothing_like_it_at_all: unknown key",
    '{"input": {"chanel_order": "bgr"}}': 'input.chanel_order: unknown key. Did you mean "channel_order"',
    '{"input": {"channel_order": "gbr"}}': "input.channel_order",
    '{"input": {"channel_order": "bgr"}}': "input: ",
    '{"input": {"mean": [0.5, 0.5]}}': "input.mean",
    '{"input": {"std": [0, 1, 1]}}': "input.std.0",
    '{"input": {"mean": [NaN, 1, 1]}}': "NaN is not a JSON number",
    '{"tensors_sha256": "12"}': "tensors_sha256",
    '{"source_sha256": "' + "A" * 64 + '"}': "source_sha256",
    '{"name": ""}': "name",
    '{"arch": "resnet18"}': "arch",
    '{"notes": "one"}': "notes",
    '{"name": "a", "name": "b"}': "twice",
    '{"name": "a"': "line 1",
    "": "line 1",
    "[]": "expected an object",
    '{"licence": "' + "x" * 2001 + '"}': "licence",
    "[" * 100 + "]" * 100: "nested deeper",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_faulty_card_is_refused_with_its_place(net: Path, text: str) -> None:
    card_path(net).write_text(text)
    with pytest.raises(WeightsError) as caught:
        read_declared(net)
    assert str(caught.value).startswith(str(card_path(net)))
    assert FAULTS[text] in str(caught.value)


def test_all_faults_at_once(net: Path) -> None:
    card_path(net).write_text('{"licens": "MIT", "input": {"padding": "same"}}')
    with pytest.raises(WeightsError, match=r"(?s)licens.*input\.padding|input\.padding.*licens"):
        read_declared(net)


def test_a_message_has_no_control_characters_of_the_card(net: Path) -> None:
    card_path(net).write_text(json.dumps({"\x1b[2J\x9b\u202e": 1}))
    with pytest.raises(WeightsError) as caught:
        read_declared(net)
    assert str(caught.value).isprintable()


def test_what_cannot_be_read_is_no_missing_card(net: Path, tmp_path: Path) -> None:
    card_path(net).symlink_to(tmp_path / "gone")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_declared(net)
    card_path(net).unlink()
    card_path(net).mkdir()
    with pytest.raises(WeightsError, match="cannot be read"):
        read_declared(net)


def test_one_that_is_too_large(net: Path) -> None:
    card_path(net).write_text(" " * (MAX_BYTES + 1))
    with pytest.raises(WeightsError, match="at most"):
        read_declared(net)


def test_through_a_link_the_card_beside_the_file_is_found(net: Path, tmp_path: Path) -> None:
    card_path(net).write_text('{"name": "there"}')
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "short.pth"
    link.symlink_to(net)
    assert find_card(link) == card_path(net)
    card_path(link).write_text('{"name": "here"}')
    declared = read_declared(link)
    assert declared is not None and declared.name == "here"


def test_a_name_too_long_for_a_card_has_none(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    path.write_bytes(b"weights")
    assert read_declared(path) is None
