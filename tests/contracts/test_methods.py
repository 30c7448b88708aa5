"""What holds for every pretraining method in the folder, with no test of its own.

`tests/golden/losses.json` holds the losses of 20 steps of each method, in float64: there a difference of 1e-7
becomes one of a tenth, and two threads, no AVX or another memory order move none by 3e-8. After a meant
change, raise `version` and run `UPDATE_GOLDEN=1 uv run pytest -n 0 tests/contracts/test_methods.py`.
"""

from __future__ import annotations

import copy
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor

from bench.core.card import InputSpec
from bench.core.config import read_toml
from bench.core.errors import ConfigError, WeightsError
from bench.core.paths import CONFIGS
from bench.core.weights import write_weights
from bench.report.published import read_published
from pretrain import run as product
from pretrain import step as one_step
from pretrain import training as room
from pretrain.api import METHODS
from pretrain.backbones.resnet import backbone_tensors
from pretrain.distributed import Place
from pretrain.plan import config_path, parse_config, read_config
from pretrain.run import Job
from pretrain.training import Progress, Training
from tests.helpers import pretraining as toy
from tests.helpers.often import often
from tests.helpers.pretraining import NAMES, STEPS
from transfer.adapters.load import load_backbone

GOLDEN = Path(__file__).parents[1] / "golden" / "losses.json"
GOLDEN_STEPS = 20
TOLERANCE = 1e-6
FILES = {path.stem: path for path in sorted((CONFIGS / "pretrain").glob("*.toml"))}


# Kinds of state: no negatives, the parts of `contrast`, labels, clusters. The others run with the slow tests.
OFTEN = ("byol", "contrast", "supervised", "swav")
EACH = often(NAMES, OFTEN)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.make_images(tmp_path_factory.mktemp("images"))


def job_of(images: Path, name: str, *more: str, seed: int = 0) -> Job:
    return replace(toy.toy_job(images.parent, images, name, *more), seed=seed)


@pytest.mark.parametrize("name", NAMES)
def test_the_spec_is_complete(name: str) -> None:
    method = METHODS.get(name)
    assert method.name == name, "as the file"
    assert method.version >= 1
    assert method.summary.endswith(".")
    assert "(" in method.summary, "with its paper"
    assert method.source
    assert method.preset.modality
    known = {row.method for row in read_published().rows}
    assert [label for label in method.published_as if label not in known] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_docstrings_say_what_it_is_where_it_is_from_and_how_it_differs(name: str, images: Path) -> None:
    method = METHODS.get(name)
    module = METHODS.files()[name].read_text(encoding="utf-8").split('"""')[1]
    before, _, source = module.partition("Source:")
    assert len(before.strip()) > 40
    from_where, _, differs = source.partition("Differs:")
    assert len(from_where.strip()) > 40
    assert len(differs.strip()) > 10
    assert type(toy.prepare(job_of(images, name)).model).__doc__
    assert method.parts.__doc__
    assert [field for field in method.parts.model_fields if field not in method.parts.__doc__] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_default_config_is_there_in_both_sizes(name: str) -> None:
    for smoke, stem in ((False, METHODS.get(name).default_config), (True, name.replace("-", "_"))):
        path = config_path(name, smoke=smoke)
        method, config = read_config(path)
        assert (method.name, path.stem) == (name, stem)
        assert config.name == (f"{stem}_smoke" if smoke else stem)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_preset_says_is_what_the_configs_say(name: str) -> None:
    preset = METHODS.get(name).preset
    mine = [path for path in FILES.values() if read_config(path)[0].name == name]
    for path in [*mine, config_path(name, smoke=True)]:
        config = read_config(path)[1]
        parts = config.parts.model_dump()
        assert (config.jigsaw is not None) == preset.jigsaw
        assert parts.get("temperature") == preset.temperature
        for key in ("modality", "memory", "head"):
            said = getattr(preset, key)
            assert said == "any" or parts.get(key, said) == said


@pytest.mark.parametrize("name", NAMES)
def test_a_step_gives_a_finite_loss_and_the_numbers_it_names(name: str, images: Path) -> None:
    method, job = METHODS.get(name), job_of(images, name)
    now = toy.prepare(job)
    ((batch,),) = toy.batches(job, now, 0, 1)
    config = parse_config(job.values, "config")[1]
    assert len(batch.views) == len(config.views)
    assert (batch.labels is not None) == method.with_labels
    loss, scalars = now.model(batch, Place(0, 0))
    assert loss.shape == ()
    assert tuple(scalars) == now.model.columns
    assert torch.equal(scalars["loss"], loss)
    assert {(value.shape, value.requires_grad) for value in scalars.values()} == {(torch.Size(), False)}
    assert torch.isfinite(torch.stack(list(scalars.values()))).all()
    assert ("i_nce" in scalars) == (method.preset.memory in ("queue", "bank", "batch", "any"))
    features = now.model.backbone(now.model.normalise(batch.views[0]))
    assert features.shape == (len(batch.index), 512)
    assert (now.model.classify(features) is not None) == method.with_labels


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_reaches_every_trained_tensor_and_no_frozen_one(name: str, images: Path) -> None:
    job = job_of(images, name, "backbone.zero_init_residual=false")
    now = toy.prepare(job)
    one_step._forward_and_backward(now, toy.batches(job, now, 0, 1)[0], 0)
    trained = [value for group in now.optimizer.param_groups for value in group["params"]]
    for label, value in now.model.named_parameters():
        assert value.requires_grad == (sum(value is other for other in trained) == 1), label
        assert (value.grad is not None) == value.requires_grad, label
        assert value.grad is None or value.grad.abs().sum() > 0, label
    is_trained = METHODS.get(name).preset.encoder == "trained"
    assert {value.requires_grad for value in now.model.backbone.parameters()} == {is_trained}


@pytest.mark.usefixtures("_narrow")
@pytest.mark.parametrize("name", NAMES)
def test_the_first_loss_in_float32_is_that_of_float64(name: str, images: Path) -> None:
    # At 64 px: at 32, the last batch norms have a value an image, which multiplies any rounding.
    sides = [
        f"{table}.crop_px=64"
        for table in ("view", "second_view")
        if table in read_toml(config_path(name, smoke=True))
    ]
    job = job_of(images, name, *sides)
    now = toy.prepare(job)
    exact = copy.deepcopy(now.model).double()
    ((batch,),) = toy.batches(job, now, 0, 1)
    losses = [float(model(batch, Place(0, 0))[0].detach()) for model in (now.model, exact)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.usefixtures("_narrow")
@pytest.mark.parametrize("name", NAMES)
def test_the_loss_under_bf16_is_float32_and_near(name: str, images: Path) -> None:
    job = job_of(images, name)
    now = toy.prepare(job)
    ((batch,),) = toy.batches(job, now, 0, 1)
    exact = copy.deepcopy(now.model)(batch, Place(0, 0))[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, scalars = now.model(batch, Place(0, 0))
    assert {value.dtype for value in (loss, *scalars.values())} == {torch.float32}
    assert float(loss.detach()) == pytest.approx(float(exact.detach()), rel=0.2, abs=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_treated_apart_is_there(name: str, images: Path) -> None:
    """Names of parameters with a rate or a beginning of their own."""
    now = toy.prepare(job_of(images, name))
    names = [label for label, value in now.model.named_parameters() if value.requires_grad]
    for start in (*now.model.fixed_rate, *now.model.trained_later):
        assert [label for label in names if label.startswith(start)], start


def tensors(now: Training) -> dict[str, Tensor]:
    return room._to_checkpoint(now, Progress()).tensors


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    assert first.keys() == second.keys()
    return [key for key in first if not torch.equal(first[key], second[key])]


@pytest.mark.parametrize("name", often(NAMES, ["swav"]))
def test_the_same_seed_gives_the_same_losses_bit_for_bit_and_another_others(name: str, images: Path) -> None:
    found = []
    for noise, seed in enumerate((0, 0, 1)):
        torch.manual_seed(noise)
        found.append(toy.first_losses(job_of(images, name, seed=seed), 3))
    assert found[0] == found[1]
    assert all(one != other for one, other in zip(found[0], found[2], strict=True))


@pytest.mark.parametrize("optimizer", often(["its own", "of the smoke config"], ["its own"]))
@pytest.mark.parametrize("name", EACH)
def test_what_a_step_leaves_behind_is_saved_and_brought_back(name: str, optimizer: str, images: Path) -> None:
    """One model goes on, another is loaded, built from another seed."""
    job = job_of(images, name, *(toy.published_optimizer(name) if optimizer == "its own" else ()))
    one, other = toy.prepare(job), toy.prepare(replace(job, seed=1))
    parts = toy.batches(job, one, 0, 5)
    for number in range(3):
        toy.step(one, parts[number], number)
    saved = room._to_checkpoint(one, Progress(step=3))
    # As files keep them: in one order of memory.
    plain = torch.contiguous_format
    saved = replace(saved, tensors={k: v.clone(memory_format=plain) for k, v in saved.tensors.items()})
    other = replace(other, seed=0)
    assert room._from_checkpoint(other, saved).step == 3
    assert differing(tensors(one), tensors(other)) == []
    for number in (3, 4):
        mine, theirs = toy.step(one, parts[number], number), toy.step(other, parts[number], number)
        assert differing(mine, theirs) == []
        assert differing(tensors(one), tensors(other)) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_that_changes_in_a_step_is_a_saved_one(name: str, images: Path) -> None:
    job = job_of(images, name)
    now = toy.prepare(job)

    def everything() -> dict[str, Tensor]:
        held = [*now.model.named_parameters(), *now.model.named_buffers()]
        return {key: value.detach().clone() for key, value in held}

    before = everything()
    toy.step(now, toy.batches(job, now, 0, 1)[0], 0)
    changed = differing(before, everything())
    assert set(changed) <= now.model.state_dict().keys()
    assert len(changed) > 60, "of a ResNet-18"
    assert toy.hidden_tensors(now.model) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("arch", often(["resnet18", "resnet50"], ["resnet18"]))
def test_the_backbone_has_the_tensors_of_torchvision(name: str, arch: str, images: Path) -> None:
    model = toy.prepare(job_of(images, name, f"backbone.arch='{arch}'")).model
    found = {key: value.shape for key, value in backbone_tensors(model.backbone).items()}
    expected = {
        key: value.shape
        for key, value in getattr(torchvision.models, arch)().state_dict().items()
        if not key.startswith("fc.") and not key.endswith("num_batches_tracked")
    }
    if METHODS.get(name).preset.modality in ("rgb", "any"):
        assert found == expected
        return
    # One network for lightness and one for colour, each with half of the channels; those of basic blocks
    # have one shortcut more, from the 64 channels of the stem to 32.
    both = {f"encoder{number}.{key}": shape for number in (1, 2) for key, shape in expected.items()}
    assert found.keys() >= both.keys() if arch == "resnet18" else found.keys() == both.keys()
    assert [found[f"encoder{number}.conv1.weight"] for number in (1, 2)] == [(64, 1, 7, 7), (64, 2, 7, 7)]
    for key, shape in both.items():
        if "layer" in key:
            assert found[key][0] == shape[0] // 2, key


@pytest.mark.parametrize("name", EACH)
def test_transfer_takes_the_weights_or_says_why_not(name: str, images: Path, tmp_path: Path) -> None:
    network = (
        "backbone.arch='resnet50'",
        "backbone.zero_init_residual=false",
        "optimizer.learning_rate=0.001",
    )
    job = toy.move(job_of(images, name, *network), tmp_path)
    now = toy.prepare(job)
    toy.step(now, toy.batches(job, now, 0, 1)[0], 0)
    write_weights(job.weights_path, product._weights(job, now, Progress()))
    if METHODS.get(name).preset.modality not in ("rgb", "any"):
        with pytest.raises(WeightsError, match="one sees lightness and one colour"):
            load_backbone(tmp_path / "run")
        return
    loaded = load_backbone(tmp_path / "run")
    expected = backbone_tensors(now.model.backbone)
    assert loaded.tensors.keys() == expected.keys()
    assert all(torch.equal(torch.from_numpy(loaded.tensors[key]), value) for key, value in expected.items())
    assert loaded.card.input == InputSpec()


@pytest.mark.parametrize("name", NAMES)
def test_a_part_out_of_its_range_is_refused_by_name(name: str, images: Path) -> None:
    for field in METHODS.get(name).parts.model_fields:
        for value in ("-1", "1e9", "'nothing'", "[]"):
            with pytest.raises(ConfigError, match=rf"\[parts\] {field}: "):
                toy.toy_plan(images.parent, images, name, f"parts.{field}={value}")


@pytest.mark.parametrize("name", FILES)
def test_an_unknown_key_anywhere_is_refused_by_name(tmp_path: Path, name: str) -> None:
    lines = FILES[name].read_text(encoding="utf-8").splitlines()
    for place in [0, *(index + 1 for index, line in enumerate(lines) if line.startswith("["))]:
        path = tmp_path / FILES[name].name
        path.write_text("\n".join([*lines[:place], "strange_key = 1", *lines[place:]]), encoding="utf-8")
        with pytest.raises(ConfigError, match="strange_key: unknown key") as caught:
            read_config(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_the_config_of_another_method_is_refused(name: str, tmp_path: Path, images: Path) -> None:
    mine = METHODS.get(name).parts
    others = [METHODS.get(other) for other in NAMES if METHODS.get(other).parts is not mine]
    assert others
    for other in others:
        text = config_path(other.name, smoke=True).read_text(encoding="utf-8")
        path = tmp_path / "other.toml"
        path.write_text(text.replace(f'"{other.name.replace("-", "_")}"', f'"{name.replace("-", "_")}"'))
        strange = [f"{key}: unknown" for key in other.parts.model_fields.keys() - mine.model_fields.keys()]
        missing = [
            f"{key}: this key is m" for key in mine.model_fields.keys() - other.parts.model_fields.keys()
        ]
        with pytest.raises(ConfigError) as caught:
            read_config(path)
        assert any(f"[parts] {words}" in str(caught.value) for words in strange or missing)
    other = NAMES[NAMES.index(name) - 1].replace("-", "_")
    with pytest.raises(ConfigError, match="the method is the file's"):
        toy.toy_plan(images.parent, images, name, f"method='{other}'")


@pytest.mark.parametrize("name", NAMES)
def test_parts_that_do_not_fit_together_are_refused(name: str, images: Path, tmp_path: Path) -> None:
    preset, path = METHODS.get(name).preset, tmp_path / "strange.toml"
    before, _, after = config_path(name, smoke=True).read_text(encoding="utf-8").partition("[optimizer]")
    path.write_text(
        f"{before.partition('[jigsaw]')[0]}{'' if preset.jigsaw else '[jigsaw]'}\n[optimizer]{after}"
    )
    with pytest.raises(ConfigError, match=r"\[jigsaw\]"):
        read_config(path)
    for table in {"second_view", "local_view"} - METHODS.get(name).takes:
        more = "num_local_views = 1\n" if table == "local_view" else ""
        view = f'[{table}]\norder = ["crop"]\ncrop_px = 64\ncrop_area = [0.5, 1.0]\n'
        path.write_text(f"{more}{before}{view}[optimizer]{after}")
        with pytest.raises(ConfigError, match=rf"\[{table}\]"):
            read_config(path)
    if preset.memory == "queue":
        with pytest.raises(ConfigError, match=r"batch_size 33 does not fit into parts\.queue_size 32"):
            toy.toy_plan(images.parent, images, name, "batch_size=33")


@pytest.fixture
def _narrow() -> Iterator[None]:
    with toy.narrow_networks():
        yield


FEW = ((1, 0), (5, 2), (8, 2))
EVERY = tuple((at, workers) for workers in range(4) for at in range(1, STEPS + 1))


@pytest.mark.usefixtures("_narrow")
@pytest.mark.parametrize("places", [FEW, pytest.param(EVERY, marks=pytest.mark.slow)], ids=["few", "every"])
@pytest.mark.parametrize("name", often(NAMES, ["contrast"]))
def test_a_run_that_goes_on_anywhere_is_the_run_in_one_piece(
    tmp_path: Path, name: str, places: tuple[tuple[int, int], ...], images: Path
) -> None:
    whole = toy.toy_job(tmp_path / "whole", images, name)
    toy.run(whole)
    for at, workers in places:
        job = toy.toy_job(tmp_path / f"{at} {workers}", images, name, f"loop.num_workers={workers}")
        toy.run_until(job, at)
        toy.resume(job)
        assert toy.differences(job, whole) == []


@pytest.mark.usefixtures("_narrow")
@pytest.mark.parametrize("name", NAMES)
def test_the_losses_of_twenty_steps_move_only_with_the_version(name: str, images: Path) -> None:
    # Of its own config, not of the smoke config, whose values are there to learn in a minute.
    # For batches of six its learning rate is too high: noise would grow as fast as a fault.
    config = read_config(config_path(name, smoke=False))[1]
    more = ["batch_size=6", f"optimizer.learning_rate={config.optimizer.learning_rate / 10}"]
    more += ["epochs=3", "schedule.decay_epochs=[2]"] if config.schedule.kind == "step" else []
    job = toy.toy_job(images.parent, images, name, *more, smoke=False)
    found = toy.first_losses(job, GOLDEN_STEPS, dtype=torch.float64)
    version = METHODS.get(name).version
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    old = golden.get(name, {"version": 0, "losses": []})
    moved = len(old["losses"]) != GOLDEN_STEPS or found != pytest.approx(old["losses"], rel=TOLERANCE)
    assert not moved or version > old["version"], "raise `version` of the method: its weights would move"
    if os.environ.get("UPDATE_GOLDEN"):
        old = golden[name] = {"version": version, "losses": found}
        golden |= {"machine": platform.machine(), "torch": torch.__version__}
        GOLDEN.write_text(json.dumps(golden, indent=2, sort_keys=True) + "\n")
    assert old["version"] == version, "see the docstring of this file"
