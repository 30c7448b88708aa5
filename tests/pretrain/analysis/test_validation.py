"""The table of bounds beside the truth: what it claims of estimators, and that it is put together rightly."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import pytest
import torch

from bench.core.errors import UsageError
from pretrain.analysis import validation
from pretrain.analysis.critics import OBJECTIVES
from pretrain.analysis.mutual_information import BOUNDS
from pretrain.analysis.toys import CorrelatedGaussians, SharedFactors, Toy
from pretrain.analysis.validation import Scorer, ValidationRow, validate

GAUSSIANS = CorrelatedGaussians(2, 0.9)
FACTORS = SharedFactors((4, 3, 2), (0, 1), (1, 0, 2), (3,))
TOYS: list[Toy] = [GAUSSIANS, FACTORS]
CANDIDATES = (4, 32, 256)


@pytest.fixture(scope="module")
def rows() -> list[ValidationRow]:
    return validate(TOYS, CANDIDATES, [0], num_pairs=2048, num_steps=100)


def chosen(rows: list[ValidationRow], toy: Toy, critic: str, bound: str) -> list[ValidationRow]:
    return [row for row in rows if (row.toy, row.critic, row.bound) == (toy.name, critic, bound)]


@pytest.mark.parametrize("critic", ["optimal", "trained"])
@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.name)
def test_i_nce_is_below_the_truth_and_nears_it_with_more_candidates(
    rows: list[ValidationRow], toy: Toy, critic: str
) -> None:
    found = chosen(rows, toy, critic, "info_nce")
    assert [row.num_candidates for row in found] == [*CANDIDATES]
    for row in found:
        assert row.truth == toy.true_information
        assert row.mean <= math.log(row.num_candidates)
        assert row.mean <= toy.true_information + 0.03
    assert found[0].mean < found[1].mean - 0.2 < found[2].mean - 0.2
    assert toy.true_information - found[2].mean < 0.15


@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.name)
def test_nwj_and_js_are_near_the_truth_by_the_best_critic_and_not_above_by_a_trained_one(
    rows: list[ValidationRow], toy: Toy
) -> None:
    for bound in ("nwj", "js"):
        for row in chosen(rows, toy, "optimal", bound)[1:]:
            assert row.mean == pytest.approx(toy.true_information, abs=0.1)
        for row in chosen(rows, toy, "trained", bound)[1:]:
            assert row.mean < toy.true_information + 0.1
            assert row.mean > 0.4 * toy.true_information


def test_club_is_there_for_gaussians_alone_and_above_the_truth(rows: list[ValidationRow]) -> None:
    found = [row for row in rows if row.bound == "club"]
    assert {(row.toy, row.critic) for row in found} == {(GAUSSIANS.name, "optimal")}
    assert len(found) == len(CANDIDATES)
    assert all(row.mean > row.truth + 1.0 for row in found)


def test_rows_stand_by_toy_critic_candidates_and_bound(rows: list[ValidationRow]) -> None:
    expected = [
        (toy.name, critic, k, bound)
        for toy in TOYS
        for critic in ("optimal", "trained")
        for k in CANDIDATES
        for bound in [*BOUNDS, *(["club"] if (toy is GAUSSIANS and critic == "optimal") else [])]
    ]
    assert [(row.toy, row.critic, row.num_candidates, row.bound) for row in rows] == expected


def test_the_error_is_that_of_the_mean_over_seeds_and_seeds_are_apart() -> None:
    seeds = (3, 5, 8)
    single = [validate([FACTORS], [8], [seed], num_pairs=64, num_steps=2) for seed in seeds]
    together = validate([FACTORS], [8], seeds, num_pairs=64, num_steps=2)
    for row, *alone in zip(together, *single, strict=True):
        values = [one.mean for one in alone]
        assert row.mean == pytest.approx(fmean(values), abs=1e-12)
        assert row.standard_error == pytest.approx(stdev(values) / math.sqrt(3), abs=1e-12)
        assert len(set(values)) == 3
        assert all(one.standard_error is None for one in alone)


def test_a_critic_is_trained_once_for_a_toy_an_objective_and_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, int, int]] = []

    def train(toy: Toy, *, objective: str, seed: int, num_steps: int) -> Scorer:
        asked.append((toy.name, objective, seed, num_steps))
        return toy.optimal_scores

    monkeypatch.setattr(validation, "train_critic", train)
    rows = validate(TOYS, [4, 8], [3, 7], num_pairs=64, num_steps=11)
    assert sorted(asked) == sorted(
        (toy.name, objective, seed, 11) for toy in TOYS for objective in OBJECTIVES for seed in (3, 7)
    )
    # All critics are asked about the same pairs.
    means = {(row.toy, row.critic, row.num_candidates, row.bound): row.mean for row in rows}
    for toy in TOYS:
        assert means[toy.name, "trained", 8, "info_nce"] == means[toy.name, "optimal", 8, "info_nce"]


def test_it_reports_each_toy_and_seed_and_leaves_randomness_alone() -> None:
    before, calls = torch.get_rng_state(), []
    validate(
        [FACTORS, FACTORS],
        [2],
        [0, 1],
        num_pairs=1,
        num_steps=1,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("toys", "candidates", "seeds"),
    [
        ([], [4], [0]),
        ([FACTORS], [], [0]),
        ([FACTORS], [4], []),
        ([FACTORS], [4, 1], [0]),
        ([FACTORS], [4, 4], [0]),
        ([FACTORS], [4], [0, 0]),
    ],
)
def test_what_makes_no_table_is_refused(toys: list[Toy], candidates: list[int], seeds: list[int]) -> None:
    with pytest.raises(UsageError):
        validate(toys, candidates, seeds)
