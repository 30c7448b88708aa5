"""Logs of run folders: found by their record, thinned to means, refused when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import DataError
from bench.report.html.curves import MAX_POINTS, Curve, find_curve, read_curve
from tests.helpers.records import make_record


def write(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_loss_is_the_sum_of_its_parts(tmp_path: Path) -> None:
    log = write(
        tmp_path / "log.csv",
        ["iteration,learning_rate,loss_box,loss_cls", "20,0.01,0.5,1.5", "40,0.02,0.25,0.5"],
    )
    assert read_curve(log) == Curve((20, 40), (2.0, 0.75))


def test_a_long_log_is_thinned_to_means(tmp_path: Path) -> None:
    num = 10 * MAX_POINTS
    lines = [f"{20 * place},0.01,{place}" for place in range(1, num + 1)]
    curve = read_curve(write(tmp_path / "log.csv", ["iteration,learning_rate,loss", *lines]))
    assert len(curve.iterations) == len(curve.losses) == MAX_POINTS
    # the first ten are 1 to 10
    assert curve.losses[0] == pytest.approx(5.5) and curve.iterations[0] == 200
    assert curve.losses[-1] == pytest.approx(num - 4.5) and curve.iterations[-1] == 20 * num


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["iteration,learning_rate,loss"],
        ["step,learning_rate,loss", "1,0.1,2.0"],
        ["iteration,learning_rate,loss", "1,0.1,much"],
        ["iteration,learning_rate,loss", "1,0.1"],
        ["iteration,learning_rate,loss", "1,0.1,2.0,3.0"],
        ["iteration,learning_rate,loss", "1,0.1,nan"],
    ],
)
def test_a_damaged_log_is_refused_by_name(tmp_path: Path, lines: list[str]) -> None:
    log = write(tmp_path / "log.csv", lines)
    with pytest.raises(DataError, match=r"log\.csv: not a log"):
        read_curve(log)


@pytest.mark.parametrize("twin", ["", "-smoke"])
def test_a_record_finds_its_run_folder(tmp_path: Path, twin: str) -> None:
    record = make_record(seed=3)
    assert find_curve(record, tmp_path) is None
    folder = (
        tmp_path
        / "voc-det"
        / f"resnet50.moco_v2_ep200-{record.weights.key[:8]}"
        / f"voc0712-r50c4-24k{twin}-{record.protocol.identity[:8]}"
        / "seed-3"
    )
    write(folder / "log.csv", ["iteration,learning_rate,loss", "1,0.1,2.0"])
    assert find_curve(record, tmp_path) == Curve((1,), (2.0,))
    assert find_curve(make_record(seed=4), tmp_path) is None


def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leave the folder"):
        find_curve(make_record(task="../../etc"), tmp_path / "runs")
