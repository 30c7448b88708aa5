"""A task's version rises when what the engine is told changes for an unchanged protocol file.

Regenerate after raising the version: UPDATE_GOLDEN=1 uv run pytest -n 0 tests/contracts/test_task_versions.py
"""

import json
import os
from pathlib import Path
from typing import Any

from torch import nn

from bench.core.card import InputSpec
from bench.core.paths import CONFIGS
from bench.core.protocol import digest, number_changing
from transfer.adapters.detectron2_config import detectron2_config
from transfer.adapters.mmseg_config import Listed, mmseg_config
from transfer.api import TASKS, Task
from transfer.data.segmentation import Pairs
from transfer.engines.torchvision.features import BATCH_SIZE
from transfer.engines.torchvision.network import Backbone, FineTuned, build_classifier
from transfer.engines.torchvision.train import build_optimizer, rate_factor
from transfer.protocols.classification import FeatureProtocol

GOLDEN = Path(__file__).parents[1] / "golden" / "engine_configs.json"


def engine_config(task: Task, protocol: Any) -> dict[str, Any]:
    """What an engine is told, for data that are made up."""
    if task.spec.engine == "detectron2":
        return detectron2_config(
            protocol,
            InputSpec(),
            num_classes=20,
            train_names=("train",),
            test_name="test",
            weights_file="weights.pkl",
            seed=0,
        )
    if task.spec.engine == "torchvision":
        return classifier_config(protocol)
    listed = [Listed(Pairs(Path("images"), Path("labels"), ".jpg", ".png"), Path("list.txt"))]
    return mmseg_config(
        protocol,
        InputSpec(),
        classes=("a", "b"),
        zero_is_ignored=False,
        train=listed,
        test=listed,
        weights_file="weights.pth",
        seed=0,
    )


def classifier_config(protocol: Any) -> dict[str, Any]:
    """There is no config of an engine: rates and groups, as they are made of the protocol for 100 images."""
    if isinstance(protocol, FeatureProtocol):
        return {"batch": BATCH_SIZE, **number_changing(protocol)}
    solver = protocol.solver
    backbone = Backbone(nn.Identity(), InputSpec(), channels_last=False)
    head = build_classifier(3, protocol.model.classifier_init, seed=0)
    alone = protocol.model.trained == "classifier"
    optimizer = build_optimizer(solver, head if alone else FineTuned(backbone, head))
    groups = [
        {key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups
    ]
    rates = [rate_factor(solver, epoch / 4) for epoch in range(4 * solver.epochs)]
    start = head.weight.detach().double().abs().mean().item()
    return {"batch": BATCH_SIZE, "groups": groups, "rates": rates, "start": round(start, 6)}


def now() -> dict[str, Any]:
    found = {}
    for name, task in TASKS:
        protocol = task.load_protocol(CONFIGS / "transfer" / f"{task.spec.default_protocol}.toml", ())
        versions = {"version": task.spec.version, "protocol": protocol.version}
        found[name] = {**versions, "sha256": digest(engine_config(task, protocol))}
    return found


def test_the_engines_config_changes_with_a_version_alone() -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        old = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
        for name, entry in now().items():
            before = old.get(name, {})
            versions = [(item.get("version"), item.get("protocol")) for item in (before, entry)]
            assert versions[0] != versions[1] or before["sha256"] == entry["sha256"], (
                "raise the version first"
            )
        GOLDEN.write_text(json.dumps(now(), indent=2) + "\n")
    assert json.loads(GOLDEN.read_text()) == now()
