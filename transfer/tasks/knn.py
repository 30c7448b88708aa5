"""Weighted k-nearest neighbours on frozen features: nothing is trained, and no rate can be wrong.

Source:
    Wu et al. 2018, Unsupervised Feature Learning via Non-Parametric Instance Discrimination, section 3.4;
    facebookresearch/dino `eval_knn.py`.
    Differs: where two classes have equal votes, the lower one is taken. All test images are counted; in
    `eval_knn.py` as well.
"""

from __future__ import annotations

from transfer.api import Layout, TaskSpec
from transfer.classification import ACCURACIES, ENGINE, ClassificationTask
from transfer.protocols.classification import KnnProtocol


class NearestNeighbours(ClassificationTask):
    """The task `knn`."""

    protocol = KnnProtocol
    spec = TaskSpec(
        name="knn",
        version=1,
        summary="Weighted k-nearest neighbours on frozen features; k and temperature are the protocol's.",
        layouts=(Layout("imagenet", "in1k-knn-k20"),),
        engine=ENGINE,
        metrics=ACCURACIES,
        main_metric="top1",
        default_protocol="in1k-knn-k20",
        source="facebookresearch/dino eval_knn.py",
        remark="The seed moves nothing but random weights: one trial is enough.",
    )


ENTRY = NearestNeighbours()
