"""Which layout a checkpoint has: found by anchored names, or asked for, never guessed.

Every published kind of file is in `tests/contracts/test_layouts.py`; here are the ways to ask, and the ways
in which a file may be odd.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from bench.core.errors import WeightsError
from bench.core.tensor_ref import TensorRef
from tests.helpers.layout_files import ROWS
from tests.helpers.layout_files.pieces import Given, Keys
from tests.transfer.adapters.conftest import prefixed
from transfer.adapters import identify as identify_module
from transfer.adapters.audit import audit_backbone
from transfer.adapters.identify import MAX_NESTING, containers, find_encoders, identify
from transfer.adapters.keymap import SHAPES
from transfer.adapters.layout import Layout, Place, place

State = Mapping[str, TensorRef]


def file(name: str, references: State) -> Keys:
    return ROWS[name](Given(references, references, references["fc.bias"])).checkpoint


@pytest.mark.parametrize(
    "encoder", ["key", "module.encoder_k", "module.encoder_k.", "state_dict:module.encoder_k."]
)
def test_the_other_encoder_by_choice(references: State, encoder: str) -> None:
    found = identify(file("06_moco", references), "moco.pth", encoder)
    assert (found.layout.name, found.place.prefix) == ("moco", "module.encoder_k.")
    audit = audit_backbone(found, "moco.pth")
    assert audit.dropped["module.encoder_q.*"]
    assert audit.dropped["module.encoder_k.fc.*"]


def test_the_average_of_pycontrast(references: State) -> None:
    found = identify(file("04_infomin", references), "x", "ema")
    assert found.place == Place(("model_ema",), "encoder.")
    assert found.layout.name == "pycontrast"
    assert len(audit_backbone(found, "x").tensors) == 265


def test_a_label_that_two_copies_share_is_not_enough(references: State) -> None:
    with pytest.raises(WeightsError, match="the encoder 'key' is there more than once"):
        identify(file("24_vissl_moco", references), "x", "key")


def test_an_unknown_encoder_is_named(references: State) -> None:
    with pytest.raises(WeightsError, match=r"the encoder 'teacher' is not in the file. Found: .*encoder_q"):
        identify(file("06_moco", references), "moco.pth", "teacher")


@pytest.mark.parametrize(
    "name", ["two_unknown", "unknown_prefix", "moco_and_more", "nested", "two_containers", "substring"]
)
def test_undocumented_places_ask(references: State, name: str) -> None:
    moco = file("06_moco", references)
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


def test_an_encoder_without_prefix_is_left_out_with_its_counters(references: State) -> None:
    encoder = {name: value for name, value in references.items() if not name.startswith("fc.")}
    both = encoder | prefixed("net.", encoder)
    audit = audit_backbone(identify({"x": both}, "x", "x:"), "x")
    assert len(audit.dropped["net.*"]) == 318
    # Named keys alone are the other encoder's: what else stands there is not left out with it.
    toy = Layout("toy", "a/b c.py", (place("x", "net."),), others=(("bare", place("x", "")),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identify_module, "LAYOUTS", (toy,))
        audit = audit_backbone(identify({"x": both}, "x"), "x")
        assert len(audit.dropped["torchvision names"]) == 318
        with pytest.raises(WeightsError, match=r"1 keys are not explained .*bn1\.extra"):
            audit_backbone(identify({"x": both | {"bn1.extra": references["fc.bias"]}}, "x"), "x")


def test_a_prefix_with_pattern_characters_is_taken_literally(references: State) -> None:
    state = prefixed("a*[b].", references) | {"axxb.fc.weight": references["fc.weight"]}
    audit = audit_backbone(identify({"state_dict": state}, "x", "a*[b]."), "x")
    assert audit.dropped["all outside a*[b].*"] == ("axxb.fc.weight",)


@pytest.mark.parametrize("left", [0, 1, 59])
def test_a_lost_average_is_not_replaced_by_what_stands_beside_it(references: State, left: int) -> None:
    checkpoint = file("03_timm_training_average", references)
    average = checkpoint["state_dict_ema"]
    for name in [name for name in average if name in SHAPES][left:]:
        del average[name]
    with pytest.raises(WeightsError, match=r"no documented layout fits\. Found: 'state_dict:'"):
        identify(checkpoint, "x")
    del checkpoint["state_dict_ema"]
    assert identify(checkpoint, "x").layout.name == "plain"


@pytest.mark.parametrize("order", ["before", "behind", "missing"])
def test_an_order_of_keys_is_a_sign(references: State, monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    general = Layout("general", "a/b c.py", (place("", ""),), drop=("fc.*",))
    special = Layout("special", "a/b d.py", general.places, order=("fc.weight", "fc.bias"), drop=("fc.*",))
    monkeypatch.setattr(identify_module, "LAYOUTS", (general, special))
    state = {name: value for name, value in references.items() if not name.startswith("fc.")}
    names = {"before": ("fc.weight", "fc.bias"), "behind": ("fc.bias", "fc.weight"), "missing": ("fc.bias",)}
    state |= {name: references[name] for name in names[order]}
    assert identify(state, "x").layout.name == ("special" if order == "before" else "general")


def test_layouts_that_fit_alike_are_both_named(references: State, monkeypatch: pytest.MonkeyPatch) -> None:
    twins = tuple(Layout(name, "a/b c.py", (place("", ""),), drop=("fc.*",)) for name in ("one", "two"))
    monkeypatch.setattr(identify_module, "LAYOUTS", twins)
    with pytest.raises(WeightsError, match="fits several layouts: one, two"):
        identify(references, "x")


def test_nothing_found_says_what_is_there() -> None:
    with pytest.raises(WeightsError, match=r"no ResNet-50 .*The file has 2 keys: 'epoch', 'model'"):
        identify({"epoch": 1, "model": {"vit.blocks.0": 1}}, "x.pth")


def test_heads_with_the_parts_of_a_stem_are_no_encoder(references: State) -> None:
    head = {f"module.head.{name}": references[name] for name in ("conv1.weight", "bn1.weight", "bn1.bias")}
    found = find_encoders({"model": prefixed("module.encoder.", references) | head})
    names = frozenset(f"module.encoder.{name}" for name in SHAPES)
    assert found == {Place(("model",), "module.encoder."): names}


def test_a_checkpoint_that_holds_itself_ends(references: State) -> None:
    checkpoint: dict[str, Any] = dict(references)
    checkpoint["self"] = checkpoint
    assert find_encoders(checkpoint) == {Place((), ""): frozenset(SHAPES)}


def test_containers_are_given_once_from_the_outside_in() -> None:
    shared = {"x": 1}
    checkpoint = {"a": {"b": shared}, "c": shared, 7: {"no": "text"}}
    assert [path for path, _ in containers(checkpoint)] == [(), ("a",), ("c",)]
    deep: dict[str, Any] = {}
    for _ in range(MAX_NESTING + 5):
        deep = {"in": deep}
    assert len(list(containers(deep))) == MAX_NESTING


@pytest.mark.parametrize(
    "trained",
    [
        {"encoder.": "", "classifier.": ("weight", "bias")},
        {"backbone.": "", "roi_head.bbox_head.": ("fc_cls.weight", "fc_reg.weight")},
    ],
    ids=["classifier", "fast_rcnn_c4"],
)
def test_a_network_trained_on_labels_is_no_pretrained_one(references: State, trained: dict[str, Any]) -> None:
    """Near to what solo-learn and InstanceLoc write, without what only their pretraining has."""
    prefix, head = trained
    state = {name: value for name, value in references.items() if not name.startswith("fc.")}
    keys = prefixed(prefix, state) | {f"{head}{name}": references["fc.bias"] for name in trained[head]}
    if prefix == "backbone.":
        keys = {
            key.replace("backbone.layer4.", "roi_head.shared_head.layer4."): value
            for key, value in keys.items()
        }
    with pytest.raises(WeightsError, match="Name the one to take with --encoder"):
        identify({"state_dict": keys, "meta": {}}, "x.pth")


def test_a_sorted_file_is_not_taken_for_simclrs(references: State) -> None:
    """Its order alone tells SimCLR's converter, and pixels of 0 to 1; this order is nobody's."""
    for names in (sorted(references), sorted(references, reverse=True)):
        found = identify({"state_dict": {name: references[name] for name in names}}, "x.pth")
        assert found.layout.name == "plain"


def test_a_named_place_of_other_names_says_no_input(references: State) -> None:
    """Caffe2's names go with BGR as often as not."""
    checkpoint = {"model": file("02_detectron2_msra", references)}
    with pytest.raises(WeightsError, match="no documented layout"):
        identify(checkpoint, "x.pkl")
    assert identify(checkpoint, "x.pkl", "model:<caffe2>").layout.input is None
    assert identify({"net": dict(references)}, "x.pth", "net:").layout.input is not None


def test_keys_beside_every_dict_on_the_way_are_listed(references: State) -> None:
    checkpoint = {"a": {"b": dict(references), "step": 1}, "optimizer": {}, "epoch": 3}
    assert identify(checkpoint, "x.pth", "a/b:").beside == ("optimizer", "epoch", "a/step")
