"""What a probe and fine-tuning are made of: network, optimiser, schedule, batches, losses, test."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from transfer.api import Job
from transfer.data.image_classes import ClassificationDataset
from transfer.engines.feed import feed
from transfer.engines.torchvision.classify import class_test, test_images
from transfer.engines.torchvision.features import BATCH_SIZE, features_of
from transfer.engines.torchvision.larc import Larc
from transfer.engines.torchvision.loader import TrainViews, epochs, rows
from transfer.engines.torchvision.network import (
    Backbone,
    FineTuned,
    build_backbone,
    build_classifier,
    with_norm,
)
from transfer.engines.trial import Parts
from transfer.engines.verify import check_finite
from transfer.metrics.accuracy import ClassTest
from transfer.protocols.classification import ClassifierProtocol, ClassifierSolver, EpochSteps


def class_data(job: Job) -> ClassificationDataset:
    """The data of a job of this engine."""
    if not isinstance(job.data, ClassificationDataset):
        raise TypeError(f"expected a ClassificationDataset, got {type(job.data).__name__}")
    return job.data


def classifier_protocol(job: Job) -> ClassifierProtocol:
    """The protocol of a job that trains."""
    if not isinstance(job.protocol, ClassifierProtocol):
        raise TypeError(f"expected a ClassifierProtocol, got {type(job.protocol).__name__}")
    return job.protocol


def build_parts(fabric: Fabric, job: Job) -> Parts:
    """The parts of a trial in one process."""
    data, protocol = class_data(job), classifier_protocol(job)
    solver = protocol.solver
    backbone, verified = build_backbone(job)
    classifier = build_classifier(len(data.classes), protocol.model.classifier_init, seed=job.seed)
    frozen = protocol.model.trained == "classifier"
    model: nn.Module = (
        classifier if frozen else with_norm(FineTuned(backbone, classifier), protocol.model.norm)
    )
    if frozen:
        backbone.requires_grad_(False).eval()
    backbone.to(fabric.device)
    model.to(fabric.device)
    optimizer = build_optimizer(solver, model)
    cached = frozen and protocol.input.train_view is None
    table: list[Tensor] = []

    def batches(start: int) -> Iterator[list[Any]]:
        places = epochs(
            len(data.chosen), images_per_batch=solver.images_per_batch, seed=job.seed, start=start
        )
        rank, size = fabric.global_rank, fabric.world_size
        if cached:
            table.append(train_features(fabric, job, backbone).to(fabric.device))
            return rows(data, places, rank=rank, num_processes=size)
        views = TrainViews(data, protocol.input.train_view, protocol.input.test, job.seed)
        workers = protocol.run.num_workers
        return feed(views, places, rank=rank, num_processes=size, num_workers=workers)

    def losses(step_model: Any, part: list[Any]) -> dict[str, Tensor]:
        labels = torch.tensor([sample["label"] for sample in part], device=fabric.device)
        if cached:
            scores = step_model(table[-1][[sample["row"] for sample in part]])
        else:
            images = fabric.to_device(stacked(part))
            scores = step_model(frozen_features(fabric, backbone, images) if frozen else images)
        return {"loss_cls": functional.cross_entropy(scores.float(), labels)}

    def test(check_stop: Callable[[], None]) -> ClassTest | None:
        if frozen:
            return _test_classifier(fabric, job, backbone, classifier)
        return test_images(fabric, job, model, data, protocol.input.test, check_stop=check_stop)

    return Parts(
        model=model,
        optimizer=optimizer,
        scheduler=build_scheduler(solver, optimizer, num_train=len(data.chosen)),
        verified=verified,
        iterations=solver.num_iterations(len(data.chosen)),
        batches=batches,
        losses=losses,
        image_names=lambda batch: [sample["name"] for sample in batch],
        test=test,
    )


def stacked(part: list[Any]) -> Tensor:
    """[batch, 3, side, side] uint8 of samples."""
    return torch.stack([sample["image"] for sample in part]).permute(0, 3, 1, 2)


def frozen_features(fabric: Fabric, backbone: Backbone, images: Tensor) -> Tensor:
    """Features in the precision of the trial; the backbone is in evaluation and stays what it is."""
    with torch.no_grad(), fabric.autocast():
        features: Tensor = backbone(images)
    return features


def train_features(fabric: Fabric, job: Job, backbone: Backbone) -> Tensor:
    """Features of the images that are trained on, where no view is drawn: computed once."""
    data, protocol = class_data(job), classifier_protocol(job)
    return features_of(
        fabric,
        job,
        backbone,
        data.train,
        data.chosen,
        protocol.input.test,
        protocol.solver.precision,
        everywhere=True,
        title="Features of the training images",
    )


@torch.no_grad()
def _test_classifier(fabric: Fabric, job: Job, backbone: Backbone, classifier: nn.Linear) -> ClassTest | None:
    data = class_data(job)
    check_finite(backbone)
    check_finite(classifier)
    features = features_of(
        fabric,
        job,
        backbone,
        data.test,
        torch.arange(len(data.test)).numpy(),
        classifier_protocol(job).input.test,
        "fp32",
        everywhere=False,
        title="Features of the test images",
    )
    if not fabric.is_global_zero:
        return None
    chunks = (classifier(chunk.to(fabric.device)) for chunk in torch.split(features, BATCH_SIZE))
    return class_test(data, chunks, {})


def build_optimizer(solver: ClassifierSolver, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of all parameters, the linear layer's at a rate of its own."""
    last = [value for name, value in model.named_parameters() if _is_last(name)]
    others = [value for name, value in model.named_parameters() if not _is_last(name)]
    groups: list[dict[str, Any]] = [
        {"params": last, "lr": solver.learning_rate * solver.classifier_rate_ratio}
    ]
    if others:
        groups.append({"params": others, "lr": solver.learning_rate})
    common: dict[str, Any] = {"momentum": solver.momentum, "weight_decay": solver.weight_decay}
    if solver.optimizer == "larc":
        return Larc(groups, lr=solver.learning_rate, **common)
    return torch.optim.SGD(groups, lr=solver.learning_rate, nesterov=solver.nesterov, **common)


def _is_last(name: str) -> bool:
    return name in ("weight", "bias") or name.startswith("classifier.")


def build_scheduler(
    solver: ClassifierSolver, optimizer: torch.optim.Optimizer, *, num_train: int
) -> LambdaLR:
    """The schedule, one step an iteration."""
    size = solver.iterations_per_epoch(num_train)
    return LambdaLR(optimizer, lambda iteration: rate_factor(solver, iteration / size))


def rate_factor(solver: ClassifierSolver, epoch: float) -> float:
    """The rate after so many epochs, as a share of its start."""
    schedule = solver.schedule
    if isinstance(schedule, EpochSteps):
        return float(schedule.gamma ** sum(epoch >= step for step in schedule.epochs))
    done = math.floor(epoch) if schedule.per == "epoch" else epoch
    return 0.5 * (1.0 + math.cos(math.pi * min(done / solver.epochs, 1.0)))
