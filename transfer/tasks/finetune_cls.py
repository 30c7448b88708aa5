"""Fine-tuning for classification: all layers, on class folders of any size.

Source:
    linusericsson/ssl-transfer `finetune.py`: SGD with Nesterov momentum, cosine to zero, batches of 64,
    bicubic crops; Kornblith et al. 2019, section 3, from whom that is.
    Differs: one rate and one weight decay out of their grid, not the best of it on held-out images; epochs,
    not 5,000 updates, so that a set of any size is seen equally often. The recipe is ours: there is no
    published row of it.
"""

from __future__ import annotations

from transfer.api import Layout, TaskSpec
from transfer.classification import ACCURACIES, ENGINE, ClassificationTask
from transfer.protocols.classification import ClassifierProtocol


class FineTuning(ClassificationTask):
    """The task `finetune-cls`."""

    protocol = ClassifierProtocol
    spec = TaskSpec(
        name="finetune-cls",
        version=1,
        summary="All layers fine-tuned to classify the images of class folders.",
        layouts=(Layout("classes", "finetune-cls-50ep"),),
        engine=ENGINE,
        metrics=ACCURACIES,
        main_metric="top1",
        default_protocol="finetune-cls-50ep",
        source="ours, after linusericsson/ssl-transfer finetune.py",
        unpublished="the recipe is ours",
    )


ENTRY = FineTuning()
