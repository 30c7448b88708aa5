"""Protocols of image classification: a linear probe, fine-tuning, and classifiers on features.

The config files say which publication each value comes from. Sizes are in pixels.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from bench.core.config import Section
from bench.core.protocol import not_in_identity
from bench.images.view_config import ViewConfig
from transfer.protocols.transfer import (
    Count,
    ExpectedData,
    Fraction,
    Pixels,
    Precision,
    SgdSolver,
    TrainedProtocol,
    TransferModel,
    TransferProtocol,
    rising,
)


class ExpectedImages(ExpectedData):
    """Class folders; every class has a name that `class_pattern` fits, a regular expression (`n[0-9]{8}`)."""

    class_pattern: str


class ExpectedSubset(ExpectedImages):
    """Class folders of which a part is trained on.

    `train_list` is a file with the names of the images, a line each, in the data's folder or anywhere;
    `train_list_sha256` is that of the published one. With an empty name, `train_share` of each class is
    drawn, at least one image, the same for every seed.
    """

    train_list: str = not_in_identity("")
    train_list_sha256: str
    train_share: Annotated[float, Field(gt=0.0, le=1.0)]


class CentreCrop(Section):
    """What a network is tested on: the short side brought to `resize_px`, a square cut from the middle."""

    resize_px: Pixels
    crop_px: Pixels
    resample: Literal["bilinear", "bicubic"]

    @model_validator(mode="after")
    def _fits(self) -> CentreCrop:
        if self.crop_px > self.resize_px:
            raise ValueError(f"crop_px must be at most resize_px ({self.resize_px})")
        return self


class ClassifierModel(TransferModel):
    """The network: features pooled from C5, and one linear layer.

    `trained` says whether the linear layer alone is, on a backbone whose norm is frozen, too, or all of it.
    The layer starts `normal` (deviation .01, no bias) or `uniform` (PyTorch's own).
    """

    trained: Literal["classifier", "all"]
    classifier_init: Literal["normal", "uniform"]

    @model_validator(mode="after")
    def _frozen_is_frozen(self) -> ClassifierModel:
        if self.trained == "classifier" and self.norm != "FrozenBN":
            raise ValueError('norm must be FrozenBN with trained = "classifier": the backbone stays as it is')
        if self.trained == "all" and self.norm == "FrozenBN":
            raise ValueError('norm must be BN or SyncBN with trained = "all": FrozenBN leaves a part out')
        return self


class ClassifierInput(Section):
    """`train_view` is drawn anew in every epoch; without it, training sees what the test sees."""

    train_view: ViewConfig | None = None
    test: CentreCrop


class EpochSteps(Section):
    """The rate falls by `gamma` after each of these epochs."""

    kind: Literal["steps"]
    epochs: tuple[Count, ...]
    gamma: Fraction


class Cosine(Section):
    """The rate falls to 0 on half a cosine, at each epoch or each iteration."""

    kind: Literal["cosine"]
    per: Literal["epoch", "iteration"]


class ClassifierSolver(SgdSolver):
    """SGD, or LARC, which scales each tensor's gradient to its weights (You et al. 2017).

    The linear layer's rate is `learning_rate` times `classifier_rate_ratio`. An epoch is so many whole
    batches that every image is seen; the last one is filled up from the beginning of the epoch.
    """

    optimizer: Literal["sgd", "larc"]
    nesterov: bool
    epochs: Count
    classifier_rate_ratio: Annotated[float, Field(gt=0.0, le=10_000.0)]
    schedule: Annotated[EpochSteps | Cosine, Field(discriminator="kind")]

    @model_validator(mode="after")
    def _steps_within(self) -> ClassifierSolver:
        if isinstance(self.schedule, EpochSteps):
            rising(self.schedule.epochs, self.epochs)
        if self.optimizer == "larc" and self.nesterov:
            raise ValueError("nesterov goes with sgd")
        return self

    def iterations_per_epoch(self, num_train: int) -> int:
        """Batches in which each of so many images is."""
        return -(-num_train // self.images_per_batch)

    def num_iterations(self, num_train: int) -> int:
        """Updates of all epochs."""
        return self.epochs * self.iterations_per_epoch(num_train)


class ClassifierProtocol(TrainedProtocol):
    """A linear probe, or fine-tuning."""

    data: ExpectedImages = not_in_identity(...)
    model: ClassifierModel
    input: ClassifierInput
    solver: ClassifierSolver

    def does(self, num_train: int) -> str:
        """What is trained on what, then length, batch and rate."""
        what = "a linear layer" if self.model.trained == "classifier" else "all layers"
        view = self.input.train_view
        seen = f"views ({', '.join(view.order)})" if view else "centre crops"
        return f"{what} on {seen}, {self.solver.epochs:,} epochs: {super().does(num_train)}"


class SubsetProtocol(ClassifierProtocol):
    """Training on a part of the labels."""

    data: ExpectedSubset = not_in_identity(...)


class Features(Section):
    """Pooled from C5, 2048 of them; in this precision."""

    precision: Precision


class FeatureProtocol(TransferProtocol):
    """A classifier on features of centre crops; nothing is trained by gradient descent over epochs."""

    data: ExpectedImages = not_in_identity(...)
    input: CentreCrop
    features: Features

    @property
    def precision(self) -> Precision:
        """Of the features of training and test."""
        return self.features.precision


class Knn(Section):
    """So many `neighbours` vote, each with exp(cosine / `temperature`)."""

    neighbours: Annotated[int, Field(ge=1, le=100_000)]
    temperature: Annotated[float, Field(gt=0.0, le=100.0)]


class KnnProtocol(FeatureProtocol):
    """Weighted k-nearest neighbours."""

    knn: Knn

    def does(self, num_train: int) -> str:
        """Neighbours and temperature."""
        votes = f"{self.knn.neighbours} nearest neighbours, temperature {self.knn.temperature:g}"
        return f"features of {num_train:,} images, {votes}, {self.precision}"


class Logreg(Section):
    """Multinomial logistic regression by L-BFGS.

    Weight decays are `num_weight_decays` powers of ten, evenly from the first of `weight_decay_log10` to the
    second; C is their reciprocal. The one that is best on a `holdout_share` of the training images is taken,
    and fitted to all of them. `max_iterations` are those of one fit.
    """

    weight_decay_log10: tuple[
        Annotated[float, Field(ge=-12.0, le=12.0)], Annotated[float, Field(ge=-12.0, le=12.0)]
    ]
    num_weight_decays: Annotated[int, Field(ge=1, le=1000)]
    holdout_share: Annotated[float, Field(gt=0.0, lt=1.0)]
    max_iterations: Annotated[int, Field(ge=1, le=1_000_000)]

    @model_validator(mode="after")
    def _rises(self) -> Logreg:
        if self.weight_decay_log10[0] > self.weight_decay_log10[1]:
            raise ValueError("weight_decay_log10 must be the smallest and the largest")
        return self


class LogregProtocol(FeatureProtocol):
    """Logistic regression over a grid."""

    logreg: Logreg

    def does(self, num_train: int) -> str:
        """The grid."""
        low, high = self.logreg.weight_decay_log10
        grid = f"{self.logreg.num_weight_decays} weight decays from 1e{low:g} to 1e{high:g}"
        return f"features of {num_train:,} images, L-BFGS with {grid}, {self.precision}"
