"""`bench report compare` of real records: k-NN of a network that knows colours, and of a random one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.commands.report import command
from bench.core.errors import UsageError
from bench.core.store import Store
from tests.helpers.known_network import colour_set, known_file
from tests.test_reproduce_command import CHANGES, bench


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    colour_set(folder / "colours")
    checkpoint = known_file(folder)
    for weights in (checkpoint, "random"):
        arguments = ("--checkpoint", weights, "--data", "colours", "--smoke", *CHANGES, "--seeds", "0-1")
        done = bench("transfer", "knn", *arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder / "results" / "runs"


def test_both_kinds_of_noise_are_of_the_same_difference(results: Path) -> None:
    names = sorted({record.weights.name for record in Store(results).scan().records})
    known, random = (name for name in sorted(names, key=lambda name: name == "resnet50.random"))
    arguments = ["compare", known, random, "--results", str(results), "--resamples", "200"]
    found = json.loads(CliRunner().invoke(command, [*arguments, "--json"]).stdout)
    (task,) = found["tasks"]
    assert task["images"]["value"] == pytest.approx(task["seeds"]["value"])
    # colours are found by either: no test image speaks for one of them
    assert task["first"]["values"] == task["second"]["values"]
    assert task["images"]["p"] == 1.0 and not task["images"]["beyond_noise"]
    assert task["images"]["num_images"] > 0 and task["images_note"] == ""
    assert any(name == "tensors_sha256" for name, *_ in found["differs"])
    text = CliRunner().invoke(command, arguments).stdout
    assert f"A: {known}" in text and "knn" in text


def test_a_record_that_was_edited_takes_no_part(results: Path) -> None:
    store = Store(results)
    path = next(path for path in sorted(results.rglob("*.json")) if "random" in str(path))
    before = path.read_bytes()
    try:
        path.write_bytes(before.replace(b'"seed": ', b'"seed": 1', 1))
        done = CliRunner().invoke(
            command, ["compare", "known", "random", "--results", str(results), "--json"]
        )
        assert f"left out: {path}" in done.stderr
        (task,) = json.loads(done.stdout)["tasks"]
        assert len(task["second"]["values"]) == 1 and task["seeds"]["beyond_noise"] is None
    finally:
        path.write_bytes(before)
    assert len(store.scan().records) == 4


def test_names_that_nobody_has_are_refused(results: Path) -> None:
    done = CliRunner().invoke(command, ["compare", "knwon", "random", "--results", str(results)])
    assert isinstance(done.exception, UsageError)
