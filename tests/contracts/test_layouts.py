"""Every published kind of checkpoint arrives bit for bit, and no spoiled one does.

The kinds, one builder each, are in `tests/helpers/layout_files`.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from bench.core.card import InputSpec
from bench.core.errors import WeightsError
from tests.helpers.forge import PROTO, STOP, haiku, named_tuple, plain
from tests.helpers.layout_files import NOT_TOLD_APART, REFUSED, ROWS
from tests.helpers.layout_files.mutations import MUTATIONS, Mutation, opened
from tests.helpers.layout_files.pieces import Given, Keys
from tests.helpers.layout_files.renames import to_haiku
from tests.helpers.often import often
from tests.transfer.adapters.conftest import reference, trained
from transfer.adapters import identify as identify_module
from transfer.adapters.audit import Audit, audit_backbone
from transfer.adapters.haiku import unfold
from transfer.adapters.identify import Found, containers, find_encoders, identify
from transfer.adapters.keymap import SHAPES
from transfer.adapters.layout import Layout, place
from transfer.adapters.layouts import LAYOUTS
from transfer.adapters.load import load_backbone

Arrays = Mapping[str, np.ndarray]
BY_NAME = {layout.name: layout for layout in LAYOUTS}


@pytest.fixture(scope="module")
def ours() -> Arrays:
    return {name: tensor.numpy() for name, tensor in trained(0).items()}


@pytest.fixture(scope="module")
def theirs(ours: Arrays) -> Arrays:
    return {name: np.asarray(array + 1) for name, array in ours.items()}


@pytest.fixture(scope="module")
def given(ours: Arrays, theirs: Arrays) -> Given:
    """As the reader gives them."""
    states = [{name: reference(array) for name, array in state.items()} for state in (ours, theirs)]
    return Given(states[0], states[1], states[0]["fc.bias"])


def audited(checkpoint: Keys, encoder: str | None = None) -> tuple[Found, Audit]:
    found = identify(checkpoint, "x.pth", encoder)
    return found, audit_backbone(found, "x.pth")


def same(audit: Audit, expected: Arrays) -> bool:
    return list(audit.tensors) == list(SHAPES) and all(
        np.array_equal(array, expected[name]) for name, array in audit.tensors.items()
    )


# What loads.


@pytest.mark.parametrize("name", ROWS)
def test_a_published_file_arrives_whole(given: Given, ours: Arrays, name: str) -> None:
    row = ROWS[name](given)
    found, audit = audited(row.checkpoint)
    assert (found.layout.name, str(found.place)) == (row.layout, row.place)
    assert same(audit, ours)
    dropped = [key for keys in audit.dropped.values() for key in keys]
    assert len(dropped) == len(set(dropped)) == len(found.state) - len(SHAPES)


# The converter renamed the stem out of it.
BROKEN_OTHERS = {("09_hcsc_detectron2", "model:module.encoder_k.<detectron2>")}


@pytest.mark.parametrize("name", often(ROWS, list(ROWS)[::4]))
def test_every_other_encoder_can_be_asked_for(given: Given, theirs: Arrays, name: str) -> None:
    row = ROWS[name](given)
    for other in identify(row.checkpoint, name).left_out:
        if (name, str(other)) in BROKEN_OTHERS:
            with pytest.raises(WeightsError, match=r"5 of 265 backbone tensors are missing \(first: conv1"):
                audited(row.checkpoint, str(other))
            continue
        found, audit = audited(row.checkpoint, str(other))
        assert (found.layout.name, found.place) == (row.layout, other)
        assert same(audit, theirs)


def test_every_layout_has_a_file_and_a_source(given: Given) -> None:
    assert {build(given).layout for build in ROWS.values()} == set(BY_NAME)
    assert len(BY_NAME) == len(LAYOUTS)
    for layout in LAYOUTS:
        assert re.match(r"[\w.-]+/[\w.-]+ \S+", layout.source), layout.name


def test_every_place_and_every_rule_of_the_table_is_seen_in_a_file(given: Given) -> None:
    seen, unused = set(), {rule for layout in LAYOUTS for rule in layout.drop}
    for build in ROWS.values():
        row = build(given)
        checkpoint = unfold(row.checkpoint)
        seen |= {(row.layout, encoder) for encoder in find_encoders(checkpoint)}
        keys = [key for _, state in containers(checkpoint) for key in state if isinstance(key, str)]
        for rule in unused.intersection(BY_NAME[row.layout].drop):
            if any(fnmatchcase(key, rule) for key in keys):
                unused.discard(rule)
    assert unused == set()
    for layout in LAYOUTS:
        for known in (*layout.places, *(other for _, other in layout.others)):
            assert (layout.name, known) in seen, f"{layout.name}: {known}"


def test_a_new_layout_is_one_entry(given: Given, ours: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {f"net.online.{name}": value for name, value in given.ours.items() if not name.startswith("fc.")}
    keys |= {f"net.target.{name}": value for name, value in given.theirs.items()} | {"net.head": given.head}
    checkpoint = {"weights": keys, "toy": True}
    with pytest.raises(WeightsError, match="no documented layout fits"):
        audited(checkpoint)
    toy = Layout(
        name="toy",
        source="someone/toy toy.py",
        places=(place("weights", "net.online."),),
        label="online",
        others=(("target", place("weights", "net.target.")),),
        signs=("toy",),
        drop=("net.head",),
    )
    monkeypatch.setattr(identify_module, "LAYOUTS", (*LAYOUTS, toy))
    found, audit = audited(checkpoint)
    assert found.layout == toy
    assert same(audit, ours)
    assert audit.dropped["net.target.*"]
    assert audit.dropped["net.head"] == ("net.head",)


# What does not.

SPOILED_OFTEN = ("a_second_encoder_inside", "one_missing", "one_renamed", "prefixes_mixed", "wrong_shape")


@pytest.mark.parametrize(
    "mutation",
    often(MUTATIONS, lambda mutation: mutation.__name__ in SPOILED_OFTEN),
    ids=lambda mutation: mutation.__name__,
)
def test_no_spoiled_file_is_taken(given: Given, mutation: Mutation) -> None:
    accepted, other_reasons = [], []
    for name, build in ROWS.items():
        file = opened(build(given), given)
        assert len(file.tensors()) == len(SHAPES), name
        checkpoint = mutation(file) or file.checkpoint
        try:
            found, _ = audited(checkpoint)
            accepted.append(f"{name} as {found.layout.name} ({found.place})")
        except WeightsError as refusal:
            if not re.search(MUTATIONS[mutation], str(refusal)):
                other_reasons.append(f"{name}: {str(refusal)[:300]}")
    assert accepted == []
    assert other_reasons == []


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_cannot_serve_say_why(given: Given, name: str) -> None:
    build, words = REFUSED[name]
    with pytest.raises(WeightsError, match=words):
        audited(build(given))


@pytest.mark.parametrize("name", NOT_TOLD_APART)
def test_files_that_show_nothing_of_their_origin(given: Given, name: str) -> None:
    """They load with the standard input, which for some is not the truth."""
    found, _ = audited(NOT_TOLD_APART[name].build(given))
    assert found.layout.name == NOT_TOLD_APART[name].layout
    assert found.layout.input == InputSpec()


# Through real files.


def _byol_file(given: Given) -> bytes:
    """As dill wrote it; the target is left empty, for the time that it takes."""
    params, state = to_haiku(given.ours)
    fields = ("online_params", "target_params", "online_state", "target_state", "opt_state")
    values = [haiku(params), haiku({}), haiku(state), haiku({}), plain([])]
    experiment = named_tuple("_ByolExperimentState", fields, values, "byol.byol_experiment")
    return PROTO + b"}" + plain("experiment_state") + experiment + b"s" + STOP


FILES = {
    "06_moco": "torch zip",
    "24_vissl_release": "torch before 1.6",
    "09_resim_detectron2": "torch zip of arrays",
    "02_detectron2_msra": "pickle",
    "06_moco_detectron2": "pickle",
    "23_obow_caffe2": "pickle",
    "01_torchvision": "safetensors",
    "36_huggingface_classifier": "safetensors",
    "27_byol_deepmind": "dill",
}


@pytest.mark.parametrize("name", FILES)
def test_from_the_file_to_the_weights(tmp_path: Path, ours: Arrays, theirs: Arrays, name: str) -> None:
    path, kind = tmp_path / "x.pth", FILES[name]
    states: list[dict[str, Any]] = [dict(ours), dict(theirs)]
    if kind in ("torch zip", "torch before 1.6"):
        states = [{key: torch.from_numpy(array) for key, array in state.items()} for state in states]
    given = Given(states[0], states[1], states[0]["fc.bias"])
    row = ROWS[name](given)
    if kind.startswith("torch"):
        torch.save(row.checkpoint, path, _use_new_zipfile_serialization=kind != "torch before 1.6")
    elif kind == "safetensors":
        save_file(row.checkpoint, path)
    else:
        path.write_bytes(_byol_file(given) if kind == "dill" else pickle.dumps(row.checkpoint, protocol=2))
    spec = None
    if BY_NAME[row.layout].input is None:
        with pytest.raises(WeightsError, match="say it with --input-spec"):
            load_backbone(path)
        with pytest.raises(WeightsError, match="channel_order"):
            load_backbone(path, input_spec=InputSpec(stride_in="1x1"))
        spec = InputSpec(channel_order="bgr", mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0))
    weights = load_backbone(path, input_spec=spec)
    assert all(np.array_equal(array, ours[key]) for key, array in weights.tensors.items())
    assert weights.card.layout == row.layout
    assert weights.card.input == (spec or BY_NAME[row.layout].input)
