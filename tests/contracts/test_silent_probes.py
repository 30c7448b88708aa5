"""The ways of probes to get a wrong number without noticing; see test_silent_failures.py."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from bench.core.config import load_config
from bench.core.errors import ConfigError
from bench.core.paths import CONFIGS
from bench.core.protocol import digest, number_changing
from bench.report.published import quote, read_published
from tests.helpers.known_network import colour_set, known_file
from tests.transfer.engines.test_classifiers import checkpoint_of, make_job, run
from transfer.data.image_classes import classification_departures, read_classification
from transfer.protocols.classification import ClassifierProtocol, SubsetProtocol

DIALECTS = (
    "in1k-linear-100ep",
    "in1k-linear-60ep-pycontrast",
    "in1k-linear-60ep-pycontrast-plain",
    "in1k-linear-90ep-lars",
    "linear-features",
)


def probe(slug: str, *overrides: str) -> ClassifierProtocol:
    return load_config(ClassifierProtocol, CONFIGS / "transfer" / f"{slug}.toml", overrides)


def test_30_dialects_of_the_linear_probe() -> None:
    """Made equal in what they are called by, rate and batch, they are still as many identities."""
    called_alike = [probe(slug, "slug='in1k-linear'", "solver.learning_rate=30.0") for slug in DIALECTS]
    identities = [digest(number_changing(protocol)) for protocol in called_alike]
    assert len(set(identities)) == len(DIALECTS)
    rows = {slug: quote(read_published(), "linear-probe", slug, ("top1",)) for slug in DIALECTS}
    infomin = [entry for entry in rows["in1k-linear-60ep-pycontrast"] if entry.method == "InfoMin Aug"]
    assert [entry.values["top1"].value for entry in infomin] == [73.0, 70.1, 67.4]
    for first, second in combinations(rows.values(), 2):
        assert not set(map(repr, first)) & set(map(repr, second))


def test_31_a_backbone_that_moves_while_it_is_probed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be FrozenBN"):
        probe("in1k-linear-100ep", "model.norm='BN'")
    job = make_job(
        tmp_path, colour_set(tmp_path / "set"), "in1k-linear-100ep", known_file(tmp_path), "solver.epochs=1",
        "solver.schedule.epochs=[]",
    )  # fmt: skip
    before = run(job)
    kept = checkpoint_of(job)
    assert {name for name in kept if name.startswith("model.")} == {"model.weight", "model.bias"}
    assert before.details["verified"]["backbone"].startswith("265 of 265")


def test_32_another_list_of_labels(tmp_path: Path) -> None:
    root = colour_set(tmp_path / "set")
    fingerprints, lines = set(), []
    for number in range(2):
        (root / "1percent.txt").write_text(f"red/00{number}.png\nblue/000.png\n")
        path = CONFIGS / "transfer" / "in1k-semi-1pct-swav.toml"
        classes = ("data.num_classes=3", "data.class_pattern='.+'", "data.num_train=[36]", "data.num_test=30")
        expected: Any = load_config(SubsetProtocol, path, classes).data
        data = read_classification(root, expected)
        fingerprints.add(data.fingerprint)
        lines += classification_departures(data, expected)
    assert len(fingerprints) == 2
    assert len(lines) == 2
    assert all("71e82a48ba78" in line for line in lines), "the published list's"


def test_33_features_of_something_else(tmp_path: Path) -> None:
    """One folder for all that is kept: weights, crops and images each have files of their own."""
    root, other = colour_set(tmp_path / "set"), colour_set(tmp_path / "other", num_train=11)
    first, second = known_file(tmp_path), known_file(tmp_path, name="resnet50.another")
    kept = tmp_path / "runs" / "features"

    def num_kept(data: Path, weights: Path, *more: str) -> int:
        run(make_job(tmp_path, data, "in1k-knn-k20", weights, *more))
        return len(list(kept.iterdir()))

    assert num_kept(root, first) == 2
    assert num_kept(root, second) == 2, "equal tensors, as equal as they are fed"
    assert num_kept(root, first, "input.crop_px=40") == 4
    assert num_kept(root, first, "input.resample='bilinear'") == 6
    assert num_kept(other, first) == 8, "other images"
