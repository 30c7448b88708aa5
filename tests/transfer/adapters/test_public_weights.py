"""The table of public weights is sane; only the network tells whether the files are there."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

import pytest

from bench.core.card_file import Declared
from bench.core.errors import WeightsError
from bench.core.paths import safe_name
from transfer.adapters.layouts import LAYOUTS
from transfer.adapters.public_weights import PUBLIC_WEIGHTS, PublicWeights

EMPTY = {name: hashlib.new(name, b"").hexdigest() for name in ("sha256", "md5")}


def test_names_addresses_and_file_names_are_there_once() -> None:
    assert len(PUBLIC_WEIGHTS) > 20
    for values in (
        [entry.name for entry in PUBLIC_WEIGHTS],
        [entry.url for entry in PUBLIC_WEIGHTS],
        [entry.file_name for entry in PUBLIC_WEIGHTS],
        [(entry.digest.kind, entry.digest.digits) for entry in PUBLIC_WEIGHTS],
    ):
        assert len(set(values)) == len(PUBLIC_WEIGHTS)


@pytest.mark.parametrize("entry", PUBLIC_WEIGHTS, ids=lambda entry: entry.name)
def test_each_entry_is_sane(entry: PublicWeights) -> None:
    assert entry.name.startswith("resnet50.")
    safe_name(entry.name, "name", error=WeightsError)
    safe_name(entry.file_name, "file name", error=WeightsError)
    parts = urlsplit(entry.url)
    assert parts.scheme == "https" and parts.hostname and not parts.query and not parts.fragment
    # Some published names end in the hash of an empty file: a fault of the tool that named them.
    assert not EMPTY[entry.digest.kind].startswith(entry.digest.digits)
    repository, _, file = entry.source.partition(" ")
    assert repository.count("/") == 1 and file
    assert entry.licence
    assert entry.size_mib is None or 80 < entry.size_mib < 2000
    if "-" in entry.file_name and entry.digest.kind == "sha256":
        assert entry.digest.digits in entry.file_name


@pytest.mark.parametrize("entry", PUBLIC_WEIGHTS, ids=lambda entry: entry.name)
def test_layout_and_encoder_are_those_of_the_table(entry: PublicWeights) -> None:
    layouts = {layout.name: layout for layout in LAYOUTS}
    if entry.layout is None:
        assert entry.encoder == ""
        return
    layout = layouts[entry.layout]
    labels = {layout.label, *(label for label, _ in layout.others)}
    # An encoder is named where the file has several, and only there.
    assert (entry.encoder in labels) if layout.others else (entry.encoder == "")
    assert entry.input is None or entry.input != layout.input


@pytest.mark.parametrize("entry", PUBLIC_WEIGHTS, ids=lambda entry: entry.name)
def test_each_entry_fits_on_a_card(entry: PublicWeights) -> None:
    card = Declared(name=entry.name, url=entry.url, licence=entry.licence, notes=(entry.note,))
    assert Declared.model_validate_json(card.model_dump_json()) == card
