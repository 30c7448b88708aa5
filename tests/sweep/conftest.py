"""Files of sweeps over the toy VOC set, and a folder for what they leave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]

TASKS = {"voc-det": "voc0712-r50c4-24k", "semseg": "voc12aug-fcn-moco"}


@pytest.fixture
def write_file(tmp_path: Path, voc: Path, checkpoint: Path) -> Write:
    """Writes the file of a sweep: random weights and a checkpoint, under toy protocols."""

    def write(*, tasks: tuple[str, ...] = ("voc-det",), seeds: str = "0-1", more: str = "") -> Path:
        transfers = "".join(
            f'[[transfer]]\ntask = "{task}"\nprotocols = "{TASKS[task]}"\ndata = "{voc}"\nsmoke = true\n'
            for task in tasks
        )
        path = tmp_path / "sweep.toml"
        path.write_text(
            f'name = "tiny"\nseeds = "{seeds}"\n[[weights]]\ncheckpoint = "random"\n'
            f'[[weights]]\ncheckpoint = "{checkpoint}"\nname = "resnet50.a"\n{transfers}{more}'
        )
        return path

    return write
