"""Whole steps of momentum contrast against a float64 re-computation in which all but the ResNet is by hand.

The reference takes initial values, images and the shuffled order of `bench.core.rng` from outside, and
torchvision's ResNet and autograd; heads, loss, queue, momentum copy and SGD are written out.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from bench.core import rng
from bench.core.paths import CONFIGS
from bench.images.view_config import JigsawConfig
from pretrain.api import METHODS, Sizes
from pretrain.contrast_parts import contrast_problems
from pretrain.data.batch import Batch
from pretrain.distributed import Place
from pretrain.optim import build_optimizer
from pretrain.plan import read_config
from tests.helpers.often import often
from tests.pretrain.test_optim import Velocity

SEED, BATCH = 5, 4
TOLERANCE = 1e-9
TEMPERATURES = {"moco_v1": 0.07, "moco_v2": 0.2, "infomin": 0.15}


def small_config(slug: str, *, batch_size: int = BATCH, **parts: Any) -> Any:
    """A config of `configs/pretrain` with a small network and small patches."""
    config = read_config(CONFIGS / "pretrain" / f"{slug}.toml")[1]
    arch = config.backbone.model_copy(update={"arch": "resnet18"})
    jigsaw = JigsawConfig(crop_px=48, grid=3, patch_px=16) if config.jigsaw else None
    changed = config.parts.model_copy(update=parts)
    return config.model_copy(
        update={"backbone": arch, "jigsaw": jigsaw, "parts": changed, "batch_size": batch_size}
    )


def small_contrast(method: str, **parts: Any) -> Any:
    return small_config(f"{method}_ep200", **{"projection_dim": 8, "queue_size": 16, **parts})


def build(config: Any, dtype: torch.dtype = torch.float64, num_classes: int = 0) -> Any:
    torch.manual_seed(0)
    method = METHODS.get(config.method.replace("_", "-"))
    model = method.build(config, Sizes(num_images=100, num_classes=num_classes))
    return model.to(dtype).train()


def batch_of(step: int, *, views: int = 2, patches: bool = False, labels: int = 0, side: int = 32) -> Batch:
    draw = torch.Generator().manual_seed(100 + step)

    def pixels(*shape: int) -> Tensor:
        return torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8)

    return Batch(
        views=tuple(pixels(BATCH, 3, side, side) for _ in range(views)),
        patches=pixels(BATCH, 9, 3, side // 2, side // 2) if patches else None,
        labels=torch.randint(0, labels, (BATCH,), generator=draw) if labels else None,
        index=torch.arange(BATCH),
    )


def feed(images: Tensor) -> Tensor:
    """ToTensor and Normalize with ImageNet's values, in float64."""
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64)[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64)[:, None, None]
    return (images.double() / 255 - mean) / std


def part_of(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value.detach().clone()
        for name, value in state.items()
        if name.startswith(prefix)
    }


def torchvision_resnet(state: dict[str, Tensor]) -> nn.Module:
    network = torchvision.models.resnet18().double()
    network.fc = nn.Identity()
    network.load_state_dict({name: value.clone() for name, value in state.items()})
    return network.train()


def unit(rows: Tensor) -> Tensor:
    return torch.stack([row / (row * row).sum().sqrt() for row in rows])


def project(values: dict[str, Tensor], prefix: str, features: Tensor) -> Tensor:
    if f"{prefix}.weight" in values:
        return features @ values[f"{prefix}.weight"].T + values[f"{prefix}.bias"]
    hidden = features @ values[f"{prefix}.0.weight"].T + values[f"{prefix}.0.bias"]
    hidden = torch.where(hidden > 0, hidden, torch.zeros_like(hidden))
    return hidden @ values[f"{prefix}.2.weight"].T + values[f"{prefix}.2.bias"]


def picked(query: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Mean of -log softmax at the positive, with all logits of a query in one row."""
    losses = []
    for row in range(len(query)):
        logits = torch.stack([query[row] @ key for key in (keys[row], *queue)]) / temperature
        losses.append(-torch.log(torch.exp(logits[0]) / torch.exp(logits).sum()))
    return torch.stack(losses).mean()


class Reference:
    """Momentum contrast and SGD by hand; `state` is that of a model before its first step."""

    def __init__(
        self, state: dict[str, Tensor], *, temperature: float, ema_momentum: float, beta: float | None
    ) -> None:
        state = {
            name: value.double() if value.is_floating_point() else value for name, value in state.items()
        }
        self.temperature, self.ema_momentum, self.beta = temperature, ema_momentum, beta
        self.query, self.key = (
            torchvision_resnet(part_of(state, f"{n}.backbone.")) for n in ("query", "key")
        )
        self.heads = part_of({k: v for k, v in state.items() if "backbone" not in k}, "query.")
        self.key_heads = {name: value.clone() for name, value in self.heads.items()}
        self.queue, self.pointer = state["queues.0.keys"].clone(), 0
        self.optimizer = Velocity(momentum=0.9, weight_decay=1e-4)

    def keys_of(self, images: Tensor, place: Place) -> tuple[Tensor, Tensor]:
        """Keys in the images' order, and in that in which they were computed."""
        order = rng.generator(place.seed, "shuffle", place.step, place.part).permutation(len(images))
        with torch.no_grad():
            features = self.key(feed(torch.stack([images[place] for place in order])))
            shuffled = unit(project(self.key_heads, "heads.0.layers", features))
        keys = torch.empty_like(shuffled)
        for row, image in enumerate(order):
            keys[image] = shuffled[row]
        return keys, shuffled

    def loss_of(self, batch: Batch, keys: Tensor) -> Tensor:
        query = unit(project(self.heads, "heads.0.layers", self.query(feed(batch.views[0]))))
        loss = picked(query, keys, self.queue, self.temperature)
        if self.beta is None:
            return loss
        patches = project(
            self.heads, "jigsaw_heads.0.patch_layers", self.query(feed(batch.patches.flatten(0, 1)))
        )
        rows = [torch.cat([patches[9 * image + place] for place in range(9)]) for image in range(BATCH)]
        joined = torch.stack(rows) @ self.heads["jigsaw_heads.0.join.weight"].T
        jigsaw = unit(joined + self.heads["jigsaw_heads.0.join.bias"])
        jigsaw_loss = picked(jigsaw, keys, self.queue, self.temperature)
        return (1 - self.beta) * loss + self.beta * jigsaw_loss

    def step(self, parts: list[tuple[Batch, Place]], rate: float) -> tuple[Tensor, dict[str, Tensor]]:
        """One update over the parts of a batch: the loss before it, and its gradients."""
        for value in self.heads.values():
            value.requires_grad_()
        losses, arriving = [], []
        for batch, place in parts:
            keys, shuffled = self.keys_of(batch.views[1], place)
            losses.append(self.loss_of(batch, keys))
            arriving.extend(shuffled)
        loss = torch.stack(losses).mean()
        named = {**{f"backbone.{k}": v for k, v in self.query.named_parameters()}, **self.heads}
        grads = dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))
        with torch.no_grad():
            old = {name: value.detach().clone() for name, value in named.items()}
            for name, value in self.optimizer.updated(old, grads, rate).items():
                named[name].copy_(value)
            slow = {**{f"backbone.{k}": v for k, v in self.key.named_parameters()}, **self.key_heads}
            for name, value in slow.items():
                value.copy_(self.ema_momentum * value + (1 - self.ema_momentum) * named[name])
            for key in arriving:
                self.queue[self.pointer] = key
                self.pointer = 0 if self.pointer == len(self.queue) - 1 else self.pointer + 1
        return loss.detach(), grads

    def state(self) -> dict[str, Tensor]:
        whole = {f"query.backbone.{name}": value for name, value in self.query.state_dict().items()}
        whole |= {f"key.backbone.{name}": value for name, value in self.key.state_dict().items()}
        whole |= {f"query.{name}": value.detach() for name, value in self.heads.items()}
        whole |= {f"key.{name}": value for name, value in self.key_heads.items()}
        return {**whole, "queues.0.keys": self.queue, "queues.0.pointer": torch.tensor(self.pointer)}


def assert_near(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = TOLERANCE) -> None:
    assert found.keys() == expected.keys()
    far = {
        name: float((value.detach().double() - expected[name].detach().double()).abs().max())
        for name, value in found.items()
    }
    assert {name: distance for name, distance in far.items() if not distance <= tolerance} == {}


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.grad.clone() for name, value in module.named_parameters()}


CASES = {
    "as published": {},
    "with a wrap inside the batch": {"queue_size": 6, "ema_momentum": 0.6, "temperature": 0.3},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", often(TEMPERATURES, ["moco_v2"]))
def test_two_whole_steps_are_those_written_out(method: str, case: str) -> None:
    values = dict(CASES[case])
    if method == "infomin" and values:
        values["jigsaw_weight"] = 0.3
    config = small_contrast(method, **values)
    model = build(config)
    reference = Reference(
        model.state_dict(),
        temperature=values.get("temperature", TEMPERATURES[method]),
        ema_momentum=values.get("ema_momentum", 0.999),
        beta=values.get("jigsaw_weight", 0.5) if method == "infomin" else None,
    )
    optimizer = build_optimizer(config.optimizer, model, fused=True)
    for step in range(2):
        batch, place = batch_of(step, patches=method == "infomin"), Place(SEED, step)
        optimizer.zero_grad()
        loss, _ = model(batch, place)
        loss.backward()
        expected, grads = reference.step([(batch, place)], 0.03)
        assert float(loss.detach()) == pytest.approx(float(expected), abs=TOLERANCE, rel=0)
        assert_near(gradients(model.query), grads)
        optimizer.step()
        model.after_step()
        assert_near(model.state_dict(), reference.state())
    assert int(model.queues[0].pointer) == 2 * BATCH % config.parts.queue_size


@pytest.mark.parametrize("method", TEMPERATURES)
def test_the_first_loss_in_float32_is_that_of_float64(method: str) -> None:
    model = build(small_contrast(method), torch.float32)
    beta = 0.5 if method == "infomin" else None
    reference = Reference(model.state_dict(), temperature=TEMPERATURES[method], ema_momentum=0.999, beta=beta)
    # At 32 px the last batch norms have four values each, which multiplies any rounding.
    batch, place = batch_of(0, patches=method == "infomin", side=64), Place(SEED, 0)
    expected, _ = reference.step([(batch, place)], 0.03)
    loss, _ = model(batch, place)
    assert float(loss.detach()) == pytest.approx(float(expected), abs=1e-5, rel=0)


def test_parts_of_a_batch_see_one_queue_and_fill_it_in_their_order() -> None:
    config = small_contrast("moco_v2", queue_size=10, ema_momentum=0.6)
    model = build(config)
    reference = Reference(model.state_dict(), temperature=0.2, ema_momentum=0.6, beta=None)
    optimizer = build_optimizer(config.optimizer, model, fused=False)
    for step in range(2):
        parts = [(batch_of(10 * step + part), Place(SEED, step, part)) for part in range(2)]
        optimizer.zero_grad()
        for batch, place in parts:
            (model(batch, place)[0] / 2).backward()
        _, grads = reference.step(parts, 0.03)
        assert_near(gradients(model.query), grads)
        optimizer.step()
        model.after_step()
        assert_near(model.state_dict(), reference.state())


@pytest.fixture(scope="module")
def model() -> Any:
    """A small InfoMin; each test leaves it after a whole step."""
    return build(small_contrast("infomin", ema_momentum=0.6, jigsaw_weight=0.3))


def forward(model: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    loss, scalars = model(batch_of(step, patches=True), Place(SEED, step))
    return loss, scalars


def test_the_loss_is_the_mean_of_both_branches_weighted_by_beta(model: Any) -> None:
    loss, scalars = forward(model, 0)
    model.after_step()
    expected = 0.7 * scalars["loss_views"] + 0.3 * scalars["loss_jigsaw"]
    assert float(loss.detach()) == pytest.approx(float(expected), abs=1e-12)
    assert abs(float(scalars["loss_views"] - scalars["loss_jigsaw"])) > 1e-3
    assert float(scalars["i_nce"]) == pytest.approx(math.log(17) - float(scalars["loss_views"]), abs=1e-12)
    assert torch.equal(scalars["loss"], loss.detach())


def test_the_log_gets_the_columns_that_were_announced_without_gradient(model: Any) -> None:
    _, scalars = forward(model, 0)
    model.after_step()
    assert set(scalars) == set(model.columns)
    assert all(value.shape == () and not value.requires_grad for value in scalars.values())
    plain = build(small_contrast("moco_v1"))
    assert set(plain(batch_of(0), Place(SEED, 0))[1]) == set(plain.columns) == {"loss", "i_nce"}


def test_the_gradient_stops_at_the_keys(model: Any) -> None:
    forward(model, 0)[0].backward()
    model.after_step()
    assert all(value.grad is None and not value.requires_grad for value in model.key.parameters())
    assert all(value.grad is not None for value in model.query.parameters())
    assert not model.queues[0].keys.requires_grad


def test_the_copy_follows_the_weights_after_the_update(model: Any) -> None:
    forward(model, 0)[0].backward()
    old = part_of(model.state_dict(), "key.")
    with torch.no_grad():
        for value in model.query.parameters():
            value.sub_(value.grad)
    new = part_of(model.state_dict(), "query.")
    model.after_step()
    expected = {name: 0.6 * old[name] + 0.4 * new[name] for name, _ in model.key.named_parameters()}
    assert_near(dict(model.key.named_parameters()), expected, 1e-12)


def test_the_queue_and_the_copy_wait_for_the_end_of_the_step(model: Any) -> None:
    queue, pointer = model.queues[0].keys.clone(), int(model.queues[0].pointer)
    weight = model.key.heads[0].layers[0].weight.clone()
    forward(model, 0)
    assert torch.equal(model.queues[0].keys, queue) and int(model.queues[0].pointer) == pointer
    assert torch.equal(model.key.heads[0].layers[0].weight, weight)
    model.after_step()
    assert int((model.queues[0].keys != queue).any(dim=1).sum()) == BATCH


@pytest.mark.parametrize("shuffle", ["node", "global", "none"])
def test_keys_enter_the_queue_in_the_order_in_which_they_were_computed(shuffle: str) -> None:
    model = build(small_contrast("moco_v1", shuffle_bn=shuffle))
    batch = batch_of(3)
    order = rng.generator(SEED, "shuffle", 3, 1).permutation(BATCH)
    assert order.tolist() != list(range(BATCH))
    if shuffle == "none":
        order = range(BATCH)
    reference = build(small_contrast("moco_v1"))
    with torch.no_grad():
        keys = reference.key(reference.normalise(torch.stack([batch.views[1][image] for image in order])))[
            :, 0
        ]
    model(batch, Place(SEED, 3, 1))
    model.after_step()
    assert (model.queues[0].keys[:BATCH] - keys).abs().max() < 1e-12


def test_the_copys_running_statistics_are_its_own_and_of_the_second_view() -> None:
    model = build(small_contrast("moco_v1"))
    query, key = (torchvision_resnet(one.backbone.state_dict()) for one in (model.query, model.key))
    batch = batch_of(0)
    model(batch, Place(SEED, 0))
    model.after_step()
    query(feed(batch.views[0]))
    key(feed(batch.views[1]))
    assert_near(dict(model.query.backbone.named_buffers()), dict(query.named_buffers()), 1e-12)
    assert_near(dict(model.key.backbone.named_buffers()), dict(key.named_buffers()), 1e-12)
    assert not torch.allclose(query.bn1.running_mean, key.bn1.running_mean)


def test_a_finished_step_leaves_nothing_outside_of_the_state(model: Any) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    forward(model, 1)
    model.after_step()
    after = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(before)
    forward(model, 1)
    model.after_step()
    assert all(torch.equal(value, after[name]) for name, value in model.state_dict().items())


def test_a_run_that_is_brought_back_in_another_model_goes_on_equally(model: Any) -> None:
    other = build(small_contrast("infomin", ema_momentum=0.6, jigsaw_weight=0.3))
    other.load_state_dict(model.state_dict())
    for one in (model, other):
        forward(one, 2)
        one.after_step()
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


def test_the_querys_backbone_is_the_one_transferred(model: Any) -> None:
    assert model.backbone is model.query.backbone


def test_without_a_jigsaw_head_patches_are_our_own_fault() -> None:
    plain = build(small_contrast("moco_v1"))
    with pytest.raises(ValueError):
        plain.query.project_patches(torch.zeros(9, 3, 16, 16, dtype=torch.float64))


@pytest.mark.parametrize(
    ("method", "changes", "word"),
    [
        ("infomin", {"jigsaw_weight": None}, "jigsaw"),
        ("moco_v2", {"jigsaw_weight": 0.5}, "jigsaw"),
        ("moco_v2", {"queue_size": 3}, "queue_size"),
    ],
)
def test_what_does_not_fit_together_is_named(method: str, changes: dict[str, Any], word: str) -> None:
    assert contrast_problems(small_contrast(method)) == []
    (problem,) = contrast_problems(small_contrast(method, **changes))
    assert word in problem
