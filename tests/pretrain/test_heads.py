"""Heads against matrices multiplied by hand; order and place of the patches matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from pretrain.backbones.resnet import BackboneConfig
from pretrain.heads import (
    HeadKind,
    JigsawProjection,
    Projection,
    mlp,
    norms_as_in_backbone,
    projector,
    unit_length,
)

Floats = npt.NDArray[np.float64]
KINDS: tuple[HeadKind, ...] = ("linear", "mlp")


def values_of(module: nn.Module) -> dict[str, Any]:
    return {name: value.detach().double().numpy() for name, value in module.state_dict().items()}


def project_by_hand(kind: HeadKind, values: dict[str, Any], prefix: str, features: Floats) -> Floats:
    if kind == "linear":
        return features @ values[f"{prefix}.weight"].T + values[f"{prefix}.bias"]
    hidden = features @ values[f"{prefix}.0.weight"].T + values[f"{prefix}.0.bias"]
    hidden = np.where(hidden > 0, hidden, 0.0)
    return hidden @ values[f"{prefix}.2.weight"].T + values[f"{prefix}.2.bias"]


def unit(rows: Floats) -> Floats:
    return np.stack([row / np.sqrt(np.sum(row * row)) for row in rows])


def features(rows: int, dim: int = 12) -> Tensor:
    return torch.from_numpy(np.random.default_rng(3).standard_normal((rows, dim)))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_projection_is_its_layers_and_a_length(
    kind: HeadKind, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    head, given = Projection(kind, 12, 5).to(dtype), features(6)
    expected = unit(project_by_hand(kind, values_of(head), "layers", given.numpy()))
    found = head(given.to(dtype))
    assert found.dtype == dtype
    assert np.abs(found.detach().double().numpy() - expected).max() < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_jigsaw_projection_joins_the_patches_in_order(
    kind: HeadKind, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    head, given = JigsawProjection(kind, 12, 5, num_patches=9).to(dtype), features(3 * 9)
    values = values_of(head)
    rows = []
    for image in range(3):
        patches = [
            project_by_hand(kind, values, "patch_layers", given.numpy()[9 * image + patch][None])[0]
            for patch in range(9)
        ]
        rows.append(np.concatenate(patches) @ values["join.weight"].T + values["join.bias"])
    found = head(given.to(dtype))
    assert found.shape == (3, 5)
    assert np.abs(found.detach().double().numpy() - unit(np.stack(rows))).max() < tolerance


def test_patches_of_an_image_move_its_row_alone() -> None:
    head, given = JigsawProjection("mlp", 12, 5, num_patches=4).double(), features(3 * 4)
    before = head(given)
    given[5] += 1.0
    changed = (head(given) != before).any(dim=1)
    assert changed.tolist() == [False, True, False]


def test_the_order_of_the_patches_matters() -> None:
    head, given = JigsawProjection("linear", 12, 5, num_patches=4).double(), features(4)
    assert not torch.allclose(head(given), head(given.flip(0)))


def test_an_mlp_has_as_many_hidden_units_as_inputs() -> None:
    shapes = [tuple(value.shape) for value in projector("mlp", 12, 5).parameters()]
    assert shapes == [(12, 12), (12,), (5, 12), (5,)]
    assert [tuple(value.shape) for value in projector("linear", 12, 5).parameters()] == [(5, 12), (5,)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions_are_raised_before_the_length_is_taken(dtype: torch.dtype) -> None:
    given = (100 * features(4)).to(dtype)
    found = unit_length(given)
    assert found.dtype == torch.float32
    assert np.abs(found.numpy() - unit(given.double().numpy())).max() < 1e-6


def test_a_projection_under_mixed_precision_has_length_one() -> None:
    head = Projection("mlp", 12, 5)
    with torch.autocast("cpu", torch.bfloat16):
        found = head(features(6).float())
    assert found.dtype == torch.float32
    assert (found.norm(dim=1) - 1).abs().max() < 1e-6


def test_a_row_of_zeros_stays_finite() -> None:
    assert torch.equal(unit_length(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_an_mlp_has_norms_between_its_layers_and_no_bias() -> None:
    kinds = [type(layer).__name__ for layer in mlp((12, 8, 8, 5)).layers]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    last = mlp((12, 8, 5), last_norm=True).layers
    assert [type(layer).__name__ for layer in last] == [
        "Linear",
        "BatchNorm1d",
        "ReLU",
        "Linear",
        "BatchNorm1d",
    ]
    assert last[-1].weight is None and last[1].weight is not None
    assert [layer.bias for layer in last if isinstance(layer, nn.Linear)] == [None, None]
    assert [tuple(layer.weight.shape) for layer in last if isinstance(layer, nn.Linear)] == [(8, 12), (5, 8)]


@pytest.mark.parametrize(
    ("norm", "kind"), [("batch", nn.BatchNorm1d), ("sync_batch", nn.SyncBatchNorm), ("group", nn.Identity)]
)
def test_norms_of_a_head_follow_the_backbones(norm: Any, kind: type[nn.Module]) -> None:
    head = norms_as_in_backbone(mlp((12, 8, 5), last_norm=True), BackboneConfig(norm=norm))
    assert [type(layer) for layer in (head.layers[1], head.layers[4])] == [kind, kind]
