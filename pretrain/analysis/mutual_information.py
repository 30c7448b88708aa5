"""Mutual information of two views from a critic's scores, estimated by several bounds.

A score matrix has in place (i, j) what a critic says of view 1 of pair i and view 2 of pair j, in nats, as
logits: true pairs stand on the diagonal, all others are two views that have nothing to do with each other.
Scores are raised to float64 here, sums of exponentials taken by their logarithms, and every bound can be
differentiated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bench.core.errors import DivergedError

Bound = Callable[[Tensor], Tensor]
"""Scores [K, K] to an estimate [], in nats."""

SMILE_CLIP = 5.0
"""The middle one of the three of Song and Ermon 2020, figure 1: 1, 5 and none."""

_LARGEST_EXPONENT = 300.0
# Ours: e^300 is near 1e130, of which the square, for a standard error, is a float64, too.


def info_nce_bound(scores: Tensor, *, symmetric: bool = False) -> Tensor:
    """I_NCE: log(K) less the cross entropy of picking each row's true partner among the K of its row.

    The expectation is a lower bound of the mutual information for any critic, and no value is above log(K).
    The same as `pretrain.losses.mutual_information` of a finished loss, which has no gradient.

    Args:
        scores: [K, K], in nats; K is 2 or more.
        symmetric: The mean of rows and columns, that is of both directions of picking.

    Returns:
        [] float64, in nats; 0 where all scores are equal, log(K) where the true pairs stand far above.

    Raises:
        ValueError: scores are not [K, K] with K of 2 or more.

    Source:
        Oord et al. 2018, Contrastive Predictive Coding, appendix A.1; google-research/google-research
        `vbmi/vbmi_demo.ipynb`, `infonce_lower_bound`.
        Differs: `symmetric` is no part of either.
    """
    scores, num_candidates = _checked(scores)
    partner = torch.arange(num_candidates, device=scores.device)
    loss = functional.cross_entropy(scores, partner)
    if symmetric:
        loss = 0.5 * (loss + functional.cross_entropy(scores.t(), partner))
    return math.log(num_candidates) - loss


def nwj_bound(scores: Tensor) -> Tensor:
    """I_NWJ: the mean score of true pairs less the mean of e^(score - 1) of all others.

    The expectation is a lower bound for any critic, and equals the mutual information for the critic
    1 + log p(y|x) / p(y). Its spread grows fast with the information.

    Args:
        scores: [K, K], in nats; K is 2 or more.

    Returns:
        [] float64, in nats. Where the mean of the exponentials is above e^300 it counts as e^300: far below
        any information, a lower bound still, and finite.

    Raises:
        ValueError: scores are not [K, K] with K of 2 or more.

    Source:
        Nguyen et al. 2010, as in Poole et al. 2019, On Variational Bounds of Mutual Information;
        google-research/google-research `vbmi/vbmi_demo.ipynb`, `nwj_lower_bound`.
        Differs: the limit of e^300.
    """
    scores, _ = _checked(scores)
    log_mean = _log_mean_exp_others(scores) - 1.0
    return scores.diagonal().mean() - log_mean.clamp(max=_LARGEST_EXPONENT).exp()


def js_objective(scores: Tensor) -> Tensor:
    """What a critic is trained to maximise to tell true pairs from others; not an estimate of information.

    Its maximum is 2 JSD - log(4), where JSD is the Jensen-Shannon divergence of true pairs from others in
    nats; the critic log p(y|x) / p(y) reaches it.

    Args:
        scores: [K, K], in nats; K is 2 or more.

    Returns:
        [] float64, in nats, below 0; -log(4) where all scores are 0.

    Raises:
        ValueError: scores are not [K, K] with K of 2 or more.

    Source:
        Nowozin et al. 2016, f-GAN; google-research/google-research `vbmi/vbmi_demo.ipynb`,
        `js_fgan_lower_bound`.
        Differs: none.
    """
    scores, num_candidates = _checked(scores)
    others = functional.softplus(scores).masked_fill(_diagonal(scores), 0.0).sum()
    num_others = num_candidates * (num_candidates - 1)
    return functional.logsigmoid(scores.diagonal()).mean() - others / num_others


def js_bound(scores: Tensor) -> Tensor:
    """The information by a critic that was trained with `js_objective`: I_NWJ of its scores and 1.

    Args:
        scores: [K, K], in nats, of a critic that is to be log p(y|x) / p(y); K is 2 or more.

    Returns:
        [] float64, in nats; its expectation is a lower bound for any critic, as that of `nwj_bound`.

    Raises:
        ValueError: scores are not [K, K] with K of 2 or more.

    Source:
        Poole et al. 2019, On Variational Bounds of Mutual Information, the JS bound.
        Differs: from `js_lower_bound` of google-research/google-research `vbmi/vbmi_demo.ipynb`, which does
        not add the 1 and is 1/e nat below the information for the best critic of the objective; and of which
        the gradient is that of the objective, a function of its own here.
    """
    return nwj_bound(scores.double() + 1.0)


def smile_bound(scores: Tensor, *, clip: float = SMILE_CLIP) -> Tensor:
    """SMILE: the mean score of true pairs less the log of the mean of e^score of others, those clipped.

    For a critic that was trained with `js_objective`. In spite of its name this is no sure lower bound: the
    clip gives less spread for a bias, and the log of a mean of few candidates is too low on the average, so
    that the estimate can lie above the information; without a clip, too.

    Args:
        scores: [K, K], in nats; K is 2 or more.
        clip: Scores of others are brought to -clip ... clip, in nats, above 0; `math.inf` leaves them as they
            are, which is the bound of Donsker and Varadhan.

    Returns:
        [] float64, in nats; 0 where all scores are equal and within the clip.

    Raises:
        ValueError: scores are not [K, K] with K of 2 or more, or clip is not above 0.

    Source:
        Song and Ermon 2020, Understanding the Limitations of Variational Mutual Information Estimators;
        ermongroup/smile-mi-estimator `estimators.py`, `smile_lower_bound`.
        Differs: there the gradient is that of `js_objective`; here it is the value's own.
    """
    if not clip > 0.0:
        raise ValueError(f"clip must be above 0, found {clip}")
    scores, _ = _checked(scores)
    return scores.diagonal().mean() - _log_mean_exp_others(scores.clamp(-clip, clip))


def club_upper_bound(log_q: Tensor) -> Tensor:
    """CLUB: how much more likely a true partner is than another's, by a conditional q(y|x).

    An upper bound of the mutual information where q is the true conditional or near it, and with a q that is
    not good it is no bound at all: it may lie on either side. It has to be known how good q is.

    Args:
        log_q: [K, K], log q(y_j | x_i) in nats, densities or probabilities; K is 2 or more. Terms that depend
            on x_i alone do not matter.

    Returns:
        [] float64, in nats.

    Raises:
        ValueError: log_q is not [K, K] with K of 2 or more.

    Source:
        Cheng et al. 2020, CLUB: A Contrastive Log-ratio Upper Bound of Mutual Information; Linear95/CLUB
        `mi_estimators.py`, `CLUB`.
        Differs: the second mean leaves the diagonal out, theirs has it and is (K - 1) / K of ours, which need
        not be an upper bound where K is small.
    """
    log_q, num_candidates = _checked(log_q)
    others = log_q.masked_fill(_diagonal(log_q), 0.0).sum() / (num_candidates * (num_candidates - 1))
    return log_q.diagonal().mean() - others


BOUNDS: Mapping[str, Bound] = {
    "info_nce": info_nce_bound,
    "nwj": nwj_bound,
    "js": js_bound,
    "smile": smile_bound,
}
"""Estimates from below, of scores alone, by their names in tables; `smile_bound` says how far it is one."""


@dataclass(frozen=True)
class Estimate:
    """Mutual information, estimated from several batches.

    Attributes:
        mean: Over batches, in nats.
        standard_error: Of the mean, in nats, from the spread of the batches; None for one batch.
        num_candidates: K, pairs in a batch.
        num_batches: So many.
    """

    mean: float
    standard_error: float | None
    num_candidates: int
    num_batches: int


@torch.no_grad()
def estimate(score_batches: Iterable[Tensor], bound: Bound) -> Estimate:
    """The mean of a bound over batches of independent pairs.

    Args:
        score_batches: Each [K, K], in nats, of one and the same K: a bound's bias depends on it.
        bound: One of `BOUNDS`, or another of the kind.

    Raises:
        DivergedError: a score is not finite.
        ValueError: no batches, batches of different K, or scores that are not [K, K].
    """
    values: list[Tensor] = []
    num_candidates = 0
    for scores in score_batches:
        if not torch.isfinite(scores).all():
            raise DivergedError(
                f"mutual information, batch {len(values)}: a score is not finite; expected finite scores: "
                "train the critic with a lower learning rate, or for fewer steps"
            )
        values.append(bound(scores).double())
        if len(values) > 1 and len(scores) != num_candidates:
            raise ValueError(f"batch {len(values) - 1} has {len(scores)} candidates, not {num_candidates}")
        num_candidates = len(scores)
    if not values:
        raise ValueError("an estimate of no batches")
    found = torch.stack(values)
    error = float(found.std() / math.sqrt(len(values))) if len(values) > 1 else None
    return Estimate(float(found.mean()), error, num_candidates, len(values))


def _checked(scores: Tensor) -> tuple[Tensor, int]:
    """Scores in float64, and K."""
    if scores.ndim != 2 or len(scores) != scores.shape[1] or len(scores) < 2:
        raise ValueError(f"expected scores [K, K] with K of 2 or more, found {list(scores.shape)}")
    return scores.double(), len(scores)


def _diagonal(scores: Tensor) -> Tensor:
    """[K, K] bool: which are true pairs."""
    return torch.eye(len(scores), dtype=torch.bool, device=scores.device)


def _log_mean_exp_others(scores: Tensor) -> Tensor:
    """[], the logarithm of the mean of e^score of all that are not true pairs."""
    others = scores.masked_fill(_diagonal(scores), -math.inf).logsumexp(dim=(0, 1))
    return others - math.log(len(scores) * (len(scores) - 1))
