"""Which rows are held against which published ones, and what is allowed between them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from bench.report.leaderboard import Leaderboard
from bench.report.published import plain_method, read_published
from bench.report.reproduction import TOLERANCE, Verdict
from bench.report.tables import leaderboards
from pretrain.api import METHODS
from tests.helpers.records import make_trials

NAMES = {"moco_v2": ("MoCo v2",), "infomin": ("InfoMin Aug",)}


def table(weights: str, aps: Sequence[float], *, unconfirmed: bool = False, **more: object) -> Leaderboard:
    records = make_trials(weights, aps, **more)
    (found,) = leaderboards(records, published=read_published(), unconfirmed=unconfirmed, methods=NAMES)
    return found


def moco(*aps: float) -> tuple[Verdict, ...]:
    return table("resnet50.moco_v2_ep200", aps).verdicts


def test_the_same_method_and_epochs_are_compared_with_each_source() -> None:
    quoted = [
        entry
        for entry in table("resnet50.moco_v2_ep200", [57.0]).published or ()
        if plain_method(entry.method) == "MoCo v2" and entry.pretrain_epochs == 200 and entry.confirmed
    ]
    found = moco(57.0)
    assert quoted and sorted(verdict.source for verdict in found) == sorted(entry.source for entry in quoted)
    assert {(verdict.label, verdict.metric, verdict.here) for verdict in found} == {
        ("resnet50.moco_v2_ep200", "AP", 57.0)
    }


def test_epochs_may_stand_before_or_behind() -> None:
    found = table("resnet50.moco_v2_200ep", [57.0]).verdicts
    assert [verdict.published for verdict in found] == [verdict.published for verdict in moco(57.0)]


def test_a_source_that_contradicts_another_is_held_too() -> None:
    found = table("resnet50.moco_v2_ep800", [57.5]).verdicts
    assert {verdict.published for verdict in found} >= {57.4, 57.6}


def test_near_is_within_and_far_is_not() -> None:
    (near,) = {verdict for verdict in moco(57.0) if verdict.published == 57.0}
    assert near.within and near.difference == 0.0 and near.tolerance == TOLERANCE
    (far,) = {verdict for verdict in moco(54.0) if verdict.published == 57.0}
    assert not far.within and far.difference == -3.0


def test_trials_that_spread_allow_more() -> None:
    aps = [55.0, 56.0, 57.0, 58.0, 59.0]
    (wide,) = {verdict for verdict in moco(*aps) if verdict.published == 57.0}
    assert wide.tolerance == pytest.approx(2.0 * math.sqrt(2.5 / 5))


@pytest.mark.parametrize(
    "weights",
    [
        "resnet50.moco_v2",
        "resnet50.moco_v2_ep199",
        "resnet50.moco_v2_199ep",
        "resnet50.mine",
        "resnet50.moco_v2_ep200_mine",
        "resnet18.moco_v2_ep200",
    ],
)
def test_other_epochs_methods_and_architectures_are_not_compared(weights: str) -> None:
    assert table(weights, [57.0]).verdicts == ()


@pytest.mark.parametrize("status", ["substituted", "custom"])
def test_a_protocol_that_was_not_followed_reproduces_nothing(status: str) -> None:
    assert table("resnet50.moco_v2_ep200", [57.0], status=status).verdicts == ()


def test_random_weights_are_held_against_no_pretraining() -> None:
    found = table("resnet50.random", [33.8, 33.7]).verdicts
    assert found and {(verdict.method, verdict.epochs) for verdict in found} == {("Random init", 0)}


def test_no_published_rows_no_verdict() -> None:
    (found,) = leaderboards(make_trials("resnet50.moco_v2_ep200", [57.0]), methods=NAMES)
    assert found.verdicts == ()


def test_an_unconfirmed_source_is_said_to_be_one() -> None:
    found = table("resnet50.moco_v2_ep200", [57.0], unconfirmed=True).verdicts
    confirmed = table("resnet50.moco_v2_ep200", [57.0]).verdicts
    assert all(verdict.confirmed for verdict in confirmed)
    assert [verdict for verdict in found if verdict.confirmed] == list(confirmed)


def test_every_name_that_a_method_has_elsewhere_is_in_the_file() -> None:
    printed = {row.method for row in read_published().rows}
    for name, entry in METHODS:
        assert set(entry.published_as) <= printed, name
