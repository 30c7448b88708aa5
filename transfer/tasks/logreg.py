"""Logistic regression on frozen features of small sets, its weight decay chosen on held-out images.

Source:
    Kornblith et al. 2019, Do Better ImageNet Models Transfer Better?; linusericsson/ssl-transfer `linear.py`.
    Differs: held-out images are a fifth of the training images, drawn by the trial's seed; there, of some
    sets an own split. The choice is by top-1; there, of some sets by the mean over classes. See
    `bench.features.logistic` for ties.
"""

from __future__ import annotations

from transfer.api import Layout, TaskSpec
from transfer.classification import ACCURACIES, ENGINE, ClassificationTask
from transfer.protocols.classification import LogregProtocol


class LogisticRegression(ClassificationTask):
    """The task `logreg`."""

    protocol = LogregProtocol
    spec = TaskSpec(
        name="logreg",
        version=1,
        summary="Logistic regression on frozen features of a small set, over a grid of C.",
        layouts=(Layout("classes", "logreg-45"),),
        engine=ENGINE,
        metrics=ACCURACIES,
        main_metric="top1",
        default_protocol="logreg-45",
        source="linusericsson/ssl-transfer linear.py",
        unpublished="published as a mean over a dozen sets, of which there are no rows",
        remark="For sets of some thousand images: the features of all of them are in memory.",
    )


ENTRY = LogisticRegression()
