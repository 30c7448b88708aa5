"""`bench results import` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.commands import report
from bench.commands.results import command
from bench.core.errors import StoreError, UsageError
from bench.core.store import Store
from bench.results.verify import Verdict, verify
from tests.helpers.outputs import VOC, make_detectron2


def call(*arguments: object) -> Any:
    return CliRunner().invoke(command, ["import", *map(str, arguments)])


def read_back(results: Path) -> str:
    return CliRunner().invoke(report.command, ["--results", str(results), "--published"]).stdout


def test_a_run_of_a_checkpoint_and_one_of_none_share_a_table(tmp_path: Path, checkpoint: Path) -> None:
    results = tmp_path / "runs"
    folder = make_detectron2(tmp_path / "out", changes={"./net.pkl": "./converted/net.pkl"})
    empty = make_detectron2(tmp_path / "random", [(24000, {**VOC, "bbox/AP50": 60.0})], {"./net.pkl": "''"})
    common = ("--task", "voc-det", "--results", results)
    dry = call(folder, *common, "--checkpoint", checkpoint, "--dry-run")
    assert dry.exit_code == 0 and "nothing was written" in dry.stderr and not results.exists()
    done = call(folder, *common, "--checkpoint", checkpoint)
    assert done.exit_code == 0, done.exception
    assert done.stdout == (
        "resnet50.net  seed 3  AP 57.25  AP50 82.50  AP75 63.70  [custom, imported-detectron2]\n"
    )
    assert (
        "Recorded " in done.stderr and "that it was net.pth, and loaded whole, was not checked" in done.stderr
    )
    assert call(folder, *common, "--checkpoint", checkpoint).exit_code == 0, "again is no error"
    value = json.loads(call(empty, *common, "--checkpoint", "random", "--json").stdout)
    assert value["weights"]["name"] == "resnet50.random"
    assert verify(Store(results)) == Verdict(num_good=2)
    text = read_back(results)
    assert text.count("imported-detectron2: custom") == 1
    assert "imported from Detectron2: trained and tested elsewhere" in text
    assert "82.5" in text and "+22.5" in text
    assert "compare with nothing published" in " ".join(text.split())


def test_another_result_of_the_same_trial_is_a_conflict(tmp_path: Path) -> None:
    common = ("--task", "voc-det", "--checkpoint", "random", "--results", tmp_path / "runs")
    assert call(make_detectron2(tmp_path / "a"), *common).exit_code == 0
    other = make_detectron2(tmp_path / "b", [(24000, {**VOC, "bbox/AP50": 80.0})])
    result = call(other, *common)
    assert isinstance(result.exception, StoreError) and "82.5000 there, 80.0000 now" in str(result.exception)
    assert call(other, *common, "--seed", 4).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--task", "voc-dte", "--checkpoint", "random"), "voc-det"),
        (("--task", "semseg", "--checkpoint", "random"), "an output of Detectron2"),
        (("--task", "voc-det", "--checkpoint", "random", "--name", "x"), "do not go with"),
        (("--task", "voc-det", "--checkpoint", "random", "--iteration", "7"), "11,999, 24,000"),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    result = call(make_detectron2(tmp_path / "out"), *arguments, "--results", tmp_path / "runs")
    assert isinstance(result.exception, UsageError) and words in str(result.exception)
    assert not (tmp_path / "runs").exists()
