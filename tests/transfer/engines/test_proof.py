"""The proof passes right files through every target's own tools, and nothing that is a little wrong."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save
from torch import nn

from bench.core.card import InputSpec
from bench.core.errors import EngineError, UsageError, WeightsError
from bench.core.weights import Weights
from tests.helpers.converted import FILES, MSRA, TF, fed_as, with_tensors, write
from tests.helpers.often import often
from transfer.adapters.convert import TARGETS
from transfer.engines import proof
from transfer.engines.proof import prove
from transfer.engines.source import Dilated, Reference, reference
from transfer.engines.verify import Loaded

SETUPS = {
    "torchvision": ["torchvision"],
    "detectron2": ["detectron2 BN", "detectron2 FrozenBN", "detectron2 SyncBN"],
    "mmseg": ["mmseg", "mmseg d8", "mmseg d16 MoCo"],
    "timm": ["timm"],
}
PLAIN = [target for target in SETUPS if target not in ("detectron2", "mmseg")]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, source: Weights) -> dict[str, Path]:
    """Target to its file of `source`, right."""
    folder = tmp_path_factory.mktemp("files")
    found = {}
    for target in TARGETS:
        (folder / target).mkdir()
        found[target] = write(folder / target, source, target)
    return found


@pytest.mark.parametrize(("target", "suffix"), FILES)
def test_what_we_write_is_proven(
    tmp_path: Path, source: Weights, target: str, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    proofs = prove(target, write(tmp_path, source, target, suffix), source)
    assert [entry.target for entry in proofs] == SETUPS[target]
    for entry in proofs:
        assert entry.num_tensors == 265
        assert entry.largest_difference == 0.0
        assert entry.seconds > 0 and not entry.note
    # Results go to standard output; the engines' words must not.
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("target", ["detectron2", "mmseg"])
def test_the_other_stride_place_is_proven(files: dict[str, Path], source: Weights, target: str) -> None:
    """Tensors do not tell the stride place: the card alone decides, in the engine and in the source."""
    proofs = prove(target, files[target], fed_as(source, MSRA))
    assert all(entry.largest_difference == 0.0 for entry in proofs)


@pytest.mark.parametrize("target", PLAIN)
def test_a_network_with_one_stride_place_takes_no_other(
    files: dict[str, Path], source: Weights, target: str
) -> None:
    with pytest.raises(WeightsError, match=r"C3 differs .* 1x1"):
        prove(target, files[target], fed_as(source, MSRA))


@pytest.mark.parametrize("target", TARGETS)
def test_tensorflows_padding_is_refused_by_all_until_it_is_accepted(
    files: dict[str, Path], source: Weights, target: str
) -> None:
    with pytest.raises(WeightsError, match=r'C2 differs .* SAME .*padding = "pytorch"'):
        prove(target, files[target], fed_as(source, TF))
    assert prove(target, files[target], fed_as(source, TF.model_copy(update={"padding": "pytorch"})))


def test_without_timm_torchvision_stands_in_and_says_so(
    files: dict[str, Path], source: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "timm" else real(name))
    (entry,) = prove("timm", files["timm"], source)
    assert entry.num_tensors == 265 and "torchvision" in entry.note


def test_an_engine_that_is_not_there_is_named(
    files: dict[str, Path], source: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mmseg.models.backbones", None)
    monkeypatch.delitem(sys.modules, "transfer.engines.mmseg.backbone", raising=False)
    monkeypatch.delattr("transfer.engines.mmseg.backbone", raising=False)
    with pytest.raises(EngineError, match="MMSegmentation"):
        prove("mmseg", files["mmseg"], source)


def test_an_old_timm_is_named(
    files: dict[str, Path], source: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timm.create_model", lambda *_, **__: nn.Identity())
    with pytest.raises(EngineError, match=r"timm .*1\.0"):
        prove("timm", files["timm"], source)


def test_a_relative_path(files: dict[str, Path], source: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files["timm"].parent)
    assert prove("timm", Path(files["timm"].name), source)


def test_an_unknown_target(files: dict[str, Path], source: Weights) -> None:
    with pytest.raises(UsageError):
        prove("caffe", files["timm"], source)


BLOCK = "layer3.1.conv2.weight"


def one_value(source: Weights, step: float) -> dict[str, np.ndarray]:
    value = source.tensors[BLOCK].copy()
    value[3, 2, 1, 1] += step
    return {BLOCK: value}


def exchanged(source: Weights, first: str, second: str) -> dict[str, np.ndarray]:
    return {first: source.tensors[second], second: source.tensors[first]}


WRONG_FILES: dict[str, Callable[[Weights], dict[str, np.ndarray]]] = {
    "one value by 1e-3": lambda source: one_value(source, 1e-3),
    "one value by 1e-8": lambda source: one_value(source, 1e-8),
    "statistics exchanged": lambda s: exchanged(s, "layer1.0.bn1.running_mean", "layer1.0.bn1.running_var"),
    "two blocks exchanged": lambda s: exchanged(s, "layer2.1.conv2.weight", "layer2.2.conv2.weight"),
    "stem in BGR": lambda s: {"conv1.weight": s.tensors["conv1.weight"][:, ::-1]},
}


@pytest.mark.parametrize("mutation", WRONG_FILES)
@pytest.mark.parametrize("target", TARGETS)
def test_a_file_with_other_values_is_refused(
    tmp_path: Path, source: Weights, target: str, mutation: str
) -> None:
    changed = WRONG_FILES[mutation](source)
    path = write(tmp_path, with_tensors(source, changed), target)
    with pytest.raises(WeightsError, match=rf"{len(changed)} of 265 .*{next(iter(changed))}"):
        prove(target, path, source)


@pytest.mark.parametrize("target", TARGETS)
def test_a_file_that_is_cut_off_is_refused(
    tmp_path: Path, files: dict[str, Path], source: Weights, target: str
) -> None:
    path = tmp_path / files[target].name
    path.write_bytes(files[target].read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="cannot load it"):
        prove(target, path, source)


def test_a_file_without_a_tensor_is_refused(tmp_path: Path, files: dict[str, Path], source: Weights) -> None:
    state = load(files["timm"].read_bytes())
    del state[BLOCK]
    path = tmp_path / "net.safetensors"
    path.write_bytes(save(state))
    for target in PLAIN:
        with pytest.raises(WeightsError, match="cannot load it"):
            prove(target, path, source)
    # This one loads what fits and goes on with a warning: the comparison finds it.
    whole = torch.load(files["mmseg"], weights_only=True)
    del whole["state_dict"][BLOCK]
    torch.save(whole, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=BLOCK):
        prove("mmseg", tmp_path / "net.pth", source)


def blocks(model: nn.Module) -> Iterator[Any]:
    return (module for module in model.modules() if hasattr(module, "conv3"))


def norms(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if hasattr(module, "running_var")]


def move_stride(model: nn.Module) -> None:
    for block in blocks(model):
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def change_eps(model: nn.Module) -> None:
    for norm in norms(model):
        norm.eps = 1e-3


def change_one_eps(model: nn.Module) -> None:
    norms(model)[-1].eps = 1e-3


def shift_by_a_pixel(model: nn.Module) -> None:
    last = list(blocks(model))[-1]
    last.conv2.register_forward_pre_hook(lambda _, inputs: (inputs[0].roll(1, -1),))


def dilate_the_stem(model: nn.Module) -> None:
    stem = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    stem.dilation, stem.padding = (2, 2), (6, 6)


def exchange_channels(model: nn.Module) -> None:
    stem = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    stem.register_forward_pre_hook(lambda _, inputs: (inputs[0].flip(1),))


def train(model: nn.Module) -> None:
    model.train()


MUTATIONS: dict[str, tuple[Callable[[nn.Module], None], str]] = {
    "stride moved": (move_stride, "C[345]"),
    "eps of all norms": (change_eps, "C2"),
    "eps of one norm": (change_one_eps, "C[2345]"),
    "shift by a pixel": (shift_by_a_pixel, "C5"),
    "dilation of the stem": (dilate_the_stem, "C2"),
    "channels exchanged": (exchange_channels, "C2"),
    "statistics of the batch": (train, "C2"),
}
CASES = [
    (target, number, name)
    for target, names in SETUPS.items()
    for number in range(len(names))
    for name in MUTATIONS
    # A frozen norm has no statistics of the batch.
    if (names[number], name) != ("detectron2 FrozenBN", "statistics of the batch")
]


@pytest.fixture(scope="module")
def references(source: Weights) -> dict[Dilated, Reference]:
    """What the source gives is the same in every case below: 0.2 s each."""
    every: list[Dilated] = [(False, False, False), (False, True, True), (False, False, True)]
    return {dilated: reference(source, dilated) for dilated in every}


ProveBroken = Callable[[str, int, Callable[[nn.Module], None]], object]


@pytest.fixture
def prove_broken(
    files: dict[str, Path],
    source: Weights,
    references: dict[Dilated, Reference],
    monkeypatch: pytest.MonkeyPatch,
) -> ProveBroken:
    """The proof of a right file, where the engine's network is changed after loading."""

    def prove_it(target: str, number: int, mutate: Callable[[nn.Module], None]) -> object:
        setup = proof._setups(target)[number]

        def load_broken(path: Path, spec: InputSpec) -> Loaded:
            loaded = setup.load(path, spec)
            mutate(loaded.model)
            return loaded

        monkeypatch.setattr(proof, "_setups", lambda _: (replace(setup, load=load_broken),))
        monkeypatch.setattr(proof, "reference", lambda _, dilated: references[dilated])
        return prove(target, files[target], source)

    return prove_it


def test_nothing_changed_is_proven(prove_broken: ProveBroken) -> None:
    assert prove_broken("mmseg", 1, lambda model: None)


@pytest.mark.parametrize(("target", "number", "name"), often(CASES, lambda case: case[1] == 0))
def test_an_engine_that_computes_otherwise_is_found(
    prove_broken: ProveBroken, target: str, number: int, name: str
) -> None:
    mutate, stage = MUTATIONS[name]
    with pytest.raises(WeightsError, match=rf"{stage} (differs|has shape).*{SETUPS[target][number]}"):
        prove_broken(target, number, mutate)


@pytest.mark.parametrize("number", range(3))
def test_statistics_exchanged_in_the_engine_are_found(prove_broken: ProveBroken, number: int) -> None:
    def exchange(model: nn.Module) -> None:
        for norm in norms(model):
            mean = norm.running_mean.clone()
            norm.running_mean.copy_(norm.running_var)
            norm.running_var.copy_(mean)

    with pytest.raises(WeightsError, match="106 of 265 backbone tensors did not arrive"):
        prove_broken("detectron2", number, exchange)


@pytest.mark.parametrize(("number", "stage"), [(1, "layer3.0"), (1, "layer4.0"), (2, "layer4.0")])
def test_a_dilation_that_is_not_contracted_is_found(
    prove_broken: ProveBroken, number: int, stage: str
) -> None:
    """As on a base without `contract_dilation`: the first block of a stage looks twice as far."""

    def widen(model: nn.Module) -> None:
        conv: Any = model.get_submodule(f"{stage}.conv2")
        conv.dilation = conv.padding = (conv.dilation[0] * 2, conv.dilation[1] * 2)

    with pytest.raises(WeightsError, match=f"C{int(stage[5]) + 1} differs"):
        prove_broken("mmseg", number, widen)
