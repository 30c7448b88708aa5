"""The ResNets under torchvision's names: equal tensors, equal features, and a file that transfer takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from pydantic import ValidationError
from torch import Tensor, nn

from bench.core.card import Card, hash_tensors
from bench.core.errors import WeightsError
from bench.core.weights import Weights, write_weights
from pretrain.backbones.half_width import TwoBranches, branch_dim
from pretrain.backbones.resnet import (
    BackboneConfig,
    backbone_tensors,
    build_backbone,
    feature_dim,
    feature_map,
)
from tests.helpers.weights import make_state
from transfer.adapters.audit import check_tensors
from transfer.adapters.load import load_backbone

ARCHS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


def small(**values: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_backbone(BackboneConfig(arch="resnet18", **values))


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("arch", ARCHS)
def test_tensors_are_torchvisions_without_classifier_and_counters(arch: Any) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision.models, arch)().state_dict()
        network = build_backbone(BackboneConfig(arch=arch))
    expected = {name: value.shape for name, value in theirs.items() if not name.startswith("fc.")}
    assert {name: value.shape for name, value in network.state_dict().items()} == expected
    written = backbone_tensors(network.to_empty(device="cpu"))
    assert {name: value.shape for name, value in written.items()} == {
        name: shape for name, shape in expected.items() if not name.endswith("num_batches_tracked")
    }


def test_it_starts_as_torchvision_does_from_the_global_generator() -> None:
    torch.manual_seed(3)
    theirs = torchvision.models.resnet18().state_dict()
    torch.manual_seed(3)
    ours = build_backbone(BackboneConfig(arch="resnet18")).state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_features_are_torchvisions_before_its_classifier(arch: Any, training: bool) -> None:
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, arch)()
    ours = build_backbone(BackboneConfig(arch=arch))
    ours.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")})
    seen: list[Tensor] = []
    theirs.fc.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    with torch.no_grad():
        theirs.train(training)(images())
        found = ours.train(training)(images())
    assert torch.equal(found, seen[0])
    assert found.shape == (4, feature_dim(BackboneConfig(arch=arch)))


@pytest.mark.parametrize(
    ("arch", "dim"),
    [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048), ("resnet101", 2048), ("resnet152", 2048)],
)
def test_the_feature_has_the_length_that_is_said(arch: Any, dim: int) -> None:
    config = BackboneConfig(arch=arch)
    assert feature_dim(config) == dim
    with torch.device("meta"):
        assert build_backbone(config)(torch.zeros(2, 3, 32, 32)).shape == (2, dim)


def trained_resnet50() -> nn.Module:
    with torch.device("meta"):
        network = build_backbone(BackboneConfig())
    state = {name: value for name, value in make_state().items() if not name.startswith("fc.")}
    network.load_state_dict(state, assign=True)
    return network


def test_what_is_written_of_a_resnet50_is_what_transfer_loads(tmp_path: Path) -> None:
    network = trained_resnet50()
    tensors = {name: value.numpy() for name, value in backbone_tensors(network).items()}
    assert len(tensors) == 265
    check_tensors(tensors, "here")
    card = Card(name="resnet50.test", layout="transfer-bench", tensors_sha256=hash_tensors(tensors))
    write_weights(tmp_path / "weights.safetensors", Weights(card, tensors))
    loaded = load_backbone(tmp_path / "weights.safetensors").tensors
    assert sorted(loaded) == sorted(tensors)
    state = network.state_dict()
    assert all(torch.equal(torch.from_numpy(value), state[name]) for name, value in loaded.items())


def test_a_smaller_network_is_not_taken_for_a_resnet50() -> None:
    tensors = {name: value.numpy() for name, value in backbone_tensors(small()).items()}
    with pytest.raises(WeightsError, match="ResNet-18"):
        check_tensors(tensors, "here")


def two_branches(arch: Any = "resnet50") -> TwoBranches:
    torch.manual_seed(0)
    return TwoBranches(BackboneConfig(arch=arch))


def test_each_branch_sees_its_channels_and_their_features_stand_side_by_side() -> None:
    network, given = two_branches("resnet18").eval(), images()
    with torch.no_grad():
        found = network(given)
        apart = [network.encoder1(given[:, :1]), network.encoder2(given[:, 1:])]
        changed = torch.cat([given[:, :2], given[:, 2:] + 1], dim=1)
        other = network(changed)
    assert found.shape == (4, 2 * branch_dim(BackboneConfig(arch="resnet18"))) == (4, 512)
    torch.testing.assert_close(found, torch.cat(apart, dim=1))
    assert torch.equal(other[:, :256], found[:, :256]) and not torch.equal(other[:, 256:], found[:, 256:])


def test_a_branch_is_torchvisions_network_with_half_of_the_channels_and_a_whole_stem() -> None:
    """PyContrast: `max(64 * width, 64)` filters in the stem, `64 * width` in the first stage."""
    own = two_branches().encoder2.state_dict()
    theirs = torchvision.models.resnet50().state_dict()
    assert own.keys() == {name for name in theirs if not name.startswith("fc.")}
    assert own["conv1.weight"].shape == (64, 2, 7, 7) and own["bn1.weight"].shape == (64,)
    for name, value in own.items():
        if name.startswith("layer") and value.ndim:
            assert len(value) == len(theirs[name]) // 2, name
    assert float(own["conv1.weight"].std()) == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.05)


def test_two_branches_are_refused_with_the_reason(tmp_path: Path) -> None:
    tensors = {name: value.numpy() for name, value in backbone_tensors(two_branches()).items()}
    card = Card(name="resnet50.cmc", layout="transfer-bench", tensors_sha256=hash_tensors(tensors))
    write_weights(tmp_path / "weights.safetensors", Weights(card, tensors))
    with pytest.raises(WeightsError, match="one sees lightness and one colour"):
        load_backbone(tmp_path / "weights.safetensors")


def test_the_map_is_what_is_pooled() -> None:
    network = small().eval()
    with torch.no_grad():
        values = feature_map(network, images())
        assert values.shape == (4, 512, 1, 1)
        wide = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(2))
        assert feature_map(network, wide).shape == (2, 512, 3, 2)
        torch.testing.assert_close(feature_map(network, wide).mean(dim=(2, 3)), network(wide))


def test_written_tensors_are_float32_and_in_plain_order() -> None:
    network = small().to(memory_format=torch.channels_last)
    written = backbone_tensors(network.double())
    assert all(value.dtype == torch.float32 and value.is_contiguous() for value in written.values())
    assert not any(value.requires_grad for value in written.values())
    plain = small().state_dict()
    assert all(torch.equal(value, plain[name]) for name, value in written.items())


def test_residual_norms_start_at_zero_if_they_are_told_to() -> None:
    network = small(zero_init_residual=True)
    last = {name: value for name, value in network.state_dict().items() if name.endswith("bn2.weight")}
    assert len(last) == 8 and all(not value.any() for value in last.values())
    others = [name for name, value in network.named_parameters() if name not in last and not value.any()]
    assert all(name.endswith(".bias") for name in others)
    assert all(value.any() for name, value in small().state_dict().items() if name.endswith("bn2.weight"))


def test_norms_of_all_processes_are_those_of_one_where_there_is_one() -> None:
    plain, together = small(), small(norm="sync_batch")
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in together.modules()) == 20
    assert torch.equal(plain(images()), together(images()))


def test_group_norm_has_32_groups_and_no_running_statistics() -> None:
    network = small(norm="group")
    norms = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
    assert len(norms) == 20 and {norm.num_groups for norm in norms} == {32}
    assert list(network.buffers()) == []
    one = network(images(1))
    assert torch.allclose(one, network(images(4)[:1].expand(4, -1, -1, -1))[:1], atol=1e-5)


def test_group_norm_refuses_residual_norms_at_zero() -> None:
    with pytest.raises(ValidationError, match="zero_init_residual"):
        BackboneConfig(norm="group", zero_init_residual=True)
