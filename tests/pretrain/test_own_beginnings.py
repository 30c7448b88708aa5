"""Parameters that keep their rate, or are not trained at first, and layers that start as published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.core.errors import ConfigError
from pretrain.distributed import Place, World
from pretrain.optim import set_rate
from pretrain.training import Training
from tests.helpers.pretraining import batches, make_images, narrow_networks, prepare, step, toy_job, toy_plan


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(autouse=True)
def _narrow() -> Iterator[None]:
    with narrow_networks():
        yield


def prepared(images: Path, name: str, *more: str) -> tuple[Any, Training]:
    job = toy_job(images.parent, images, name, *more)
    return job, prepare(job)


@pytest.mark.parametrize("fixed", [True, False])
def test_simsiams_predictor_and_nothing_else_keeps_its_rate(images: Path, fixed: bool) -> None:
    _, now = prepared(images, "simsiam", f"parts.fixed_predictor_rate={str(fixed).lower()}")
    start = now.config.optimizer.learning_rate
    set_rate(now.optimizer, start / 7)
    labels = {id(value): label for label, value in now.model.named_parameters()}
    rates = {
        labels[id(value)]: group["lr"] for group in now.optimizer.param_groups for value in group["params"]
    }
    for label, rate in rates.items():
        assert rate == pytest.approx(start if fixed and "predictor" in label else start / 7), label
    assert any("predictor" in label for label in rates)


@pytest.mark.parametrize(
    ("name", "more", "where", "until"),
    [
        ("swav", "parts.frozen_prototype_steps=3", "prototypes.", 3),
        ("dino", "parts.frozen_head_epochs=1", "student.head.last_layer.", 5),
    ],
)
def test_what_is_trained_later_stands_still_until_then(
    images: Path, name: str, more: str, where: str, until: int
) -> None:
    job, now = prepared(images, name, more, "optimizer.weight_decay=0.01")
    parts = batches(job, now, 0, until + 1)
    for number in range(until + 1):
        before = {
            label: value.clone() for label, value in now.model.named_parameters() if value.requires_grad
        }
        step(now, parts[number], number)
        moved = {
            label
            for label, value in before.items()
            if (now.model.get_parameter(label) - value).abs().max() > 1e-6
        }
        late = {label for label in before if label.startswith(where)}
        assert late and (late <= moved) == (number >= until), number
        assert moved - late


def test_dinos_prototypes_start_as_a_plain_layer_and_are_fed_with_length_one(images: Path) -> None:
    _, now = prepared(images, "dino")
    layer: Any = now.model.get_submodule("student.head.last_layer")
    rows, length = layer.parametrizations.weight.original1.detach(), layer.in_features
    assert float(rows.abs().max()) <= length**-0.5
    assert float(rows.std()) == pytest.approx((3 * length) ** -0.5, rel=0.2)
    torch.testing.assert_close(layer.weight.norm(dim=1), torch.ones(layer.out_features))
    assert not layer.parametrizations.weight.original0.requires_grad


def test_densecls_projector_starts_as_published(images: Path) -> None:
    _, now = prepared(images, "densecl")
    layers = [layer for layer in now.model.query.head.modules() if isinstance(layer, nn.Linear)]  # type: ignore[union-attr,operator]
    for layer in layers:
        assert float(layer.weight.detach().std()) == pytest.approx((2 / layer.in_features) ** 0.5, rel=0.1)
        assert not layer.bias.any()


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("swav", "parts.queue_start_epoch=2", "never comes in 2 epochs"),
        ("dino", "parts.frozen_head_epochs=2", "never trained"),
        ("densecl", "loop.compile=true", "not compiled"),
        ("simclr", "loop.accumulation_steps=12", "compares images of a part"),
        ("vicreg", "loop.accumulation_steps=12", "compares images of a part"),
    ],
)
def test_what_would_never_happen_is_refused(images: Path, name: str, change: str, words: str) -> None:
    more = ("backbone.norm='group'", "backbone.zero_init_residual=false")
    with pytest.raises(ConfigError, match=words):
        toy_plan(images.parent, images, name, *more, change)


def test_prototypes_that_are_never_trained_are_refused(images: Path) -> None:
    with pytest.raises(ConfigError, match="of 10 steps, prototypes are trained in none"):
        prepared(images, "swav", "parts.frozen_prototype_steps=10")


def test_a_queue_of_prototypes_divides_by_the_processes(images: Path) -> None:
    job, now = prepared(images, "swav", "parts.queue_size=33")
    now.model.world = World(rank=0, size=2, node_size=2)
    ((batch,),) = batches(job, now, 0, 1)
    with pytest.raises(ConfigError, match="does not divide by 2 processes"):
        now.model(batch, Place(0, 0))


def test_without_a_queue_nothing_is_remembered(images: Path) -> None:
    job, now = prepared(images, "swav", "parts.queue_size=0", "parts.frozen_prototype_steps=0")
    for number, parts in enumerate(batches(job, now, 0, 2)):
        assert torch.isfinite(step(now, parts, number)["loss"])
    assert not [name for name in now.model.state_dict() if "queue" in name]
    assert now.model._new == []
