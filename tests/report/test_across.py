"""Pairs of tables that share weights, and whether they put them into one order."""

from __future__ import annotations

import pytest

from bench.core.records import Record
from bench.report.across import Agreement, TaskPair, agreement, task_pairs
from bench.report.latex import as_latex
from bench.report.render import as_markdown, as_table
from bench.report.tables import leaderboards
from tests.helpers.records import digest, make_record

PROBE = {"task": "linear-probe", "slug": "in1k-linear", "identity": "probe", "main_metric": "top1"}


def detection(name: str, ap: float) -> Record:
    return make_record(f"resnet50.{name}", 0, ap)


def probe(name: str, top1: float) -> Record:
    return make_record(f"resnet50.{name}", 0, metrics={"top1": top1}, **PROBE)  # type: ignore[arg-type]


def pairs(*records: Record) -> list[TaskPair]:
    return task_pairs(leaderboards(records))


def test_tau_of_the_weights_that_both_have() -> None:
    aps, tops = {"a": 50.0, "b": 51.0, "c": 52.0, "d": 53.0}, {"a": 60.0, "b": 62.0, "c": 61.0, "e": 70.0}
    (pair,) = pairs(
        *(detection(name, ap) for name, ap in aps.items()), *(probe(name, top) for name, top in tops.items())
    )
    assert (pair.first.task, pair.second.task) == ("linear-probe", "voc-det")
    assert (pair.first.metric, pair.second.metric) == ("top1", "AP")
    assert dict(zip(pair.labels, zip(pair.first_means, pair.second_means, strict=True), strict=True)) == {
        "resnet50.a": (60.0, 50.0), "resnet50.b": (62.0, 51.0), "resnet50.c": (61.0, 52.0),
    }  # fmt: skip
    # of three pairs, two agree: (2 - 1) / 3
    assert pair.tau == pytest.approx(1 / 3)


def test_two_weights_have_no_tau_and_one_is_no_pair() -> None:
    both = [detection("a", 50.0), detection("b", 51.0), probe("a", 60.0)]
    assert pairs(*both) == []
    (pair,) = pairs(*both, probe("b", 59.0))
    assert pair.tau is None and pair.p_value is None and len(pair.labels) == 2


def test_where_less_is_better_tau_is_turned() -> None:
    records = [detection(name, 50.0 + at) for at, name in enumerate("abc")]
    errors = [probe(name, 30.0 - at) for at, name in enumerate("abc")]
    turned = [
        record.model_copy(
            update={
                "metrics": {"top1": record.metrics["top1"].model_copy(update={"higher_is_better": False})}
            }
        )
        for record in errors
    ]
    (plain,), (less,) = pairs(*records, *errors), pairs(*records, *turned)
    assert plain.tau == pytest.approx(-1.0) and less.tau == pytest.approx(1.0)


def told(num: int) -> list[Agreement]:
    """Two tables that agree on all weights but the first."""
    records = [detection(f"w{at}", 50.0 + at) for at in range(num)]
    records += [probe(f"w{at}", 60.0 + at if at else 99.0) for at in range(num)]
    return agreement(leaderboards(records))


def test_every_form_for_people_tells_tau_its_p_and_that_few_weights_are_few() -> None:
    for make in (as_table, as_markdown, as_latex):
        text, many = make(told(4)), make(told(7))
        assert "linear-probe top1 (in1k-linear) / voc-det AP" in text
        assert "0.00" in text and "1.000" in text and "fewer than 6 weights" in text
        # of 21 pairs, the six with the first weights disagree
        assert f"{(15 - 6) / 21:+.2f}".lstrip("+") in many and "fewer than" not in many


def test_without_a_tau_there_is_no_table_of_them() -> None:
    assert told(2) == []


def test_two_tables_of_one_protocol_are_told_apart_by_their_identity() -> None:
    records = [
        make_record(f"resnet50.{name}", 0, 50.0 + at, identity=identity)
        for at, name in enumerate("abc")
        for identity in ("one", "other")
    ]
    text = as_table(agreement(leaderboards(records)))
    assert all(digest(f"identity of {identity}")[:8] in text for identity in ("one", "other"))
