"""Linear probe: one linear layer on frozen features, trained on views of ImageNet or any class folders.

The dialects differ in epochs, rate, crop and augmentation, and so in the number: each is a protocol of its
own, and no two share a table. Without a view the features are computed once and kept, which is exact, since
the backbone does not change.

Source:
    facebookresearch/moco `main_lincls.py`; HobbitLong/PyContrast `pycontrast/learning/linear_trainer.py`,
    `options/test_options.py`; facebookresearch/simsiam `main_lincls.py`.
    Differs: the accuracy is that after the last epoch; the three scripts print the best one on the test
    images as well. The last batch of an epoch is filled up from its beginning; theirs is smaller. Views are
    drawn from (seed, iteration, slot), not from running generators.
"""

from __future__ import annotations

from transfer.api import Layout, TaskSpec
from transfer.classification import ACCURACIES, ENGINE, ClassificationTask
from transfer.protocols.classification import ClassifierProtocol


class LinearProbe(ClassificationTask):
    """The task `linear-probe`."""

    protocol = ClassifierProtocol
    spec = TaskSpec(
        name="linear-probe",
        version=1,
        summary="A linear layer on frozen features: the dialects of MoCo, PyContrast and SimSiam.",
        layouts=(Layout("imagenet", "in1k-linear-100ep"),),
        engine=ENGINE,
        metrics=ACCURACIES,
        main_metric="top1",
        default_protocol="in1k-linear-100ep",
        source="facebookresearch/moco main_lincls.py",
        remark=(
            "DATA has train and val, each with one folder of images a class. Two probes with a rate of 30 "
            "are not one protocol: in1k-linear-100ep is MoCo's, in1k-linear-60ep-pycontrast InfoMin's; "
            "in1k-linear-90ep-lars is SimSiam's. linear-features trains on features that are computed once."
        ),
    )


ENTRY = LinearProbe()
