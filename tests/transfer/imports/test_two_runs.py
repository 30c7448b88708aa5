"""Two runs that wrote into one folder: the result of one, under the config of the other, is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import ConfigError, DataError
from tests.helpers.outputs import LABELS, make_detectron2, make_mmseg
from tests.transfer.imports.test_adopt import take


def test_two_runs_in_one_folder_of_detectron2_are_refused(tmp_path: Path) -> None:
    """The second, which was stopped, has written its config over that of the first, whose result is there."""
    folder = make_detectron2(tmp_path / "out")
    log = folder / "metrics.json"
    log.write_text(log.read_text() + '{"iteration": 19, "total_loss": 2.0}\n')
    with pytest.raises(DataError, match="more than one run"):
        take(folder)
    folder = make_detectron2(tmp_path / "other")
    log = folder / "log.txt"
    log.write_text(
        log.read_text() + "[11/11 11:11:11] detectron2 INFO: Rank of current process: 0. World size: 2\n"
    )
    with pytest.raises(DataError, match="more than one run"):
        take(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("seed=3", "seed=4", "another seed"), ("load_from = None", "load_from = '/w/other.pth'", "starts from")],
)
def test_two_runs_in_one_folder_of_mmsegmentation_are_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    folder = make_mmseg(tmp_path / "out")
    make_mmseg(folder, [(2000, LABELS)], {old: new}, timestamp="29991231_000000")
    with pytest.raises(ConfigError, match=message):
        take(folder, "semseg")
