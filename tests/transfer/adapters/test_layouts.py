"""Which layout a checkpoint has: found by anchored names, or asked for, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import WeightsError
from bench.core.tensor_ref import TensorRef
from tests.transfer.adapters.conftest import prefixed
from transfer.adapters.audit import audit_backbone
from transfer.adapters.keymap import SHAPES
from transfer.adapters.layouts import LAYOUTS, STANDARD_INPUT, Layout, Place, find_encoders, identify

State = Mapping[str, TensorRef]


def _files(state: State) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Name -> (layout, prefix, checkpoint), as each repository writes it."""
    head = {"0.weight": state["fc.weight"], "2.bias": state["fc.bias"]}
    encoder = {name: value for name, value in state.items() if not name.startswith("fc.")}
    mlp = encoder | prefixed("fc.", head)
    outside = {"epoch": 200, "arch": "resnet50", "optimizer": {"state": {}, "param_groups": []}}
    queue = {"module.queue": state["fc.weight"], "module.queue_ptr": state["fc.bias"]}
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    pair = prefixed("module.encoder_q.", mlp) | prefixed("module.encoder_k.", mlp)
    v3 = prefixed("module.base_encoder.", mlp) | prefixed("module.momentum_encoder.", mlp)
    predictor = prefixed("module.predictor.", head)
    contrast = prefixed("module.encoder.", encoder) | prefixed("module.head.", head)
    jigsaw = contrast | prefixed("module.head_jig.", head)
    average = prefixed("encoder.", encoder) | prefixed("head.", head)
    return {
        "torchvision": ("torchvision", "", dict(state)),
        "torchvision_old": ("torchvision", "", old),
        "no_fc": ("torchvision", "", encoder),
        "plain_state_dict": ("plain", "", {"state_dict": dict(state), **outside}),
        "plain_model": ("plain", "", {"model": dict(state)}),
        "plain_parallel": ("plain", "module.", {"state_dict": prefixed("module.", state)}),
        "plain_flat_parallel": ("plain", "module.", prefixed("module.", state)),
        "moco": ("moco", "module.encoder_q.", {"state_dict": pair | queue, **outside}),
        "moco_query_only": (
            "moco",
            "module.encoder_q.",
            {"state_dict": prefixed("module.encoder_q.", state)},
        ),
        "moco_v3": ("moco-v3", "module.base_encoder.", {"state_dict": v3 | predictor, **outside}),
        "simsiam": (
            "simsiam",
            "module.encoder.",
            {"state_dict": prefixed("module.encoder.", mlp) | predictor, **outside},
        ),
        "infomin": ("pycontrast", "module.encoder.", {"model": jigsaw, "model_ema": average, **outside}),
        "instdis": ("pycontrast", "module.encoder.", {"model": contrast, "contrast": {}, **outside}),
    }


@pytest.mark.parametrize("name", list(_files({"fc.weight": None, "fc.bias": None})))  # type: ignore[dict-item]
def test_known_files(references: State, name: str) -> None:
    layout, prefix, checkpoint = _files(references)[name]
    found = identify(checkpoint, name)
    assert (found.layout.name, found.place.prefix) == (layout, prefix)
    audit = audit_backbone(found, name)
    assert list(audit.tensors) == list(SHAPES)
    accounted = len(SHAPES) + sum(map(len, audit.dropped.values()))
    assert accounted == len(found.state)


def test_every_layout_is_tested_and_has_a_source(references: State) -> None:
    assert {layout for layout, _, _ in _files(references).values()} == {layout.name for layout in LAYOUTS}
    assert all("/" in layout.source for layout in LAYOUTS)
    places = [place for layout in LAYOUTS for place in layout.places]
    assert len(set(places)) == len(places)


def _row(layout: Layout) -> str:
    def code(place: Place) -> str:
        return f"`{place}`" if place != Place((), "") else str(place)

    label = "" if layout.label == "backbone" else f"`{layout.label}`: "
    others = ", ".join(f"`{other}`: {code(place)}" for other, place in layout.others)
    places = label + ", ".join(map(code, layout.places))
    drop = ", ".join(f"`{pattern}`" for pattern in layout.drop)
    return f"| {layout.name} | {places} | {others} | {drop} | {layout.source} |"


def test_the_page_shows_the_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "weights.md").read_text()
    rows = page.split("<!-- layouts: begin -->\n")[1].split("<!-- layouts: end -->")[0].splitlines()
    assert rows[2:] == [_row(layout) for layout in LAYOUTS]
    assert all(layout.input == STANDARD_INPUT for layout in LAYOUTS)  # as the page says


@pytest.mark.parametrize(
    "encoder", ["key", "module.encoder_k", "module.encoder_k.", "state_dict:module.encoder_k."]
)
def test_the_other_encoder_by_choice(references: State, encoder: str) -> None:
    _, _, checkpoint = _files(references)["moco"]
    found = identify(checkpoint, "moco.pth", encoder)
    assert (found.layout.name, found.place.prefix) == ("moco", "module.encoder_k.")
    audit = audit_backbone(found, "moco.pth")
    assert audit.dropped["module.encoder_q.*"]
    assert audit.dropped["module.encoder_k.fc.*"]


def test_the_average_of_pycontrast(references: State) -> None:
    _, _, checkpoint = _files(references)["infomin"]
    found = identify(checkpoint, "x", "ema")
    assert found.place == Place(("model_ema",), "encoder.")
    assert found.layout.name == "pycontrast"
    assert len(audit_backbone(found, "x").tensors) == 265


def test_an_unknown_encoder_is_named(references: State) -> None:
    _, _, checkpoint = _files(references)["moco"]
    with pytest.raises(WeightsError, match=r"the encoder 'teacher' is not in the file. Found: .*encoder_q"):
        identify(checkpoint, "moco.pth", "teacher")


@pytest.mark.parametrize(
    "name", ["two_unknown", "unknown_prefix", "moco_and_more", "nested", "two_containers", "substring"]
)
def test_undocumented_places_ask(references: State, name: str) -> None:
    _, _, moco = _files(references)["moco"]
    checkpoint = {
        "two_unknown": {"state_dict": prefixed("student.", references) | prefixed("teacher.", references)},
        "unknown_prefix": {"state_dict": prefixed("online.net.", references)},
        "moco_and_more": {"state_dict": moco["state_dict"] | prefixed("backbone.", references)},
        "nested": {"checkpoint": {"state_dict": dict(references)}},
        "two_containers": {"state_dict": dict(references), "model": dict(references)},
        # A prefix in the middle of a key is another prefix.
        "substring": {"state_dict": prefixed("x.module.encoder_q.", references)},
    }[name]
    with pytest.raises(WeightsError, match="Name the one to take with --encoder"):
        identify(checkpoint, "x.pth")


def test_a_place_that_only_the_user_knows(references: State) -> None:
    state = prefixed("net.student.", references) | {"net.head.weight": references["fc.weight"]}
    found = identify({"state_dict": state}, "x.pth", "net.student.")
    assert found.layout.name == "named"
    audit = audit_backbone(found, "x.pth")
    assert len(audit.tensors) == 265
    assert "named by the user" in audit.notes[0]
    assert audit.dropped["all outside net.student.*"] == ("net.head.weight",)
    state["net.student.adapter.weight"] = references["fc.weight"]
    with pytest.raises(WeightsError, match=r"1 keys are not explained .*net\.student\.adapter\.weight"):
        audit_backbone(identify({"state_dict": state}, "x.pth", "net.student."), "x.pth")


def test_an_encoder_inside_another_prefix_keeps_its_extra_keys(references: State) -> None:
    both = prefixed("module.", references) | prefixed("module.encoder.", references)
    assert len(audit_backbone(identify({"net": both}, "x", "module.encoder."), "x").tensors) == 265
    both["module.encoder.adapter"] = references["fc.weight"]
    with pytest.raises(WeightsError, match=r"not explained .*module\.encoder\.adapter"):
        audit_backbone(identify({"net": both}, "x", "module.encoder."), "x")


def test_a_prefix_with_pattern_characters_is_taken_literally(references: State) -> None:
    state = prefixed("a*[b].", references) | {"axxb.fc.weight": references["fc.weight"]}
    audit = audit_backbone(identify({"state_dict": state}, "x", "a*[b]."), "x")
    assert audit.dropped["all outside a*[b].*"] == ("axxb.fc.weight",)


def test_nothing_found_says_what_is_there() -> None:
    with pytest.raises(WeightsError, match=r"no ResNet-50 .*The file has 2 keys: 'epoch', 'model'"):
        identify({"epoch": 1, "model": {"vit.blocks.0": 1}}, "x.pth")


def test_heads_with_the_parts_of_a_stem_are_no_encoder(references: State) -> None:
    head = {f"module.head.{name}": references[name] for name in ("conv1.weight", "bn1.weight", "bn1.bias")}
    found = find_encoders({"model": prefixed("module.encoder.", references) | head})
    assert found == {Place(("model",), "module.encoder."): 265}


def test_a_checkpoint_that_holds_itself_ends(references: State) -> None:
    checkpoint: dict[str, Any] = dict(references)
    checkpoint["self"] = checkpoint
    assert find_encoders(checkpoint) == {Place((), ""): 265}
