"""Low-shot: all layers fine-tuned on 1 % or 10 % of the labels of ImageNet.

The images are those of the lists that google-research/simclr publishes; the user brings the list, its sha256
is known here. Without it a share of each class is drawn, and the record says so.

Source:
    facebookresearch/swav `eval_semisup.py` and README (rates, epochs); the sha256 of the lists from
    tensorflow/datasets `url_checksums/imagenet2012_subset.txt`.
    Differs: the accuracy is that after the last epoch; there, the best one on the test images. The pixels are
    normalised as the weights' card says; there, the red channel has a deviation of .228. The last batch of an
    epoch is filled up from its beginning. Published rows of `in1k-semi-ft` are of as many recipes as papers
    and do not stand beside these.
"""

from __future__ import annotations

from transfer.api import Layout, TaskSpec
from transfer.classification import ACCURACIES, ENGINE, ClassificationTask
from transfer.protocols.classification import SubsetProtocol


class LowShot(ClassificationTask):
    """The task `low-shot`."""

    protocol = SubsetProtocol
    spec = TaskSpec(
        name="low-shot",
        version=1,
        summary="Fine-tuning on 1 % or 10 % of the labels, by SwAV's recipe.",
        layouts=(Layout("low-shot", "in1k-semi-1pct-swav"),),
        engine=ENGINE,
        metrics=ACCURACIES,
        main_metric="top1",
        default_protocol="in1k-semi-1pct-swav",
        source="facebookresearch/swav eval_semisup.py",
        remark=(
            "The list, 1percent.txt or 10percent.txt of google-research/simclr, lies in DATA, or anywhere: "
            "--set data.train_list=FILE. --set \"data.train_list=''\" draws a share of each class (marked)."
        ),
        unpublished="the rows of in1k-semi-ft are of as many recipes as papers",
    )


ENTRY = LowShot()
