"""A method is one Python file and one config: a toy is put beside the others, in a copy of the project.

In the copy it is listed, trained from the command line, and passes the contract tests, with nothing else
touched; all other methods are there what they are here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.paths import ROOT
from tests.helpers.pretraining import make_images

METHOD = '''"""Toy: two views of an image must have features in one direction, and the mean must be zero.

Source:
    Nobody has published this; it is here to show what a new method takes, and that it takes nothing else.
    Differs: from everything else.
"""

from typing import Annotated

from pydantic import Field
from torch.nn import functional

from pretrain.api import Method, MethodModel, Preset
from pretrain.backbones.resnet import build_backbone
from pretrain.config import MethodParts
from pretrain.losses import without_autocast


class ToyParts(MethodParts):
    """`[parts]`: `mean_weight` is the share of the mean in the loss."""

    mean_weight: Annotated[float, Field(ge=0.0, le=1.0)]


class Toy(MethodModel):
    """Features that agree across views, and whose mean is zero."""

    columns = ("loss",)

    def __init__(self, config, sizes):
        super().__init__()
        self.network, self.weight = build_backbone(config.backbone), config.parts.mean_weight

    @property
    def backbone(self):
        return self.network

    def loss_of(self, first, second):
        return self.weight * first.mean().square() - functional.cosine_similarity(first, second).mean()

    def forward(self, batch, place):
        first, second = (self.network(self.normalise(view)) for view in batch.views)
        loss = without_autocast(self.loss_of, first, second)
        return loss, {"loss": loss.detach()}


ENTRY = Method(
    name="toy-agreement",
    version=1,
    summary="Features agree across views (nobody).",
    with_labels=False,
    parts=ToyParts,
    build=Toy,
    default_config="toy_agreement_ep100",
    preset=Preset(
        modality="rgb", jigsaw=False, memory="none", augmentation="crop", head="none", temperature=None
    ),
    source="this test",
)
'''
CONFIG = """
name = "NAME"
method = "toy_agreement"
epochs = 100
batch_size = 256

[backbone]
arch = "resnet50"

[parts]
mean_weight = 0.5

[view]
order = ["crop", "flip"]
crop_px = 64
crop_area = [0.2, 1.0]
flip_probability = 0.5

[optimizer]
kind = "sgd"
learning_rate = 0.1
weight_decay = 0.0001
decay_norms_and_biases = true

[schedule]
kind = "cosine"
per = "step"

[loop]
precision = "fp32"
channels_last = true
compile = false
accumulation_steps = 1
"""


def copy_of_the_project(copy: Path) -> Path:
    """All that runs and is tested, in a folder of its own."""
    for name in ("bench", "pretrain", "transfer", "configs", "results", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with three files more."""
    copy = copy_of_the_project(tmp_path_factory.mktemp("project"))
    (copy / "pretrain" / "methods" / "toy_agreement.py").write_text(METHOD)
    for folder, slug in (("pretrain", "toy_agreement_ep100"), ("smoke", "toy_agreement")):
        name = slug if folder == "pretrain" else f"{slug}_smoke"
        (copy / "configs" / folder / f"{slug}.toml").write_text(CONFIG.replace("NAME", name))
    return copy


def call(where: Path, *arguments: str, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(where), "OMP_NUM_THREADS": "1", **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_it_is_listed_and_the_others_are_what_they_were(project: Path) -> None:
    listed = json.loads(call(project, "-m", "bench", "ls", "methods", "--json"))
    assert "toy_agreement" in [entry["name"] for entry in listed]
    (toy,) = (entry for entry in listed if entry["name"] == "toy_agreement")
    assert toy["departures"] == ["from everything else."] and toy["configs"] == ["toy_agreement_ep100"]
    here = json.loads(call(ROOT, "-m", "bench", "ls", "methods", "--json"))
    assert [entry for entry in listed if entry is not toy] == here
    assert "toy_agreement" in call(project, "-m", "bench", "pretrain", "--help")


@pytest.mark.slow
def test_it_passes_the_contract_tests_without_one_of_its_own(project: Path) -> None:
    text = call(
        project,
        *("-m", "pytest", "-o", "addopts=", "-q", "-p", "no:cacheprovider", "-m", "not slow"),
        *("tests/contracts/test_methods.py", "-k", "toy"),
        UPDATE_GOLDEN="1",
        PYTEST_ADDOPTS="",
    )
    assert "passed" in text and "failed" not in text


@pytest.mark.slow
def test_it_is_trained_by_the_command(project: Path, tmp_path: Path) -> None:
    images = make_images(tmp_path)
    settings = (
        "epochs=1",
        "batch_size=12",
        "backbone.arch='resnet18'",
        "view.crop_px=32",
        "loop.num_workers=0",
    )
    settings += ("monitor.neighbours=5", "monitor.resize_px=32", "monitor.crop_px=32")
    flags = [part for setting in settings for part in ("--set", setting)]
    where = ["--data", str(images), "--out", str(tmp_path / "runs")]
    call(project, "-m", "bench", "pretrain", "toy_agreement", *where, *flags)
    assert [path.name for path in (tmp_path / "runs").rglob("weights.safetensors")] == ["weights.safetensors"]
