"""What is drawn where: points by their numbers, baselines, intervals, bars, curves."""

from __future__ import annotations

from typing import Any

import pytest
from defusedxml import ElementTree

from bench.core.records import Record
from bench.report.across import task_pairs
from bench.report.html import svg
from bench.report.html.chart_details import MAX_CLASSES, MAX_CURVES, classes_chart, curves_chart
from bench.report.html.charts import Chart, agreement_words, epochs_chart, scatter
from bench.report.html.curves import Curve
from bench.report.leaderboard import Leaderboard
from bench.report.published import Quoted, QuotedValue
from bench.report.tables import leaderboards
from tests.helpers.records import make_record, make_trials


def only(*records: Record) -> Leaderboard:
    (board,) = leaderboards(records)
    return board


def elements(chart: Chart | None, class_: str = "", tag: str = "") -> list[Any]:
    """Of a chart, those of a class and a tag, without what is in `defs`."""
    assert chart is not None
    root = ElementTree.fromstring(chart.svg)
    found = [each for each in root.iter() if class_ in (each.get("class") or "")]
    return [each for each in found if each.tag.rpartition("}")[2].startswith(tag)]


def titles(chart: Chart | None) -> list[str]:
    return [each.text for each in elements(chart, tag="title")]


def published(method: str, ap: float, epochs: int | None = 200, **more: Any) -> Quoted:
    return Quoted(
        **{
            "method": method, "arch": "ResNet-50", "pretrain_data": "ImageNet-1K", "labels_used": "none",
            "pretrain_epochs": epochs, "trials": 5, "source": f"paper of {method}", "confirmed": True,
            "notes": (), "values": {"AP": QuotedValue(value=ap, std=None)}, **more,
        }
    )  # fmt: skip


BOARD = only(
    *make_trials("resnet50.moco_v2_ep200", [56.9, 57.1, 57.0]),
    *make_trials("resnet50.moco_v2_ep800", [57.4]),
    *make_trials("resnet50.supervised_torchvision", [54.0, 54.2]),
    *make_trials("resnet50.random", [33.5, 33.9]),
    *make_trials("resnet50.of_no_epochs", [50.0]),
).model_copy(
    update={
        "published": (
            published("MoCo v2", 57.0),
            published("Of no epochs", 40.0, None),
            published("On COCO", 55.0, 800, pretrain_data="COCO"),
            published("Supervised", 53.5, 90, labels_used="imagenet"),
            published("Doubtful", 58.0, 400, confirmed=False),
        )
    }
)


def test_epochs_against_ap_has_what_says_its_epochs() -> None:
    chart = epochs_chart(BOARD)
    assert titles(chart) == [
        "MoCo v2, 200 epochs of ImageNet-1K: 57.0. Published: paper of MoCo v2",
        "On COCO, 800 epochs of COCO: 55.0. Published: paper of On COCO",
        "Supervised, 90 epochs of ImageNet-1K: 53.5. Published: paper of Supervised",
        "Doubtful, 400 epochs of ImageNet-1K: 58.0. Published: UNCONFIRMED. paper of Doubtful",
        "resnet50.moco_v2_ep800: 57.4, 1 trials",
        "resnet50.moco_v2_ep200: 57.0, 3 trials, 95 % interval 56.8 to 57.2",
    ]
    kinds = [each.get("class") for each in elements(chart, "hollow")]
    assert len(set(kinds)) == 4 and all("pub" in kind.split() for kind in kinds)
    # shape tells what colour tells
    shapes = {len(each.get("points").split()) for each in elements(chart, "hollow", "polygon")}
    assert shapes == {3, 4, 12}


def test_points_lie_by_their_numbers() -> None:
    chart = epochs_chart(BOARD)
    short, long = sorted(elements(chart, "full", "circle"), key=lambda each: float(each.get("cx")))
    assert float(short.get("cx")) < float(long.get("cx"))
    assert float(long.get("cy")) < float(short.get("cy"))  # 57.4 is above 57.0
    # 200 to 400 and 400 to 800 are equally far on a logarithmic axis
    ticks = {each.text: float(each.get("x")) for each in elements(chart, "tick", "text")}
    assert ticks["400"] - ticks["200"] == pytest.approx(ticks["800"] - ticks["400"], abs=0.2)
    assert float(short.get("cx")) == pytest.approx(ticks["200"], abs=0.1)


def test_an_interval_is_a_bar_of_its_length_within_the_axes() -> None:
    (bar,) = elements(epochs_chart(BOARD), "bar")
    y = {float(each.text): float(each.get("y")) - 4 for each in elements(epochs_chart(BOARD), "tick", "text")
         if each.get("text-anchor") == "end"}  # fmt: skip
    pixels_a_point = (y[54.0] - y[58.0]) / 4.0
    low, high = BOARD.rows[1].cells["AP"].interval or (0.0, 0.0)
    drawn = abs(float(bar.get("y1")) - float(bar.get("y2")))
    assert drawn == pytest.approx((high - low) * pixels_a_point, abs=0.3)
    wide = only(*make_trials("resnet50.a_ep100", [50.0, 60.0]), *make_trials("resnet50.b_ep200", [55.0]))
    (bar,) = elements(epochs_chart(wide), "bar")
    assert float(bar.get("y2")) > svg.TOP - 1 and float(bar.get("y1")) < svg.HEIGHT - svg.BOTTOM + 1


def test_a_bar_that_is_cut_and_networks_that_are_not_drawn_are_told() -> None:
    chart = epochs_chart(BOARD)
    assert chart is not None and "edge" not in chart.caption and "other networks" not in chart.caption
    half = published("Half of the width", 48.0, arch="ResNet-50 x0.5")
    wide = only(*make_trials("resnet50.a_ep100", [50.0, 60.0]), *make_trials("resnet50.b_ep200", [55.0]))
    chart = epochs_chart(wide.model_copy(update={"published": (half, published("MoCo v2", 57.0))}))
    assert chart is not None and "edge" in chart.caption and "1 published rows of other" in chart.caption
    assert not any("Half" in title for title in titles(chart))


def test_a_baseline_is_a_line_and_one_far_off_is_told() -> None:
    chart = epochs_chart(BOARD)
    assert chart is not None
    assert len(elements(chart, "baseline", "line")) == 1
    assert "random, 33.7" in chart.caption and "random" not in str(chart.keys)
    assert any("supervised_torchvision: 54.1" in key.text for key in chart.keys)


def test_no_chart_of_a_single_point() -> None:
    assert epochs_chart(only(make_record("resnet50.moco_v2_ep200"), make_record("resnet50.random"))) is None


def test_a_substituted_table_says_that_published_rows_are_another() -> None:
    chart = epochs_chart(BOARD.model_copy(update={"status": "substituted"}))
    assert chart is not None and "near, not equal" in chart.caption


PROBE: Any = {"task": "linear-probe", "slug": "in1k-linear", "identity": "probe", "main_metric": "top1"}


def both(name: str, ap: float, top1: float) -> list[Record]:
    weights = f"resnet50.{name}"
    return [make_record(weights, 0, ap), make_record(weights, 0, metrics={"top1": top1}, **PROBE)]


def test_task_against_task() -> None:
    boards = leaderboards(
        [*both("a", 50.0, 60.0), *both("b", 52.0, 64.0), *both("c", 54.0, 62.0), *both("random", 30.0, 4.0)]
    )
    (pair,) = task_pairs([boards[0], boards[1].model_copy(update={"status": "custom"})])
    chart = scatter(pair)
    assert chart.title == "voc-det against linear-probe"
    # of 6 pairs 5 agree: tau = 4 / 6
    assert "tau +0.67 over 4 weights" in chart.caption and "Fewer than 6" in chart.caption
    assert "random, 4.0 and 30.0" in chart.caption
    assert "(voc0712-r50c4-24k, custom)" in chart.caption and "(in1k-linear)." in chart.caption
    found = {title.partition(":")[0] for title in titles(chart)}
    assert found == {"resnet50.a", "resnet50.b", "resnet50.c"}
    points = sorted(
        (float(each.get("cx")), float(each.get("cy"))) for each in elements(chart, "full", "circle")
    )
    # from left to right a, c, b by top1; c is the highest by AP, a the lowest
    assert points[1][1] < points[2][1] < points[0][1]
    assert {each.text for each in elements(chart, "point", "text")} == {"a", "b", "c"}


def test_two_weights_agree_on_nothing() -> None:
    (pair,) = task_pairs(leaderboards([*both("a", 50.0, 60.0), *both("b", 52.0, 64.0)]))
    assert "too few" in agreement_words(pair) and "tau" not in agreement_words(pair)


def test_names_do_not_hide_each_other() -> None:
    close = [record for place in range(8) for record in both(f"same{place}", 50.0 + place / 1000, 60.0)]
    (pair,) = task_pairs(leaderboards([*close, *both("far", 60.0, 70.0)]))
    labels = elements(scatter(pair), "point", "text")
    rows = sorted((float(each.get("y")), each.get("text-anchor")) for each in labels)
    assert 2 <= len(labels) < 9 and len(set(rows)) == len(rows)


def with_classes(weights: str, ap: float, scores: dict[str, float], **more: Any) -> Record:
    details = {"per_class": {name: {"AP": score, "AP50": 99.0} for name, score in scores.items()}}
    return make_record(weights, more.pop("seed", 0), ap, details=details, **more)


def test_bars_of_classes_are_means_over_trials() -> None:
    chart = classes_chart(
        board := only(
            *(records := [
                with_classes("resnet50.best", 57.0, {"cat": 60.0, "dog": 40.0}),
                with_classes("resnet50.best", 57.0, {"cat": 64.0, "dog": 40.0}, seed=1),
                with_classes("resnet50.random", 30.0, {"cat": 20.0, "dog": 30.0}),
            ])
        ),
        {record.id: record for record in records},
    )  # fmt: skip
    assert board.rows[0].name == "resnet50.best"
    assert titles(chart) == [
        "cat, best: 62.0", "cat, random: 20.0", "dog, best: 40.0", "dog, random: 30.0",
    ]  # fmt: skip
    cat, dog = elements(chart, "block", "rect")
    assert float(cat.get("width")) / float(dog.get("width")) == pytest.approx(62 / 40, abs=0.01)


def test_iou_of_classes_and_a_class_without_a_number() -> None:
    details = {"per_class": {"sky": {"IoU": 70.0, "accuracy": 80.0}, "absent": {}}}
    record = make_record(metrics={"mIoU": 70.0}, main_metric="mIoU", details=details)
    assert titles(classes_chart(only(record), {record.id: record})) == ["sky, moco_v2_ep200: 70.0"]


def test_of_many_classes_the_middle_is_left_out_and_said() -> None:
    scores = {f"class {place:03}": float(place) for place in range(100)}
    record = with_classes("resnet50.best", 50.0, scores)
    chart = classes_chart(only(record), {record.id: record})
    shown = [title.partition(",")[0] for title in titles(chart)]
    assert len(shown) == MAX_CLASSES and shown[0] == "class 099" and shown[-1] == "class 000"
    assert chart is not None and f"{100 - MAX_CLASSES} in between" in chart.caption


def test_no_bars_where_records_keep_no_classes() -> None:
    record = make_record(details={"per_class": "broken"})
    assert classes_chart(only(record), {record.id: record}) is None


def test_curves_of_the_best_rows_with_shape_and_dash() -> None:
    records = [make_record(f"resnet50.m{place}", 0, 57.0 - place) for place in range(9)]
    curves = {record.id: Curve((100, 200), (2.0, 1.0 + place)) for place, record in enumerate(records)}
    chart = curves_chart(only(*records), curves)
    assert chart is not None
    lines = elements(chart, "curve", "polyline")
    assert len(lines) == MAX_CURVES == 7 and "2 further rows" in chart.caption
    assert len({each.get("stroke-dasharray") for each in lines}) == 7
    assert titles(chart)[:2] == ["m0, seed 0: 1 at the end", "m1, seed 0: 2 at the end"]
    ends = [float(each.get("points").split()[-1].split(",")[1]) for each in lines]
    assert ends == sorted(ends, reverse=True)  # a higher loss is higher up


def test_a_steep_loss_is_drawn_by_its_logarithm() -> None:
    record = make_record()
    chart = curves_chart(only(record), {record.id: Curve((1, 2, 3), (1e6, 1e3, 1.0))})
    (line,) = elements(chart, "curve", "polyline")
    heights = [float(place.split(",")[1]) for place in line.get("points").split()]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.2)


def test_no_curves_without_a_log() -> None:
    assert curves_chart(BOARD, {}) is None
