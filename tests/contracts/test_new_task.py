"""A task is one Python file and one config with its twin: a toy is put beside the others, in a copy of the
project.

In the copy it is listed, has a subcommand and a layout for `bench data check`, runs from the command line and
in a sweep, and passes the contract tests, with nothing else touched.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.core.paths import CONFIGS
from tests.contracts.test_new_method import call, copy_of_the_project
from tests.helpers.known_network import colour_set, known_file

TASK = '''"""Nearest neighbour: the class of the one image that is most alike.

Source:
    Nobody has published this; it is here to show what a new task takes, and that it takes nothing else.
"""

from transfer.api import Layout, TaskSpec
from transfer.classification import ACCURACIES, ENGINE, ClassificationTask
from transfer.protocols.classification import KnnProtocol


class ToyNeighbour(ClassificationTask):
    """The task `toy-neighbour`."""

    protocol = KnnProtocol
    spec = TaskSpec(
        name="toy-neighbour",
        version=1,
        summary="The class of the nearest image.",
        layouts=(Layout("toy-layout", "toy-k1"),),
        engine=ENGINE,
        metrics=ACCURACIES,
        main_metric="top1",
        default_protocol="toy-k1",
        source="this test",
        unpublished="a toy",
    )


ENTRY = ToyNeighbour()
'''


def config(folder: str) -> str:
    text = (CONFIGS / folder / "in1k-knn-k20.toml").read_text(encoding="utf-8")
    text = text.replace('"in1k-knn-k20"', '"toy-k1"').replace('task = "knn"', 'task = "toy-neighbour"')
    return text.replace("neighbours = 20", "neighbours = 1")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with three files more."""
    copy = copy_of_the_project(tmp_path_factory.mktemp("project"))
    (copy / "transfer" / "tasks" / "toy_neighbour.py").write_text(TASK)
    for folder in ("transfer", "smoke"):
        (copy / "configs" / folder / "toy-k1.toml").write_text(config(folder))
    return copy


def test_it_is_listed_and_has_its_commands(project: Path) -> None:
    listed = json.loads(call(project, "-m", "bench", "ls", "protocols", "--json"))
    (toy,) = (entry for entry in listed if entry["slug"] == "toy-k1")
    assert (toy["task"], toy["num_published"]) == ("toy-neighbour", 0)
    assert "toy-neighbour" in call(project, "-m", "bench", "transfer", "--help")
    assert "The class of the nearest image." in call(
        project, "-m", "bench", "transfer", "toy-neighbour", "--help"
    )
    assert "toy-layout" in call(project, "-m", "bench", "data", "check", "--help")


def test_it_passes_the_contract_tests_without_one_of_its_own(project: Path) -> None:
    text = call(
        project,
        *("-m", "pytest", "-o", "addopts=", "-q", "-p", "no:cacheprovider"),
        *("tests/contracts/test_tasks.py", "-k", "toy or moves_only"),
        UPDATE_GOLDEN="1",
        PYTEST_ADDOPTS="",
    )
    assert "passed" in text and "failed" not in text


@pytest.mark.slow
def test_it_runs_by_itself_and_in_a_sweep(project: Path, tmp_path: Path) -> None:
    data, weights = colour_set(tmp_path / "set"), known_file(tmp_path)
    places = ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    small = ["--set", "input.resize_px=40", "--set", "input.crop_px=32"]
    ask = ["toy-neighbour", "--checkpoint", str(weights), "--data", str(data), "--smoke", *small, *places]
    (record,) = json.loads(call(project, "-m", "bench", "transfer", *ask, "--json"))
    assert record["metrics"]["top1"]["value"] == pytest.approx(90.0)
    (tmp_path / "sweep.toml").write_text(
        f"""
name = "toy"
seeds = "0-1"
[[weights]]
checkpoint = "{weights}"
[[transfer]]
task = "toy-neighbour"
protocols = "toy-k1"
data = "{data}"
smoke = true
overrides = ["input.resize_px=40", "input.crop_px=32"]
"""
    )
    call(project, "-m", "bench", "sweep", str(tmp_path / "sweep.toml"), *places)
    found = sorted((tmp_path / "results").rglob("*.json"))
    assert [json.loads(path.read_text())["seed"] for path in found].count(1) == 1
    assert len(found) == 2
