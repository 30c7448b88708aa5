"""Multinomial logistic regression on features, its weight decay chosen on held-out images.

Source:
    Kornblith et al. 2019, Do Better ImageNet Models Transfer Better?, section 3: L-BFGS, 45 weight decays
    from 1e-6 to 1e5, chosen on validation images, then fitted to all. linusericsson/ssl-transfer `linear.py`
    does it with scikit-learn, whose fit this is: `lbfgs`, an l2 penalty of 1 / C, each fit begun at the one
    before.
    Differs: equal scores on the held-out images take the stronger weight decay; there, the weaker one. Of two
    classes scikit-learn now fits one column of weights; `linear.py` asked an older one for two.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Fit:
    """What was found.

    Attributes:
        scores: [images, classes] of the test; the decision function.
        weight_decay: The one that was taken.
        held_out: Weight decay to accuracy on the held-out images, in percent, in the order they were tried.
        unfinished: Weight decays whose fit was cut at the limit of iterations.
    """

    scores: Array
    weight_decay: float
    held_out: dict[float, float]
    unfinished: tuple[float, ...]


def fit_over_grid(
    train: tuple[Array, Array],
    held_out: tuple[Array, Array],
    test: Array,
    weight_decays: npt.NDArray[np.float64],
    *,
    max_iterations: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Fit:
    """Choose a weight decay on held-out images, fit to all of them, score the test.

    Args:
        train: Features [images, dim] and labels [images] to choose with.
        held_out: The same, to choose on; fitted to as well in the end.
        test: Features [images, dim].
        weight_decays: To be tried, in this order.
        max_iterations: Of one fit.
        progress: Called with the number of fits that are done.

    Returns:
        Scores [images, classes] with a column for each label that is in `train` or `held_out`, in order.

    Raises:
        ValueError: `train` has one class only.
    """
    model = _model(max_iterations)
    accuracies: dict[float, float] = {}
    unfinished = []
    for done, decay in enumerate(weight_decays.tolist(), 1):
        if not _fit(model, train, decay):
            unfinished.append(decay)
        predicted = model.predict(held_out[0])
        accuracies[decay] = 100.0 * float(np.mean(predicted == held_out[1]))
        progress(done)
    best = max(accuracies, key=lambda decay: (accuracies[decay], decay))
    both = tuple(np.concatenate(parts) for parts in zip(train, held_out, strict=True))
    # Classes that were held out as a whole are new to it: begun anew, it may have other classes than before.
    if len(np.unique(both[1])) != len(model.classes_):
        model = _model(max_iterations)
    if not _fit(model, (both[0], both[1]), best) and best not in unfinished:
        unfinished.append(best)
    scores = model.decision_function(test)
    if scores.ndim == 1:  # of two classes, that of the second alone
        scores = np.stack([-scores, scores], axis=1)
    return Fit(scores, best, accuracies, tuple(unfinished))


def _model(max_iterations: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(solver="lbfgs", warm_start=True, max_iter=max_iterations)


def _fit(model: Any, data: tuple[Array, Array], decay: float) -> bool:
    """Fit at one weight decay; whether it came to an end before the limit of iterations."""
    from sklearn.exceptions import ConvergenceWarning

    model.set_params(C=1.0 / decay)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(*data)
    return bool(max(model.n_iter_) < model.max_iter)
