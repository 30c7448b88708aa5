"""`bench results export`: every number of every record, bit for bit, always in the same order."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.commands.results import command
from bench.core.errors import UsageError
from bench.core.store import Store
from bench.results.export import COLUMNS, as_csv, as_json, rows
from tests.helpers.records import make_record, make_trials

RECORDS = [
    *make_trials("resnet50.random", [33.0, 100.0 / 3.0, math.nextafter(50.0, 51.0)]),
    make_record("resnet50.moco", 10),
    make_record("resnet50.moco", 9, status="custom", departures=("a, b", 'c "d"\n\x1b[2J')),
    make_record(
        "resnet50.moco",
        task="semseg",
        main_metric="mIoU",
        metrics={"aAcc": 1.0, "mIoU": 2.0},
        slug="voc12aug",
    ),
]


def test_every_number_is_there_once_with_all_its_digits() -> None:
    lines = rows(RECORDS)
    assert len(lines) == sum(len(record.metrics) for record in RECORDS)
    found = {(line["record"], line["metric"]): line["value"] for line in lines}
    read = list(csv.DictReader(io.StringIO(as_csv(lines))))
    assert [tuple(line) for line in read] == [COLUMNS] * len(lines)
    for record in RECORDS:
        for name, metric in record.metrics.items():
            assert found[record.id, name] == metric.value
    assert [float(line["value"]) for line in read] == [line["value"] for line in lines]
    assert json.loads(as_json(lines)) == lines


def test_the_order_is_that_of_the_records_not_of_their_coming() -> None:
    expected = as_csv(rows(RECORDS))
    for seed in range(5):
        mixed = RECORDS[:]
        random.Random(seed).shuffle(mixed)
        assert as_csv(rows(mixed)) == expected
    moco = [line["seed"] for line in rows(RECORDS) if line["weights"] == "resnet50.moco" and line["is_main"]]
    assert moco == [0, 9, 10]


def test_nothing_yes_and_no_and_text() -> None:
    read = list(csv.DictReader(io.StringIO(as_csv(rows(RECORDS)))))
    assert {line["is_main"] for line in read} == {"true", "false"}
    assert {line["tensors_sha256"] for line in read if line["weights"] == "resnet50.random"} == {""}
    (departs,) = {line["departures"] for line in read if line["seed"] == "9"}
    assert departs == 'a, b; c "d"\\n\\x1b[2J'
    assert as_csv([]) == ",".join(COLUMNS) + "\n" and as_json([]) == "[]\n"


def test_pandas_reads_the_types() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(io.StringIO(as_csv(rows(RECORDS))))
    assert table["is_main"].dtype == bool and table["seed"].dtype == int
    assert table["value"].tolist() == pytest.approx([line["value"] for line in rows(RECORDS)], rel=1e-15)
    wide = table.pivot_table(index=["weights", "seed"], columns="metric", values="value")
    assert wide.loc[("resnet50.random", 1), "AP"] == pytest.approx(100.0 / 3.0, rel=1e-15)


def call(*arguments: object) -> Any:
    return CliRunner().invoke(command, ["export", *map(str, arguments)])


def test_the_command(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    for record in RECORDS:
        store.add(record)
    text = as_csv(rows(RECORDS))
    result = call("--results", store.root)
    assert (result.exit_code, result.stdout, result.stderr) == (0, text, "")
    assert call("--results", store.root, "--json").stdout == as_json(rows(RECORDS))
    assert call("--results", store.root, "--format", "json").stdout == as_json(rows(RECORDS))
    out = tmp_path / "new" / "records.csv"
    dry = call("--results", store.root, "-o", out, "--dry-run")
    assert dry.exit_code == 0 and "17 numbers of 6 records" in dry.stderr and not out.parent.exists()
    assert call("--results", store.root, "-o", out).exit_code == 0 and out.read_text() == text
    out.write_text("mine")
    assert isinstance(call("--results", store.root, "-o", out).exception, UsageError)
    assert out.read_text() == "mine"
    assert call("--results", store.root, "-o", out, "--force").exit_code == 0 and out.read_text() == text
    assert isinstance(call("--results", store.root, "-o", tmp_path).exception, UsageError)
    assert isinstance(call("--results", store.root, "--json", "--format", "csv").exception, UsageError)
    assert isinstance(call("--results", tmp_path / "none").exception, UsageError)


def test_what_is_left_out_is_listed(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    path = store.add(RECORDS[0])
    store.add(RECORDS[3])
    path.write_text("{")
    result = call("--results", store.root)
    assert result.exit_code == 0 and f"left out: {path}" in result.stderr
    assert len(result.stdout.splitlines()) == 4
