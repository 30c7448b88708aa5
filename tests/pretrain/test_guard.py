"""The guard: whatever is not finite is seen before the update, wherever in a method it sits."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.core import checkpoint as checkpoints
from bench.core.errors import DivergedError
from pretrain.distributed import Place
from pretrain.guard import MAX_SKIPPED_IN_A_ROW, count_skipped, diverged, gradient_norm, is_finite
from pretrain.optim import build_optimizer
from pretrain.training import Progress
from tests.pretrain.test_contrast import batch_of, build, small_contrast
from tests.pretrain.test_simclr import small_simclr
from tests.pretrain.test_supervised import small_supervised

METHODS = ("moco_v1", "moco_v2", "infomin", "simclr", "supervised")
BAD = (math.nan, math.inf, -math.inf)


def training_of(model: nn.Module, *, scaler: Any = None, folder: Path = Path("nowhere")) -> Any:
    """What the guard looks at of a training."""
    return SimpleNamespace(model=model, scaler=scaler, folder=folder)


def scaler_at(scale: float) -> Any:
    return SimpleNamespace(get_scale=lambda: scale)


def linear() -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    layer(torch.ones(1, 3)).sum().backward()
    return layer


def test_the_norm_is_that_of_the_whole_gradient() -> None:
    layer = nn.Sequential(linear(), linear(), nn.Linear(2, 2))
    flat = np.concatenate([v.grad.double().numpy().ravel() for v in layer.parameters() if v.grad is not None])
    assert float(gradient_norm(training_of(layer))) == pytest.approx(math.sqrt(float(flat @ flat)), rel=1e-6)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("place", [("weight", (1, 2)), ("bias", (0,))])
def test_one_bad_gradient_is_seen(place: tuple[str, tuple[int, ...]], bad: float) -> None:
    layer = linear()
    training, loss = training_of(layer), torch.tensor(1.0)
    assert is_finite(training, loss, gradient_norm(training))
    getattr(layer, place[0]).grad[place[1]] = bad
    assert not is_finite(training, loss, gradient_norm(training))


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_loss_is_seen_though_gradients_are_finite(bad: float) -> None:
    training = training_of(linear())
    assert not is_finite(training, torch.tensor(bad), gradient_norm(training))


def test_the_loss_scaler_sees_to_gradients_and_the_guard_to_the_loss() -> None:
    layer = linear()
    layer.bias.grad[0] = math.inf
    training = training_of(layer, scaler=scaler_at(1024.0))
    norm = gradient_norm(training)
    assert is_finite(training, torch.tensor(1.0), norm)
    assert not is_finite(training, torch.tensor(math.nan), norm)


def small(method: str) -> tuple[Any, Any, dict[str, Any]]:
    if method == "supervised":
        config, kwargs = small_supervised(), {"views": 1, "labels": 5}
        return config, build(config, torch.float32, num_classes=5), kwargs
    config = small_simclr() if method == "simclr" else small_contrast(method, queue_size=6)
    return config, build(config, torch.float32), {"patches": method == "infomin"}


@pytest.fixture(scope="module", params=METHODS)
def method(request: pytest.FixtureRequest) -> Any:
    return small(request.param)


def loss_is_fine(method: Any) -> bool:
    """What the guard says of a forward pass alone."""
    _, model, kwargs = method
    with torch.no_grad():
        loss, _ = model(batch_of(0, **kwargs), Place(0, 0))
    return is_finite(training_of(model), loss, torch.tensor(0.0))


def targets(model: Any) -> dict[str, Tensor]:
    """First, middle and last weights of each network, heads, and rows of the queue."""
    ends = ("conv1.weight", "layer3.0.bn1.bias", "layer4.1.conv2.weight")
    # The momentum copy has a jigsaw head, which is never used.
    found = {
        name: value
        for name, value in model.named_parameters()
        if name.endswith(ends) or not ("backbone" in name or "network" in name or "key.jigsaw" in name)
    }
    for name, value in model.named_buffers():
        if name.endswith((".keys", ".entries")):
            rows = value.flatten(0, -2)
            found |= {f"{name}, first row": rows[0], f"{name}, last row": rows[-1]}
    return found


def test_one_bad_weight_or_key_anywhere_shows_in_the_loss_of_every_method(method: Any) -> None:
    _, model, _ = method
    assert loss_is_fine(method)
    passed = []
    for name, value in targets(model).items():
        # The middle: of a filter on one pixel, nothing else is used.
        middle = tuple(size // 2 for size in value.shape)
        with torch.no_grad():
            kept = value[middle].clone()
            value[middle] = math.nan
            passed += [name] if loss_is_fine(method) else []
            value[middle] = kept
    assert passed == []
    assert len(targets(model)) >= 5 and loss_is_fine(method)


def test_an_infinite_learning_rate_is_seen_in_the_step_after_it() -> None:
    method = small("moco_v2")
    config, model, _ = method
    optimizer = build_optimizer(config.optimizer, model, fused=True)
    model(batch_of(0), Place(0, 0))[0].backward()
    for group in optimizer.param_groups:
        group["lr"] = math.inf
    assert loss_is_fine(method)
    optimizer.step()
    assert not loss_is_fine(method)


def error_of(folder: Path, loss: float, norm: float, images: int = 4) -> str:
    part = batch_of(0)._replace(index=torch.arange(100, 100 + images))
    error = diverged(
        training_of(linear(), folder=folder),
        Progress(step=11),
        [part],
        0.0312345,
        torch.tensor(loss),
        torch.tensor(norm),
    )
    assert isinstance(error, DivergedError)
    return str(error)


def test_the_error_names_step_value_images_rate_and_checkpoint(tmp_path: Path) -> None:
    text = error_of(tmp_path, math.nan, math.nan)
    assert "step 12: the loss is nan (images 100, 101, 102, 103; learning rate 0.03123)" in text
    assert "no checkpoint yet" in text
    checkpoints.save(tmp_path, checkpoints.Checkpoint(10, {"x": torch.zeros(1)}, {}))
    text = error_of(tmp_path, 2.5, math.inf)
    assert "the gradient's norm is inf" in text and "of step 10" in text


def test_a_long_batch_is_named_by_its_first_images(tmp_path: Path) -> None:
    text = error_of(tmp_path, math.inf, 1.0, images=9)
    assert "images 100, 101, 102, 103, 104, 105, 106, 107, ...;" in text
    assert "the loss is inf" in text


def test_a_finished_update_ends_a_row_of_skipped_ones() -> None:
    state = Progress(skipped=7, skipped_in_a_row=3)
    for scale in (1024.0, 2048.0):
        count_skipped(training_of(linear(), scaler=scaler_at(scale)), state, 1024.0)
        assert (state.skipped, state.skipped_in_a_row) == (7, 0)
    state.skipped_in_a_row = 3
    count_skipped(training_of(linear()), state, 0.0)
    assert (state.skipped, state.skipped_in_a_row) == (7, 0)


def test_too_many_skipped_in_a_row_end_the_run() -> None:
    state, training = Progress(), training_of(linear(), scaler=scaler_at(512.0))
    for number in range(1, MAX_SKIPPED_IN_A_ROW):
        count_skipped(training, state, 1024.0)
        assert state.skipped == state.skipped_in_a_row == number
    with pytest.raises(DivergedError, match=f"{MAX_SKIPPED_IN_A_ROW} times in a row"):
        count_skipped(training, state, 1024.0)
