"""A task's version rises when what the engine is told changes for an unchanged protocol file.

Regenerate after raising the version: UPDATE_GOLDEN=1 uv run pytest -n 0 tests/contracts/test_task_versions.py
"""

import json
import os
from pathlib import Path
from typing import Any

from bench.core.card import InputSpec
from bench.core.paths import CONFIGS
from bench.core.protocol import digest
from transfer.adapters.detectron2_config import detectron2_config
from transfer.adapters.mmseg_config import Listed, mmseg_config
from transfer.api import TASKS, Task
from transfer.data.segmentation import Pairs

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
