"""What each bound says of toys whose mutual information is known, over numbers of candidates and seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

import torch
from torch import Tensor

from bench.core import rng
from bench.core.errors import UsageError
from pretrain.analysis.critics import OBJECTIVES, train_critic
from pretrain.analysis.mutual_information import BOUNDS, Bound, club_upper_bound, estimate
from pretrain.analysis.toys import CorrelatedGaussians, Toy

CriticKind = Literal["optimal", "trained"]
Scorer = Callable[[Tensor, Tensor], Tensor]

TRAINED_WITH = {"info_nce": "info_nce", "nwj": "nwj", "js": "js", "smile": "js"}
"""The objective of the critic that a bound is given."""


@dataclass(frozen=True)
class ValidationRow:
    """One line of the table.

    Attributes:
        toy: Its name.
        truth: Its mutual information, in nats.
        critic: "optimal", known from the toy, or "trained" on it.
        num_candidates: K.
        bound: One of `BOUNDS`; or "club", from above, of a true conditional and where the toy has one.
        mean: Over seeds, in nats.
        standard_error: Of the mean over seeds, in nats; None for one seed.
    """

    toy: str
    truth: float
    critic: CriticKind
    num_candidates: int
    bound: str
    mean: float
    standard_error: float | None


def validate(
    toys: Sequence[Toy],
    num_candidates: Sequence[int],
    seeds: Sequence[int],
    *,
    num_pairs: int = 4096,
    num_steps: int = 400,
    progress: Callable[[int, int], None] | None = None,
) -> list[ValidationRow]:
    """Every bound of every toy, by its optimal critic and by trained ones.

    A critic is trained once for a toy, an objective and a seed, and asked for all K. Bounds are estimated on
    pairs that no critic was trained on, the same ones for all bounds.

    Args:
        toys: Of which the truth is known.
        num_candidates: The K, 2 or more each.
        seeds: Of training and of the pairs to estimate on, none twice.
        num_pairs: For each estimate, in batches of K; there is one batch at least.
        num_steps: Of training a critic.
        progress: Called with (done, all) pairs of a toy and a seed.

    Returns:
        Rows by toy, critic, K and bound, in the order asked for.

    Raises:
        UsageError: no toys, no K, no seeds, a K below 2, or a seed twice.
        DivergedError: a critic diverged.
    """
    _check(toys, num_candidates, seeds)
    rows: list[ValidationRow] = []
    for place, toy in enumerate(toys):
        found: dict[tuple[CriticKind, int, str], list[float]] = {}
        for done, seed in enumerate(seeds, 1):
            asked = list(_asked(toy, seed, num_steps))
            for k in num_candidates:
                draw = torch.Generator().manual_seed(rng.derive(seed, "synth", k))
                batches = [toy.draw(k, draw) for _ in range(max(1, num_pairs // k))]
                for critic, name, scorer, bound in asked:
                    mean = estimate((scorer(*pairs) for pairs in batches), bound).mean
                    found.setdefault((critic, k, name), []).append(mean)
            if progress:
                progress(place * len(seeds) + done, len(toys) * len(seeds))
        for critic in ("optimal", "trained"):
            rows += [
                ValidationRow(toy.name, toy.true_information, *key, fmean(means), _standard_error(means))
                for key, means in found.items()
                if key[0] == critic
            ]
    return rows


def _asked(toy: Toy, seed: int, num_steps: int) -> Iterator[tuple[CriticKind, str, Scorer, Bound]]:
    """Each critic with the name of a bound that it is right for, and the bound."""

    def optimal_and_one(first: Tensor, second: Tensor) -> Tensor:
        return toy.optimal_scores(first, second) + 1.0

    for name, bound in BOUNDS.items():
        # I_NWJ is largest for the log ratio and 1; the others take the log ratio itself.
        yield "optimal", name, optimal_and_one if name == "nwj" else toy.optimal_scores, bound
    if isinstance(toy, CorrelatedGaussians):
        yield "optimal", "club", toy.conditional_log_density, club_upper_bound
    critics = {
        objective: train_critic(toy, objective=objective, seed=seed, num_steps=num_steps)
        for objective in OBJECTIVES
    }
    for name, bound in BOUNDS.items():
        yield "trained", name, critics[TRAINED_WITH[name]], bound


def _standard_error(means: Sequence[float]) -> float | None:
    return stdev(means) / math.sqrt(len(means)) if len(means) > 1 else None


def _check(toys: Sequence[Toy], num_candidates: Sequence[int], seeds: Sequence[int]) -> None:
    for name, given in (("toys", toys), ("candidates", num_candidates), ("seeds", seeds)):
        if not given:
            raise UsageError(f"validation of bounds: no {name}; expected one or more: name some")
    if min(num_candidates) < 2:
        raise UsageError(
            f"validation of bounds: {min(num_candidates)} candidates; expected 2 or more: one true pair and "
            "one other"
        )
    for name, numbers in (("candidates", num_candidates), ("seed", seeds)):
        if len(set(numbers)) < len(numbers):
            raise UsageError(
                f"validation of bounds: a number of {name} twice; expected each once: leave one out"
            )
