"""Any sensible combination of contrastive parts is built and makes a step; what makes no sense is refused."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from bench.core.config import check_config, read_toml
from bench.core.errors import ConfigError
from bench.core.paths import CONFIGS
from pretrain.api import METHODS, Sizes
from pretrain.config import PretrainConfig
from pretrain.contrast_parts import ContrastParts
from pretrain.distributed import Place
from pretrain.plan import read_config
from tests.helpers.pretraining import narrow_networks
from tests.pretrain.test_contrast import batch_of

OF_MEMORY: dict[str, dict[str, Any]] = {
    "queue": {"queue_size": 16, "ema_momentum": 0.9, "shuffle_bn": "none"},
    "bank": {"num_negatives": 9, "bank_momentum": 0.5, "negatives_draw": "each"},
    "batch": {},
}
VIEWS = {
    "A": "instdis_ep200",
    "B": "moco_v2_ep200",
    "C": "cmc_ep200",
    "D": "infomin_ep200",
    "E": "cmc_v2_ep200",
}


def config_of(
    memory: str = "queue",
    modality: str = "rgb",
    jigsaw: bool = False,
    head: str = "linear",
    view: str = "C",
    **parts: Any,
) -> PretrainConfig[ContrastParts]:
    values = read_toml(CONFIGS / "pretrain" / "contrast_ep200.toml")
    values |= {"batch_size": 4, "view": read_toml(CONFIGS / "pretrain" / f"{VIEWS[view]}.toml")["view"]}
    values["backbone"]["arch"] = "resnet18"
    values["parts"] = {"memory": memory, "modality": modality, "head": head, "projection_dim": 8}
    values["parts"] |= {"temperature": 0.1, **OF_MEMORY[memory]}
    del values["jigsaw"]
    if jigsaw:
        values["parts"]["jigsaw_weight"] = 0.3
        values["jigsaw"] = {"crop_px": 96, "patch_px": 16}
    values["parts"] |= parts
    return check_config(PretrainConfig[ContrastParts], values, "here")


COMBINATIONS = list(
    product(("queue", "bank", "batch"), ("rgb", "y_dbdr", "l_ab"), (False, True), ("linear", "mlp"))
)


@pytest.mark.parametrize(("memory", "modality", "jigsaw", "head"), COMBINATIONS)
def test_every_combination_makes_a_step_that_reaches_every_weight(
    memory: str, modality: str, jigsaw: bool, head: str
) -> None:
    config, method = config_of(memory, modality, jigsaw, head), METHODS.get("contrast")
    assert method.problems(config) == []
    with narrow_networks():
        torch.manual_seed(0)
        model = method.build(config, Sizes(num_images=100, num_classes=0))
    batch = batch_of(0, views=len(config.views), patches=jigsaw, side=48)
    loss, scalars = model(batch, Place(0, 0))
    loss.backward()
    assert torch.isfinite(torch.stack([loss.detach(), *scalars.values()])).all()
    for name, value in model.named_parameters():
        assert not value.requires_grad or float(value.grad.abs().sum()) > 0, name
    remembered = {
        name: value.clone() for name, value in model.named_buffers() if name.endswith(("keys", "entries"))
    }
    model.after_step()
    assert bool(remembered) == (memory != "batch")
    assert all(
        not torch.equal(value, dict(model.named_buffers())[name]) for name, value in remembered.items()
    )
    branches = 1 if modality == "rgb" else 2
    assert len(model.query.heads) == branches == (len(model.query.jigsaw_heads) if jigsaw else branches)


@pytest.mark.parametrize("view", VIEWS)
def test_every_augmentation_goes_with_every_memory_and_rgb(view: str) -> None:
    for memory in OF_MEMORY:
        assert METHODS.get("contrast").problems(config_of(memory, view=view)) == []


def test_a_shared_draw_is_an_option_of_the_bank() -> None:
    config = config_of("bank", negatives_draw="shared")
    with narrow_networks():
        model = METHODS.get("contrast").build(config, Sizes(num_images=100, num_classes=0))
    loss, _ = model(batch_of(0, views=1), Place(0, 0))
    assert torch.isfinite(loss)


@pytest.mark.parametrize(
    ("memory", "parts", "words"),
    [
        ("queue", {"num_negatives": 5}, 'num_negatives goes with memory = "bank"'),
        ("bank", {"ema_momentum": 0.9}, 'ema_momentum goes with memory = "queue"'),
        ("batch", {"queue_size": 9}, 'queue_size goes with memory = "queue"'),
        ("queue", {"queue_size": None}, 'memory = "queue" needs queue_size'),
        ("bank", {"bank_momentum": None}, 'memory = "bank" needs bank_momentum'),
    ],
)
def test_parts_of_another_memory_are_refused(memory: str, parts: dict[str, Any], words: str) -> None:
    with pytest.raises((ConfigError, ValidationError), match=words):
        config_of(memory, **parts)


def test_a_bank_has_the_other_view_in_it() -> None:
    assert [len(config_of(memory).views) for memory in OF_MEMORY] == [2, 1, 2]
    values = config_of("bank").model_dump(mode="json", exclude_none=True)
    with pytest.raises(ConfigError, match="second_view"):
        check_config(PretrainConfig[ContrastParts], values | {"second_view": values["view"]}, "here")


def test_a_grey_view_is_refused_where_a_network_sees_colour_alone() -> None:
    for view in ("A", "B", "D"):
        *others, problem = METHODS.get("contrast").problems(config_of(modality="y_dbdr", view=view))
        assert "gray_probability" in problem and "sees nothing" in problem
        assert len(others) == (view == "D") and all("colour_free" in other for other in others)


@pytest.mark.parametrize(
    ("slug", "change", "word"),
    [
        ("moco_v2_ep200", 'memory = "queue"', "memory"),
        ("cmc_ep200", 'modality = "y_dbdr"', "modality"),
    ],
)
def test_the_name_of_a_method_stands_for_its_parts(tmp_path: Path, slug: str, change: str, word: str) -> None:
    text = (CONFIGS / "pretrain" / f"{slug}.toml").read_text(encoding="utf-8")
    other = {"memory": 'memory = "batch"', "modality": 'modality = "l_ab"'}[word]
    for field in OF_MEMORY["queue"] if word == "memory" else ():
        text = "\n".join(line for line in text.splitlines() if not line.startswith(f"{field} ="))
    path = tmp_path / "other.toml"
    path.write_text(text.replace(change, other))
    with pytest.raises(ConfigError, match=rf'{word} is not that of .*; method = "contrast"'):
        read_config(path)
    path.write_text(text.replace(change, other).replace(slug[:-6], "contrast"))
    assert read_config(path)[0].name == "contrast"
