"""What shares a group, what shares a row, and what a table says."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from typing import Any

import pytest

from bench.core.errors import StoreError, UsageError
from bench.core.study import StudyRecord
from bench.report.reverse_u import Point, reverse_u
from bench.report.study_table import (
    Estimate,
    Size,
    StudyGroup,
    facts,
    groups,
    header,
    nats,
    points,
    rows,
    table_markdown,
    table_text,
    title,
    verdict_text,
)
from tests.helpers.studies import make_study_record, make_sweep


def trials(setting: str, i_nces: list[float], top1s: list[float], **more: Any) -> list[StudyRecord]:
    return [
        make_study_record(setting, seed, i_nce, {"top1": top1}, **more)
        for seed, (i_nce, top1) in enumerate(zip(i_nces, top1s, strict=True))
    ]


def only(records: list[StudyRecord]) -> StudyGroup:
    (group,) = groups(records)
    return group


def test_a_row_is_the_mean_over_seeds() -> None:
    group = only(trials("Lab 1|23", [2.0, 2.1, 2.5], [60.0, 61.0, 62.0]))
    (row,) = group.rows
    # deviations -0.2, -0.1, 0.3; their squares sum to 0.14, divided by 2
    assert row.i_nce.mean == pytest.approx(2.2)
    assert row.i_nce.std == pytest.approx(math.sqrt(0.07))
    assert (row.scores["top1"].mean, row.scores["top1"].std) == (61.0, 1.0)
    assert row.scores["top1"].values == (60.0, 61.0, 62.0)
    assert row.seeds == (0, 1, 2)
    assert len(set(row.records)) == 3
    assert (group.num_candidates, group.critic, group.data) == (200, "cosine / 0.1", "shapes")
    assert (group.scores, group.series) == (("top1",), ("1|23",))


def test_one_seed_has_no_spread() -> None:
    (row,) = only([make_study_record()]).rows
    assert row.i_nce.std is None
    assert row.scores["top1"].std is None
    assert rows(only([make_study_record()]))[0][1:3] == ["2.50", "60.0"]


@pytest.mark.parametrize(
    "change",
    [
        {"identity": "other"},
        {"study_version": 2},
        {"study": "patches"},
        {"size": "full"},
        {"custom": True},
        {"num_candidates": 100},
        {"critic": "bilinear"},
        {"data": "other"},
    ],
    ids=str,
)
def test_what_moves_a_number_is_never_in_one_group(change: dict[str, Any]) -> None:
    first = trials("Lab 1|23", [2.0, 2.1], [60.0, 61.0])
    second = [make_study_record("RGB 1|23", seed, 4.0, **change) for seed in range(2)]
    found = groups([*first, *second])
    assert len(found) == 2
    assert sorted(row.setting for group in found for row in group.rows) == ["Lab 1|23", "RGB 1|23"]


def test_older_versions_come_last_and_are_named() -> None:
    made = [make_study_record(study_version=version) for version in (1, 3, 2)]
    found = groups([*made, make_study_record(study="patches")])
    assert [(group.study, group.version) for group in found] == [
        ("colour", 3), ("colour", 2), ("colour", 1), ("patches", 1),
    ]  # fmt: skip
    assert ["OLDER" in title(group) for group in found] == [False, True, True, False]
    assert [group.newest_version for group in found] == [3, 3, 3, 1]
    assert "version 3" in title(found[1])


def test_sizes_go_from_full_to_smoke_and_smoke_says_what_it_is() -> None:
    sizes: tuple[Size, ...] = ("smoke", "full", "laptop")
    found = groups([make_study_record(size=size, identity=size) for size in sizes])
    assert [group.size for group in found] == ["full", "laptop", "smoke"]
    assert [any("mean nothing" in line for line in facts(group)) for group in found] == [False, False, True]
    custom = only([make_study_record(custom=True)])
    assert "by hand" in title(custom)
    assert "by hand" not in title(found[0])


def test_rows_go_by_knob_where_it_is_a_number() -> None:
    knobs = [8.0, 64.0, 16.0, 100.0]
    made = [
        make_study_record(f"{knob:g} px", i_nce=1.0 + knob % 7, knob=knob, knob_name="distance (px)")
        for knob in knobs
    ]
    group = only(made)
    assert [row.knob for row in group.rows] == [8.0, 16.0, 64.0, 100.0]
    assert header(group)[1] == "distance (px)"
    assert [cells[1] for cells in rows(group)] == ["8", "16", "64", "100"]


@pytest.mark.parametrize(
    "second", [{"knob": None, "knob_name": ""}, {"knob": 0.5, "knob_name": "strength"}], ids=["none", "other"]
)
def test_rows_go_by_i_nce_where_settings_are_no_numbers_of_one_knob(second: dict[str, Any]) -> None:
    made = [
        make_study_record("a", i_nce=3.0, knob=1.0, knob_name="area"),
        make_study_record("b", i_nce=1.0, knob=2.0, knob_name="area"),
        make_study_record("c", i_nce=2.0, **second),
    ]
    group = only(made)
    assert group.knob_name == ""
    assert [row.setting for row in group.rows] == ["b", "c", "a"]
    assert "area" not in header(group)


def test_the_order_of_records_does_not_matter_and_twice_is_once() -> None:
    made = make_sweep(lambda x: 60.0 + x, [1.0, 2.0, 3.0]) + trials("Lab", [1.0, 2.0], [3.0, 4.0])
    shuffled = [*made, *made]
    random.Random(0).shuffle(shuffled)
    assert groups(shuffled) == groups(made)
    assert groups([]) == []


def test_two_results_of_one_cell_are_refused() -> None:
    with pytest.raises(StoreError, match=r"2\.5000 and 2\.6000"):
        groups([make_study_record(), make_study_record(i_nce=2.6)])


def test_a_score_that_some_seeds_lack_is_paired_with_their_i_nce() -> None:
    made = [
        make_study_record("a", 0, 1.0, {"top1": 50.0}),
        make_study_record("a", 1, 2.0, {"top1": 60.0, "miou": 30.0}),
        make_study_record("a", 2, 3.0, {"top1": 70.0, "miou": 40.0}),
        make_study_record("b", 0, 4.0, {"top1": 80.0}),
    ]
    group = only(made)
    assert points(group, "miou") == [Point("a", (2.0, 3.0), (30.0, 40.0))]
    assert points(group, "top1") == [
        Point("a", (1.0, 2.0, 3.0), (50.0, 60.0, 70.0)), Point("b", (4.0,), (80.0,)),
    ]  # fmt: skip
    assert header(group) == ["setting", "I_NCE (nats)", "miou (%)", "top1 (%)", "seeds"]
    assert [cells[2] for cells in rows(group)] == ["35.0 ± 7.1", "-"]
    with pytest.raises(UsageError, match="miou, top1"):
        points(group, "top5")


def test_the_table_by_hand() -> None:
    made = trials("Lab 1|23", [2.0, 2.2], [60.0, 61.0]) + trials(
        "Lab 2|13", [3.0, 3.0], [50.0, 50.5], series="2|13"
    )
    group = only(made)
    assert header(group) == ["setting", "series", "I_NCE (nats)", "top1 (%)", "seeds"]
    assert rows(group) == [
        ["Lab 1|23", "1|23", "2.10 ± 0.14", "60.5 ± 0.7", "2"],
        ["Lab 2|13", "2|13", "3.00 ± 0.00", "50.2 ± 0.4", "2"],
    ]
    assert "5.30" in facts(group)[0], "log 200"
    assert nats(Estimate(mean=-0.001, std=0.25, seeds=(0, 1), values=(0.0, 0.0))) == "0.00 ± 0.25"


def test_every_form_has_every_cell() -> None:
    group = only(trials("Lab 1|23", [2.0, 2.2], [60.0, 61.0]) + trials("RGB <b>*", [4.0], [50.0]))
    text, markdown = table_text(group), table_markdown(group)
    for cells in rows(group):
        assert all(cell in text for cell in cells)
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 2
    # a bar inside of a cell is escaped, so that all lines have equally many
    assert {line.replace("\\|", "").count("|") for line in table} == {len(header(group)) + 1}
    assert "\\<b>\\*" in markdown
    assert json.loads(json.dumps(group.model_dump(mode="json")))["rows"][0]["i_nce"]["values"] == [2.0, 2.2]
    buffer = io.StringIO()
    csv.writer(buffer).writerows([header(group), *rows(group)])
    assert list(csv.reader(io.StringIO(buffer.getvalue()))) == [header(group), *rows(group)]


def test_text_of_a_record_cannot_drive_a_terminal() -> None:
    group = only([make_study_record("red \x1b[31m [bold]x[/]", critic="\x1b[2J")])
    assert "\x1b" not in table_text(group) + table_markdown(group)
    assert "[bold]x[/]" in table_text(group)


def test_verdicts_in_words() -> None:
    def told(curve: Any, i_nces: list[float], **more: Any) -> str:
        return verdict_text(reverse_u(points(only(make_sweep(curve, i_nces, **more)), "top1")))

    places = [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]
    peaked = told(lambda x: 70.0 - 4.0 * (x - 2.4) ** 2, places)
    assert peaked.startswith("Interior maximum supported")
    assert "2.4" in peaked and "95 %" in peaked
    rising = told(lambda x: 60.0 + 3.0 * x, places)
    assert "not supported" in rising and "increasing" in rising and "sweet spot" not in rising
    assert "decreasing" in told(lambda x: 60.0 - 3.0 * x, places)
    assert "flat" in told(lambda x: 60.0, places, noise=0.0)
    assert "Too few settings" in told(lambda x: 60.0, places[:4])
    assert "Too few seeds" in told(lambda x: 60.0, places, num_seeds=1)
