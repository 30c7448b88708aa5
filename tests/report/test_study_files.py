"""What a study leaves for people: files of each score, and the scores of transfers beside its own."""

from __future__ import annotations

from pathlib import Path

from bench.report.study_files import WEIGHTS, with_transfers, write_files
from bench.report.study_table import groups
from tests.helpers.records import make_record
from tests.helpers.studies import make_study_record


def test_there_is_a_plot_of_each_score_bars_and_a_table(tmp_path: Path) -> None:
    records = [
        make_study_record(f"setting {number}", seed, 1.0 + number, {"top1": 50.0 + number, "miou": 20.0})
        for number in range(2)
        for seed in range(2)
    ]
    (group,) = groups(records)
    written = write_files(group, tmp_path, {"top1": "a long name"})
    stem = written.stem.name
    names = {path.name.removeprefix(stem) for path in tmp_path.iterdir()}
    kinds = {f"-{what}.{kind}" for what in ("top1", "miou", "bars") for kind in ("png", "svg")}
    assert names == kinds | {".md"}
    assert set(written.verdicts) == {"top1", "miou"}
    text = (tmp_path / f"{stem}.md").read_text()
    assert all(sentence in text for sentence in written.sentences)
    assert "a long name" in text
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_files(group, tmp_path, {"top1": "a long name"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_transfer_joins_the_study_by_its_weights_alone() -> None:
    mine = make_record("resnet50.of_a_study", 0, 40.0)
    again = make_record("resnet50.of_a_study", 1, 42.0)
    other = make_record("resnet50.of_another", 0, 90.0)
    toy = make_record("resnet50.of_a_study", 0, 10.0, status="custom", identity="toy")
    plain = make_study_record("crop 0.2", 0, 1.0, {"top1": 50.0})
    with_weights = plain.model_copy(update={"details": {WEIGHTS: mine.weights.key}})
    without, joined = with_transfers([plain, with_weights], [mine, again, other, toy])
    assert without == plain
    more = {name: value for name, value in joined.scores.items() if name not in plain.scores}
    assert sorted(more.values()) == [10.0, 41.0]
    (custom,) = [name for name, value in more.items() if value == 10.0]
    assert "custom" in custom
    assert joined.scores["top1"] == 50.0
