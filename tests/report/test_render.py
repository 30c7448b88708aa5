"""The four forms: what they say, rounding, and equal bytes for equal input."""

from __future__ import annotations

import json

import pytest

from bench.core.records import Record
from bench.report import render
from bench.report.csv_form import as_csv
from bench.report.grid import mean_and_std, number
from bench.report.leaderboard import Leaderboard
from bench.report.published import Published, read_published
from bench.report.published_tables import published_tables
from bench.report.tables import leaderboards
from tests.helpers.records import make_record, make_trials

FORMS = {
    "table": render.as_table,
    "markdown": render.as_markdown,
    "csv": as_csv,
    "json": render.as_json,
}


def sample() -> list[Record]:
    return [
        *make_trials("resnet50.random", [33.51, 33.93, 33.77, 34.02, 33.61]),
        *make_trials("resnet50.supervised_torchvision", [54.0, 54.3, 54.2, 54.1, 54.4]),
        *make_trials("resnet50.moco_v2_ep200", [56.9, 57.1, 57.0]),
        *make_trials("resnet50.infomin_ep200", [57.6]),
    ]


def tables(records: list[Record], *, beside: bool = False) -> list[Leaderboard]:
    return leaderboards(records, published=read_published() if beside else None)


@pytest.mark.parametrize(
    ("value", "plain", "signed"),
    [
        (57.04, "57.0", "+57.0"), (57.06, "57.1", "+57.1"), (0.631, "0.63", "+0.63"),
        (-0.3, "-0.30", "-0.30"),
        (1.0, "1.0", "+1.0"), (0.999, "1.00", "+1.00"), (0.0, "0.00", "+0.00"), (-0.001, "0.00", "+0.00"),
        (-20.5, "-20.5", "-20.5"),
    ],
)  # fmt: skip
def test_one_decimal_and_two_below_one(value: float, plain: str, signed: str) -> None:
    assert number(value) == plain
    assert number(value, signed=True) == signed


def test_mean_and_std() -> None:
    assert mean_and_std(57.04, 0.16) == "57.0 ± 0.2"
    assert mean_and_std(0.63, 0.055) == "0.63 ± 0.06"
    assert mean_and_std(57.04, None) == "57.0"


@pytest.mark.parametrize("form", FORMS)
def test_equal_input_gives_equal_bytes(form: str) -> None:
    first = FORMS[form](tables(sample(), beside=True))
    again = FORMS[form](tables(sample()[::-1], beside=True))
    assert first.encode() == again.encode()
    assert first.endswith("\n") and "\r" not in first and "\x1b" not in first


def test_terminal_table_without_published_rows() -> None:
    text = render.as_table(tables(sample()))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0] == "voc-det (task version 2), voc0712-r50c4-24k: exact"
    assert "AP rule: voc07_11point" in text and "trainval 16,551" in text
    rows = [line.split() for line in lines if line.startswith(("infomin", "moco", "supervised", "random"))]
    assert [row[0] for row in rows] == ["infomin_ep200", "moco_v2_ep200", "supervised_torchvision", "random"]
    assert rows[0] == ["infomin_ep200", "57.6", "82.6", "63.6", "1*", "-", "+23.8", "+3.4"]
    means = "57.0 ± 0.1 82.0 ± 0.1 63.0 ± 0.1"
    assert " ".join(rows[1][1:]) == f"{means} 3* 1 +23.2 (0.1) +2.8 (0.1)"
    assert "few trials" in text and "published" not in text


def test_enough_trials_are_not_called_few() -> None:
    assert "few trials" not in render.as_table(tables(make_trials("resnet50.random", [1.0, 2, 3, 4, 5])))


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_published_rows_stand_apart_with_their_sources(form: str) -> None:
    text = FORMS[form](tables(sample(), beside=True))
    ours, _, rest = text.partition("published:")
    assert "infomin_ep200" in ours and "InfoMin Aug" not in ours
    assert "InfoMin Aug, 200 ep" in rest
    assert "facebookresearch/moco detection/README.md @34020351" in rest
    if form == "table":
        assert max(map(len, text.splitlines())) <= 100
        # the differences have a table of their own, with our rows only
        assert rest.count("moco_v2_ep200") == 1


def test_custom_says_why_there_are_no_published_rows() -> None:
    records = make_trials("resnet50.random", [0.5], status="custom", departures=("steps: 40", "data: synth"))
    for form in ("table", "markdown"):
        text = FORMS[form](tables(records, beside=True))
        assert "No published rows: this protocol is custom" in text
        assert "steps: 40" in text and "data: synth" in text
        assert "InfoMin" not in text


def test_substituted_is_marked() -> None:
    record = make_record(status="substituted", departures=("BN for SyncBN",))
    text = render.as_table(tables([record], beside=True))
    assert ": substituted" in text and "published, without our substitution:" in text


def test_unconfirmed_rows_are_marked() -> None:
    metrics = {"box_ap": 38.0, "mask_ap": 34.0}
    classes = [str(index) for index in range(80)]
    record = make_record(
        task="coco-instseg",
        slug="coco-r50fpn4conv-1x",
        metrics=metrics,
        main_metric="box_ap",
        classes=classes,
    )
    both = [
        render.as_table(leaderboards([record], published=read_published(), unconfirmed=wanted))
        for wanted in (False, True)
    ]
    assert "unconfirmed" not in both[0].lower()
    assert "(unconfirmed)" in both[1] and "UNCONFIRMED" in both[1]


def test_json_has_full_precision() -> None:
    values = [1 / 3, 2 / 7, 57.123456789012345]
    (table,) = json.loads(render.as_json(tables(make_trials("resnet50.random", values))))
    assert table["rows"][0]["cells"]["AP"]["values"] == values


def test_nothing_gives_nothing() -> None:
    assert render.as_json([]) == "[]\n"
    assert render.as_table([]) == "" and render.as_markdown([]) == ""


def test_text_from_a_record_cannot_act() -> None:
    record = make_record(status="custom", departures=("a\x1b[2Jb", "[bold]<b>|*x*"), data="d\n| e |")
    table = render.as_table(tables([record]))
    assert "\x1b" not in table and "a?[2Jb" in table and "[bold]<b>|*x*" in table
    assert "\\[bold\\]\\<b\\>\\|\\*x\\*" in render.as_markdown(tables([record]))
    assert "d?\\| e \\|" in render.as_markdown(tables([record]))


def test_names_cannot_act_either() -> None:
    name = "a\x1b[2J|b"
    record = make_record(name, metrics={name: 50.0}, main_metric=name, task=name, slug=name)
    row = read_published().rows[0]
    published = Published((row.model_copy(update={"method": name, "source": name}),))
    for table in (*tables([record]), *published_tables(published)):
        text = render.as_table([table])
        assert "\x1b" not in text and text.count("a?[2J|b") >= 2
        markdown = render.as_markdown([table])
        assert "\x1b" not in markdown and markdown.count(r"a?\[2J\|b") >= 2
        rows = [line for line in markdown.splitlines() if line.startswith("| ")]
        assert len({line.replace(r"\|", "").count("|") for line in rows}) == 1


def test_finer_cuts_are_left_to_the_forms_for_programs() -> None:
    """Twelve columns are too many for a terminal."""
    names = [f"{kind}_ap{cut}" for kind in ("box", "mask") for cut in ("", "50", "75", "_small", "_large")]
    record = make_record(
        task="coco-instseg", metrics=dict.fromkeys(names, 12.5), main_metric="mask_ap", slug="coco-r50c4-1x"
    )
    (table,) = tables([record])
    assert table.metrics[:6] == ("mask_ap", "box_ap", "box_ap50", "box_ap75", "mask_ap50", "mask_ap75")
    text = render.as_markdown([table])
    header = next(line for line in text.splitlines() if line.startswith("| weights"))
    assert "small" not in header and "mask" in header
    assert "mask\\_ap\\_small" in text or "mask_ap_small" in text
    assert all(name in as_csv([table]) for name in names)
