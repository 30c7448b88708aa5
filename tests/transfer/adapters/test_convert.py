"""What each target's file holds, and the configs beside it."""

from __future__ import annotations

import json
import pickletools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bench.core.card import Card, InputSpec
from bench.core.errors import UsageError
from bench.core.weights import Weights, read_checkpoint
from tests.helpers.converted import CHANGES, FILES, MSRA, RGB, TF, fed_as, write
from transfer.adapters import detectron2_config, mmseg
from transfer.adapters.convert import TARGETS, config_text, file_bytes
from transfer.adapters.keymap import DETECTRON2_NAMES, SHAPES
from transfer.adapters.load import load_backbone


@pytest.mark.parametrize(("target", "suffix"), FILES)
def test_a_file_holds_the_265_and_no_more(tmp_path: Path, source: Weights, target: str, suffix: str) -> None:
    """Read back by our own reader, which knows nothing of the targets."""
    content = read_checkpoint(write(tmp_path, source, target, suffix))
    place = {"mmseg": "state_dict", "detectron2": "model"}.get(target)
    tensors = content[place] if place else content
    names = DETECTRON2_NAMES if target == "detectron2" else {name: name for name in SHAPES}
    assert sorted(tensors) == sorted(names.values())
    for name, array in source.tensors.items():
        assert tensors[names[name]].dtype == "float32"
        assert np.array_equal(tensors[names[name]].read(), array)


@pytest.mark.parametrize(("target", "suffix"), FILES)
def test_equal_weights_give_equal_bytes(source: Weights, target: str, suffix: str) -> None:
    shuffled = {name: np.asfortranarray(source.tensors[name]) for name in reversed(SHAPES)}
    assert file_bytes(source, target, suffix) == file_bytes(Weights(source.card, shuffled), target, suffix)


@pytest.mark.parametrize(
    ("target", "suffix"),
    [
        ("torchvision", ".pkl"),
        ("detectron2", ".pth"),
        ("mmseg", ".safetensors"),
        ("timm", ".pt"),
        ("timm", ""),
    ],
)
def test_an_ending_that_the_tools_do_not_read_is_refused(source: Weights, target: str, suffix: str) -> None:
    with pytest.raises(UsageError, match=TARGETS[target].suffixes[0]):
        file_bytes(source, target, suffix)


def test_an_unknown_target_is_refused_with_the_nearest(source: Weights) -> None:
    with pytest.raises(UsageError, match='Did you mean "detectron2"'):
        file_bytes(source, "detectron", ".pkl")
    with pytest.raises(UsageError, match="torchvision, detectron2"):
        config_text(source.card, "caffe", "x")


def test_the_pickle_asks_for_names_that_every_numpy_has(source: Weights) -> None:
    data = file_bytes(source, "detectron2", ".pkl")
    operations = list(pickletools.genops(data))
    asked = {str(argument) for code, argument, _ in operations if code.name == "GLOBAL"}
    assert asked == {
        "numpy.core.multiarray _reconstruct",
        "numpy dtype",
        "numpy ndarray",
    } | {name for name in asked if name == "_codecs encode"}
    assert not any(code.name == "STACK_GLOBAL" for code, _, _ in operations)
    assert next(argument for code, argument, _ in operations if code.name == "PROTO") == 3


@pytest.mark.parametrize("target", ["timm", "mmseg", "detectron2"])
def test_a_file_with_a_place_for_its_card_is_read_as_the_card_says(
    tmp_path: Path, source: Weights, target: str
) -> None:
    """Copied without the card beside it, BGR weights would be fed as RGB."""
    bgr = InputSpec(channel_order="bgr", mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0), stride_in="1x1")
    card = source.card.model_copy(update={"name": "resnet50.bgr", "input": bgr, "licence": "MIT"})
    path = write(tmp_path, replace(source, card=card), target)
    # The hash of the file that the weights came from is not on this card.
    found = load_backbone(path).card
    assert found.model_copy(update={"source_sha256": None}) == card
    rgb = load_backbone(path, input_spec=RGB).card
    assert (rgb.input, rgb.notes[-1]) == (RGB, "the input spec was given by the user")


def entries(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= entries(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return found


def parsed(card: Card, target: str, file_name: str) -> dict[str, Any]:
    """The entries of a config as its engine reads them."""
    text = config_text(card, target, file_name)
    assert text is not None
    if target == "detectron2":
        assert text[0] == ".yaml"
        return entries(yaml.safe_load(text[1]))
    assert text[0] == ".py"
    names: dict[str, Any] = {}
    exec(text[1], names)
    assert set(names) == {"__builtins__", "_base_", "data_preprocessor", "model"}
    assert names["_base_"] == [mmseg.BASE]
    return entries({"model": names["model"]})


TINY = InputSpec(mean=(0.0, -1e-05, 100.1), std=(1e-07, 1.0, 0.1 + 0.2))
SETTINGS = {"detectron2": detectron2_config.pixel_settings, "mmseg": mmseg.pixel_settings}


@pytest.mark.parametrize("spec", [RGB, MSRA, TF, TINY], ids=["rgb", "msra", "tf", "tiny"])
@pytest.mark.parametrize("target", SETTINGS)
def test_a_config_says_what_the_card_says(source: Weights, target: str, spec: InputSpec) -> None:
    card = fed_as(source, spec).card
    found = parsed(card, target, "net.x")
    rest = {
        "detectron2": {"VERSION": 2, "MODEL.WEIGHTS": "net.x"},
        "mmseg": {
            "model.backbone.init_cfg.type": "Pretrained",
            "model.backbone.init_cfg.checkpoint": "net.x",
        },
    }[target]
    assert found == SETTINGS[target](spec) | rest
    text = config_text(card, target, "net.x")
    assert text is not None and ("SAME" in text[1]) == (spec is TF)


@pytest.mark.parametrize("target", SETTINGS)
@pytest.mark.parametrize(
    "evil", ["a\nimport this", "a\"b'c", "a\\nb", "a\r\nmodel = 1", "n\u2028x = 1", "\u00e4 #"]
)
def test_names_cannot_write_into_a_config(source: Weights, target: str, evil: str) -> None:
    """A card may come from a stranger, and MMEngine runs its configs."""
    card = source.card.model_copy(update={"name": evil})
    plain = parsed(source.card, target, "net.x")
    assert parsed(card, target, "net.x") == plain
    renamed = parsed(source.card, target, evil)
    assert {json.dumps(value) for value in renamed.values()} == {
        json.dumps(evil if value == "net.x" else value) for value in plain.values()
    }


@pytest.mark.parametrize("target", ["torchvision", "timm"])
def test_targets_without_configs(source: Weights, target: str) -> None:
    assert config_text(source.card, target, "net.pth") is None


@pytest.mark.parametrize("field", CHANGES)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_every_field_of_the_spec_reaches_the_engine(settings: Any, field: str) -> None:
    assert settings(RGB.model_copy(update={field: CHANGES[field]})) != settings(RGB)


def test_the_changes_cover_every_field() -> None:
    # Padding is in no engine's config: its proof fails instead.
    assert set(CHANGES) == set(InputSpec.model_fields) - {"padding"}
