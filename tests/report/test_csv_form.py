"""One line a number: full precision, intervals and ranks, and published values apart from ours."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

from bench.core.records import Record
from bench.report import render
from bench.report.csv_form import CSV_COLUMNS, as_csv
from bench.report.leaderboard import Leaderboard
from bench.report.published import read_published
from bench.report.published_tables import published_tables
from bench.report.tables import leaderboards
from tests.helpers.records import make_record, make_trials

T_OF_2 = 4.302652729749
"""Student's t, 2 degrees of freedom, two-sided 95 %: the closed form is 0.95 sqrt(2 / (1 - 0.95^2))."""


def sample() -> list[Record]:
    return [
        *make_trials("resnet50.random", [33.0, 33.2, 33.4]),
        *make_trials("resnet50.supervised_torchvision", [54.0, 54.2, 54.4]),
        *make_trials("resnet50.pirl_ep200", [54.1, 54.2, 54.3]),
        *make_trials("resnet50.moco_v2_ep200", [56.9, 57.1, 57.0]),
        *make_trials("resnet50.infomin_ep200", [57.6]),
    ]


def tables(records: list[Record], *, beside: bool = False) -> list[Leaderboard]:
    return leaderboards(records, published=read_published() if beside else None)


def lines(records: list[Record], *, beside: bool = False) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(tables(records, beside=beside)))))


def of(found: list[dict[str, str]], weights: str, kind: str, metric: str = "AP") -> dict[str, dict[str, str]]:
    """Lines by baseline, which is empty for a measured one."""
    wanted = (f"resnet50.{weights}", kind, metric)
    return {
        line["baseline"]: line for line in found if (line["weights"], line["kind"], line["metric"]) == wanted
    }


def test_full_precision() -> None:
    values = [1 / 3, 2 / 7, 57.123456789012345]
    records = make_trials("resnet50.random", values)
    (table,) = json.loads(render.as_json(tables(records)))
    assert table["rows"][0]["cells"]["AP"]["values"] == values
    main = of(lines(records), "random", "measured")[""]
    assert float(main["mean"]) == table["rows"][0]["cells"]["AP"]["mean"]
    assert float(main["std"]) == table["rows"][0]["cells"]["AP"]["std"]
    assert main["records"].split() == [record.id for record in records]


def test_intervals_of_means() -> None:
    assert math.sqrt(2 / (1 - 0.95**2)) * 0.95 == pytest.approx(T_OF_2)
    found = lines(sample())
    for metric, middle in (("AP", 57.0), ("AP50", 82.0), ("AP75", 63.0)):
        line = of(found, "moco_v2_ep200", "measured", metric)[""]
        reach = T_OF_2 * 0.1 / math.sqrt(3)
        ends = float(line["interval_low"]), float(line["interval_high"])
        assert ends == pytest.approx((middle - reach, middle + reach))
    single = of(found, "infomin_ep200", "measured")[""]
    assert single["interval_low"] == single["interval_high"] == single["std"] == ""


def test_ranks_are_on_lines_of_the_main_metric_alone() -> None:
    found = lines(sample())
    ranks = {
        (line["weights"].removeprefix("resnet50."), line["metric"]): (line["rank_best"], line["rank_worst"])
        for line in found
        if line["kind"] == "measured"
    }
    assert ranks["moco_v2_ep200", "AP"] == ("1", "1")
    assert ranks["pirl_ep200", "AP"] == ranks["supervised_torchvision", "AP"] == ("2", "3")
    assert ranks["random", "AP"] == ("4", "4")
    assert ranks["infomin_ep200", "AP"] == ("", "")
    assert {rank for (_, metric), rank in ranks.items() if metric != "AP"} == {("", "")}
    assert all(not line["rank_best"] for line in found if line["kind"] == "difference")


def test_differences_say_whether_they_are_beyond_noise() -> None:
    found = lines(sample())
    moco = of(found, "moco_v2_ep200", "difference")
    assert set(moco) == {"resnet50.random", "resnet50.supervised_torchvision"}
    gap = moco["resnet50.supervised_torchvision"]
    assert float(gap["difference"]) == pytest.approx(2.8)
    # sample standard deviations 0.1 and 0.2 of three trials each
    assert float(gap["standard_error"]) == pytest.approx(math.sqrt((0.01 + 0.04) / 3))
    assert gap["beyond_noise"] == "yes" and float(gap["interval_low"]) > 0.0
    middle = (float(gap["interval_low"]) + float(gap["interval_high"])) / 2
    assert middle == pytest.approx(2.8)

    none = of(found, "pirl_ep200", "difference")["resnet50.supervised_torchvision"]
    assert none["beyond_noise"] == "no"
    assert float(none["interval_low"]) < 0.0 < float(none["interval_high"])

    unknown = of(found, "infomin_ep200", "difference")["resnet50.random"]
    assert float(unknown["difference"]) == pytest.approx(24.4)
    assert unknown["beyond_noise"] == unknown["standard_error"] == unknown["interval_low"] == ""


def test_published_values_stay_out_of_our_identities() -> None:
    records = [*sample(), make_record(status="substituted", identity="bn", departures=("BN",))]
    published = [line for line in lines(records, beside=True) if line["kind"] == "published"]
    assert len(published) == 141, "once, though two tables show them"
    for line in published:
        assert line["source"] and not line["identity"] and not line["status"]
        assert not line["interval_low"] and not line["rank_best"] and not line["beyond_noise"]


def test_a_table_of_published_values_alone_has_the_lines_of_one_beside_ours() -> None:
    published = published_tables(read_published(), protocol="voc0712-r50c4-24k")
    alone = list(csv.DictReader(io.StringIO(as_csv(published))))
    beside = [line for line in lines(sample(), beside=True) if line["kind"] == "published"]

    def order(found: list[dict[str, str]]) -> list[tuple[str, ...]]:
        return sorted(tuple(line.values()) for line in found)

    assert order(alone) == order(beside)


def test_a_value_that_another_source_contradicts_names_the_other() -> None:
    published = published_tables(read_published(), protocol="coco-r50c4-1x")
    found = {
        (line["weights"], line["pretrain_epochs"], line["metric"]): line["contradicted_by"]
        for line in csv.DictReader(io.StringIO(as_csv(published)))
    }
    # three sources of one mask AP, two of them from sources that give the 800 epochs of MoCo v2, too
    assert found["MoCo v2", "200", "mask_ap"] == "33.9 34.1"
    assert found["MoCo v2 [per InsLoc model zoo]", "200", "mask_ap"] == "33.9 34.2"
    assert found["MoCo v2 [per EsViT paper]", "200", "mask_ap"] == "34.1 34.2"
    assert found["MoCo v2", "800", "mask_ap"] == "34.5"
    assert found["MoCo v2", "200", "box_ap50"] == found["InfoMin Aug", "200", "box_ap"] == ""


def test_nothing_gives_the_columns() -> None:
    assert as_csv([]).splitlines() == [",".join(CSV_COLUMNS)]


def test_trials_and_seeds_are_those_that_have_the_metric() -> None:
    records = [
        make_record(seed=0, metrics={"AP": 57.0}),
        make_record(seed=3, metrics={"AP": 56.0, "AP50": 81.0}),
    ]
    found = {line["metric"]: (line["trials"], line["seeds"], line["mean"]) for line in lines(records)}
    assert found == {"AP": ("2", "0 3", "56.5"), "AP50": ("1", "3", "81.0")}


def test_weights_of_one_name_are_told_apart_by_their_label() -> None:
    records = [make_record(file="one"), make_record(file="two")]
    found = [line for line in lines(records) if line["metric"] == "AP"]
    assert {line["weights"] for line in found} == {"resnet50.moco_v2_ep200"}
    assert len({line["label"] for line in found}) == 2
    assert {line["engine"] for line in found} == {"detectron2"}
    assert {line["data_fingerprint"] for line in found} == {records[0].data.fingerprint}


def test_a_published_number_stands_once_though_two_tables_show_it() -> None:
    """One of the two lacks metrics, and with them the remarks on those."""
    one = [make_record("resnet50.random", 0, 33.0)]
    other = [make_record("resnet50.random", 0, metrics={"AP": 33.0}, data="elsewhere", identity="other")]
    alone, both = lines(one, beside=True), lines([*one, *other], beside=True)
    assert len([line for line in alone if line["kind"] == "published"]) > 100
    assert len([line for line in both if line["kind"] == "published"]) == len(
        [line for line in alone if line["kind"] == "published"]
    )
