"""Classifiers on features that nothing trains by gradient descent: k-NN and logistic regression."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from bench.core import rng
from bench.core.errors import DataError
from bench.core.log import progress
from bench.core.signals import watch
from bench.features.knn import knn_votes
from bench.features.logistic import fit_over_grid
from transfer.api import Job, Output
from transfer.engines.torchvision.classify import class_test
from transfer.engines.torchvision.features import BATCH_SIZE, features_of
from transfer.engines.torchvision.network import build_backbone
from transfer.engines.torchvision.train import class_data
from transfer.engines.verify import check_finite
from transfer.metrics.accuracy import ClassTest
from transfer.protocols.classification import FeatureProtocol, KnnProtocol, LogregProtocol


def feature_protocol(job: Job) -> FeatureProtocol:
    """The protocol of a job that trains nothing."""
    if not isinstance(job.protocol, FeatureProtocol):
        raise TypeError(f"expected a FeatureProtocol, got {type(job.protocol).__name__}")
    return job.protocol


@torch.no_grad()
def run_on_features(fabric: Fabric, job: Job) -> Output:
    """Features of both splits, a classifier on them, its test; the first process has the result.

    Raises:
        DataError: an image cannot be read, or there are too few to hold some out.
        Stopped: a signal came; the features are kept.
    """
    data, protocol = class_data(job), feature_protocol(job)
    backbone, verified = build_backbone(job)
    backbone.requires_grad_(False).to(fabric.device)
    check_finite(backbone)
    both = [
        features_of(
            fabric,
            job,
            backbone,
            source,
            chosen,
            protocol.input,
            protocol.precision,
            everywhere=False,
            title=title,
        )
        for source, chosen, title in (
            (data.train, data.chosen, "Features of the training images"),
            (data.test, np.arange(len(data.test)), "Features of the test images"),
        )
    ]
    if not fabric.is_global_zero:
        return Output(metrics={})
    with watch() as stop:
        if isinstance(protocol, KnnProtocol):
            test = _knn(fabric, job, protocol, both[0], both[1])
        elif isinstance(protocol, LogregProtocol):
            test = _logreg(job, protocol, both[0], both[1])
        else:
            raise TypeError(f"no classifier for a {type(protocol).__name__}")
        result = job.measure(test)
    details: dict[str, Any] = {
        "verified": {**verified, "new_layers": []},
        "num_devices": fabric.world_size,
        **result.details,
    }
    stopped_by = (stop.name or "") if stop else ""
    return Output(
        metrics=result.metrics, details=details, predictions=result.predictions, stopped_by=stopped_by
    )


def _knn(fabric: Fabric, job: Job, protocol: KnnProtocol, train: Tensor, test: Tensor) -> ClassTest:
    data = class_data(job)
    votes = knn_votes(
        test.to(fabric.device),
        train.to(fabric.device),
        torch.from_numpy(data.train_labels).to(fabric.device),
        neighbours=protocol.knn.neighbours,
        temperature=protocol.knn.temperature,
        num_classes=len(data.classes),
    )
    facts = {"num_neighbours": min(protocol.knn.neighbours, len(train))}
    return class_test(data, votes, facts)


def _logreg(job: Job, protocol: LogregProtocol, train: Tensor, test: Tensor) -> ClassTest:
    data, config = class_data(job), protocol.logreg
    labels = data.train_labels
    order = rng.permutation(job.seed, 0, len(labels))
    count = int(config.holdout_share * len(labels))
    held_out, rest = order[:count], order[count:]
    if count == 0 or len(np.unique(labels[rest])) < 2:
        raise DataError(
            f"{data.train.root}: {len(labels)} images leave {count} to be held out and {len(rest)} of "
            f"{len(np.unique(labels[rest]))} classes to fit to; expected more images"
        )
    features = train.numpy()
    low, high = config.weight_decay_log10
    decays = np.logspace(low, high, config.num_weight_decays)
    with progress("Logistic regression", len(decays)) as bar:
        fit = fit_over_grid(
            (features[rest], labels[rest]),
            (features[held_out], labels[held_out]),
            test.numpy(),
            decays,
            max_iterations=config.max_iterations,
            progress=bar.update,
        )
    seen = np.unique(labels)
    scores = torch.full((len(test), len(data.classes)), float(np.finfo(np.float32).min))
    scores[:, torch.from_numpy(seen)] = torch.from_numpy(fit.scores).float()
    facts = {
        "weight_decay": fit.weight_decay,
        "held_out_top1": {f"{decay:.6g}": value for decay, value in fit.held_out.items()},
        "num_held_out": count,
        "cut_at_max_iterations": [float(f"{decay:.6g}") for decay in fit.unfinished],
    }
    return class_test(data, torch.split(scores, BATCH_SIZE), facts)
