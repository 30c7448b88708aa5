"""Published numbers alone: what stands in which table, contradictions, marks, and all forms."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from bench.report import render
from bench.report.csv_form import as_csv
from bench.report.latex import as_latex
from bench.report.published import (
    Published,
    PublishedRow,
    Quoted,
    plain_method,
    published_place,
    read_published,
)
from bench.report.published_tables import FIRST, PublishedTable, published_tables

FORMS: dict[str, Callable[[Sequence[PublishedTable]], str]] = {
    "table": render.as_table,
    "markdown": render.as_markdown,
    "latex": as_latex,
    "csv": as_csv,
    "json": render.as_json,
}


@pytest.fixture(scope="module")
def published() -> Published:
    return read_published()


@pytest.fixture(scope="module")
def tables(published: Published) -> list[PublishedTable]:
    return published_tables(published)


@pytest.fixture(scope="module")
def every(published: Published) -> list[PublishedTable]:
    return published_tables(published, unconfirmed=True)


def of(tables: Sequence[PublishedTable], protocol: str) -> PublishedTable:
    (found,) = (table for table in tables if table.protocol == protocol)
    return found


def test_the_eight_tables_come_first_then_all_by_task_and_slug(tables: list[PublishedTable]) -> None:
    places = [(table.task, table.protocol) for table in tables]
    assert len(FIRST) == 8 and tuple(places[:8]) == FIRST
    assert places[8:] == sorted(places[8:]) and len(set(places)) == len(places)


Line = tuple[str, str, str, str, str, int | None, float, str]


def shown(tables: Sequence[PublishedTable]) -> Counter[Line]:
    found: Counter[Line] = Counter()
    for table in tables:
        for row in table.rows:
            for metric, value in row.values.items():
                place = (*published_place(table.task, table.protocol, metric), table.protocol)
                model = (row.method, row.pretrain_data, row.pretrain_epochs)
                found[*place, *model, value.value, row.source] += 1
    return found


def lines(rows: Sequence[PublishedRow]) -> Counter[Line]:
    return Counter(
        (*key, row.pretrain_data, row.pretrain_epochs, row.value, row.source)
        for row in rows
        for key in [(row.task, row.metric, row.protocol, row.method)]
    )


def test_every_value_of_the_file_stands_once(
    published: Published, tables: list[PublishedTable], every: list[PublishedTable]
) -> None:
    assert shown(every) == lines(published.rows)
    sure = [row for row in published.rows if row.confirmed == "yes"]
    assert shown(tables) == lines(sure)
    assert sum(table.num_left_out for table in tables) == len(published.rows) - len(sure)
    assert sum(table.num_left_out for table in every) == 0


def test_rows_fall_by_the_main_metric_and_parts_stand_by_their_model(every: list[PublishedTable]) -> None:
    for table in every:
        main = [row.values[table.metrics[0]].value for row in table.rows if table.metrics[0] in row.values]
        assert main == sorted(main, reverse=True), table.protocol
    rows = of(every, "coco-r50fpn4conv-1x").rows
    at = next(i for i, row in enumerate(rows) if (row.method, row.pretrain_epochs) == ("InfoMin Aug", 200))
    assert set(rows[at].values) == {"box_ap", "mask_ap"}
    assert (rows[at + 1].method, rows[at + 1].pretrain_epochs) == ("InfoMin Aug", 200)
    assert set(rows[at + 1].values) == {"box_ap50", "box_ap75", "mask_ap50", "mask_ap75"}
    assert rows[at].source != rows[at + 1].source
    # a part of the contradicting source stands by the plain name
    rows = of(every, "coco-r50c4-1x").rows
    at = next(i for i, row in enumerate(rows) if row.method == "MoCo v2 [per InsLoc model zoo]")
    assert (rows[at - 1].method, rows[at - 1].pretrain_epochs) == ("MoCo v2", 200)


def test_task_is_ours_or_the_files(published: Published) -> None:
    def places(**filters: str) -> set[tuple[str, str]]:
        return {(table.task, table.protocol) for table in published_tables(published, **filters)}

    ours = places(task="semseg")
    assert {task for task, _ in ours} == {"semseg"}
    assert {"voc12aug-fcn-d8", "cityscapes-fcn-moco"} <= {slug for _, slug in ours}
    assert ("voc-seg", "voc12-linear-frozen") in places(task="voc-seg")
    assert ("semseg", "voc12aug-fcn-d8") in places(task="voc-seg")
    assert ("semseg", "cityscapes-fcn-moco") not in places(task="voc-seg")
    assert places(task="coco-det") < places(task="coco-instseg")
    # one slug, two tasks
    assert places(protocol="in1k-semi-ft") == {("semi-1", "in1k-semi-ft"), ("semi-10", "in1k-semi-ft")}
    assert places(task="knn", protocol="voc07-r50c4") == set()


def test_both_sides_of_a_contradiction_are_rows_and_named(tables: list[PublishedTable]) -> None:
    table = of(tables, "voc0712-r50c4-24k")
    both = {
        (row.method, row.values["AP"].value)
        for row in table.rows
        if plain_method(row.method) == "MoCo v2" and row.pretrain_epochs == 800
        if row.pretrain_data == "ImageNet-1K"
    }
    assert both == {("MoCo v2", 57.4), ("MoCo v2 [per PixPro README]", 57.6)}
    (found,) = (c for c in table.contradictions if (c.method, c.metric) == ("MoCo v2", "AP"))
    assert (found.pretrain_epochs, found.pretrain_data) == (800, "ImageNet-1K")
    assert {(claim.source, claim.value) for claim in found.claims} == {
        ("zdaxie/PixPro README.md @e390d6b", 57.6),
        ("facebookresearch/moco detection/README.md @34020351", 57.4),
    }
    text = " ".join(render.as_table([table]).split())
    marks = {source: mark for mark, source in re.findall(r"(S\d+): (\S+ \S+)", text)}
    moco, pixpro = marks["facebookresearch/moco detection/README.md"], marks["zdaxie/PixPro README.md"]
    assert f"MoCo v2, 800 ep: AP 57.6 ({pixpro}), 57.4 ({moco}); AP50 82.7" in text
    assert f"AP75 64.4 ({pixpro}), 64.0 ({moco})" in text


def row_of(**changes: object) -> PublishedRow:
    good: dict[str, object] = {
        "method": "X", "year": "2020", "arch": "ResNet-50", "pretrain_data": "ImageNet-1K",
        "pretrain_epochs": "200", "labels_used": "none", "task": "voc-det", "dataset": "VOC",
        "protocol": "voc07-r50c4", "metric": "AP", "value": "50.0", "std": "", "seeds": "",
        "source": "one", "confirmed": "yes", "note": "",
    }  # fmt: skip
    return PublishedRow.model_validate({**good, **changes})


@pytest.mark.parametrize(
    ("other", "contradicts"),
    [
        ({"value": "50.1"}, True),
        ({"value": "50.0"}, False),
        ({"value": "50.1", "pretrain_epochs": "800"}, False),
        ({"value": "50.1", "pretrain_data": "COCO"}, False),
        ({"value": "50.1", "arch": "ResNet-50 half-width"}, False),
        ({"value": "50.1", "labels_used": "imagenet"}, False),
        ({"value": "50.1", "metric": "AP50"}, False),
        ({"value": "50.1", "method": "X (run again by Y)"}, False),
        ({"value": "50.1", "method": "X2 [per two]"}, False),
        ({"value": "50.1", "protocol": "voc0712-r50c4-24k"}, False),
    ],
    ids=str,
)
def test_what_contradicts(other: dict[str, str], contradicts: bool) -> None:
    rows = (row_of(), row_of(**{"method": "X [per two]", "source": "two", **other}))
    tables = published_tables(Published(rows))
    assert sum(len(table.rows) for table in tables) == 2, "contradicting or not, both are rows"
    assert [len(table.contradictions) for table in tables] == ([1] if contradicts else [0] * len(tables))
    if contradicts:
        (found,) = tables[0].contradictions
        assert [(claim.value, claim.source) for claim in found.claims] == [(50.1, "two"), (50.0, "one")]


def test_a_part_stands_by_its_own_name_before_the_plain_one() -> None:
    rows = (
        row_of(method="X [per two]", value="51.0", source="two"),
        row_of(),
        row_of(metric="AP50", value="80.0", source="three"),
        row_of(method="X [per four]", metric="AP50", value="81.0", source="four"),
        row_of(method="Y", metric="AP50", value="99.0", source="five"),
    )
    (table,) = published_tables(Published(rows))
    assert [row.source for row in table.rows] == ["two", "four", "one", "three", "five"]


def test_all_contradictions_of_the_file_are_found(published: Published, every: list[PublishedTable]) -> None:
    pairs = {
        (row.task, row.protocol, row.metric, row.method.partition(" [")[0], row.pretrain_epochs)
        for other in published.rows
        if " [" in other.method
        for row in published.rows
        if row.method == other.method.partition(" [")[0]
        if row.key[1:] == other.key[1:] and row.value != other.value
    }
    found = set()
    for table in every:
        for one in table.contradictions:
            task, metric = published_place(table.task, table.protocol, one.metric)
            found.add((task, table.protocol, metric, one.method, one.pretrain_epochs))
    assert len(pairs) > 20
    assert found == pairs


def test_unconfirmed_values_only_if_asked_for(
    tables: list[PublishedTable], every: list[PublishedTable]
) -> None:
    assert all(row.confirmed for table in tables for row in table.rows)
    for form, draw in FORMS.items():
        text = draw([of(tables, "coco-r50fpn4conv-1x")])
        for line in text.splitlines():
            # that some are left out is said, by their number alone
            assert "unconfirmed" not in line.lower() or "left out" in line, form
        if form in ("table", "markdown", "latex"):
            assert "13 values" in text, form
    (left,) = (table for table in every if table.protocol == "coco-r50fpn4conv-1x")
    assert left.num_left_out == 0 and sum(not row.confirmed for row in left.rows) == 4


@pytest.mark.parametrize("form", ["table", "markdown", "latex"])
def test_unconfirmed_rows_are_always_marked(every: list[PublishedTable], form: str) -> None:
    for table in every[:8]:
        unsure = [row for row in table.rows if not row.confirmed]
        text = FORMS[form]([table])
        assert text.count("(unconfirmed)") == len(unsure)
        assert ("UNCONFIRMED" in text) == bool(unsure)
    assert all(row.confirmed for table in every[8:] for row in table.rows)


def test_unconfirmed_lines_are_marked_for_programs(every: list[PublishedTable]) -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv(every))))
    unsure = [line for line in lines if line["source"].startswith("unconfirmed")]
    assert len(unsure) == 21 and {line["confirmed"] for line in unsure} == {"no"}
    assert sum(line["confirmed"] == "no" for line in lines) == 21
    rows = [row for table in json.loads(render.as_json(every)) for row in table["rows"]]
    assert all(row["confirmed"] != row["source"].startswith("unconfirmed") for row in rows)
    claims = {
        (claim["value"], claim["confirmed"])
        for table in json.loads(render.as_json(every))
        for one in table["contradictions"]
        for claim in one["claims"]
    }
    assert (36.3, False) in claims and (36.1, True) in claims
    assert re.search(r"36\.3 \(S\d+, unconfirmed\)", " ".join(render.as_markdown(every).split()))


def cells_of(row: Quoted, metrics: Sequence[str]) -> list[str]:
    return [f"{row.values[metric].value:.1f}" if metric in row.values else "-" for metric in metrics]


def test_every_form_has_every_row(tables: list[PublishedTable]) -> None:
    table = of(tables, "coco-r50c4-2x")
    expected = [cells_of(row, table.metrics) for row in table.rows]

    markdown = [line for line in render.as_markdown([table]).splitlines() if line.startswith("| ")]
    assert [line.strip("| ").split(" | ")[1:7] for line in markdown[2:]] == expected

    terminal = render.as_table([table])
    assert max(map(len, terminal.splitlines())) <= 100
    number = r"\d+\.\d|-"
    drawn = re.findall(rf"^.*? +({number}) +({number}) +({number}) +({number}) +({number}) +({number}) +-? ",
                       terminal, re.MULTILINE)  # fmt: skip
    assert [list(found) for found in drawn] == expected

    body = [line for line in as_latex([table]).splitlines() if line.endswith(r"\\") and " & " in line]
    rows = [line.removesuffix(r" \\").split(" & ")[1:7] for line in body]
    assert [[cell.replace("--", "-") for cell in row] for row in rows if "box" not in row[0]] == expected

    lines = list(csv.DictReader(io.StringIO(as_csv([table]))))
    assert [(line["weights"], line["metric"], float(line["mean"])) for line in lines] == [
        (row.method, metric, value.value) for row in table.rows for metric, value in row.values.items()
    ]
    assert {line["kind"] for line in lines} == {"published"}
    (again,) = json.loads(render.as_json([table]))
    assert PublishedTable.model_validate(again) == table


@pytest.fixture(scope="module")
def shuffled(published: Published) -> list[PublishedTable]:
    rows = random.Random(0).sample(published.rows, len(published.rows))
    return published_tables(Published(tuple(rows)), unconfirmed=True)


@pytest.mark.parametrize("form", FORMS)
def test_equal_files_give_equal_bytes_in_any_order(
    every: list[PublishedTable], shuffled: list[PublishedTable], form: str
) -> None:
    assert every == shuffled
    text = FORMS[form](every[4:8])
    assert text == FORMS[form](shuffled[4:8])
    assert text.endswith("\n") and "\r" not in text and "\x1b" not in text


@pytest.mark.parametrize("form", ["table", "markdown", "latex"])
def test_each_row_refers_to_its_source(tables: list[PublishedTable], form: str) -> None:
    table = of(tables, "coco-r50fpn-2x")
    text = FORMS[form]([table])
    lines = [line for line in text.splitlines() if re.search(r" S\d+( N\d+)?( \||\s*\\\\)?$", line)]
    assert len(lines) == len(table.rows)
    for line, row in zip(lines, table.rows, strict=True):
        assert line.removeprefix("| ").startswith(row.method)
        source = row.source.replace("_", r"\_").replace('"', "''") if form == "latex" else row.source
        (mark,) = re.findall(rf"(S\d+)(?:: |\] ){re.escape(source)}$", text, re.MULTILINE)
        assert re.search(rf"\b{mark}\b", line)
