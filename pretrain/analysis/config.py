"""The config of a study of views: one file describes all of its cells; each study adds its own `[views]`."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field, model_validator

from bench.core.config import Section
from bench.core.protocol import not_in_identity
from bench.core.study import Size


class PicturesConfig(Section):
    """`[images]`: what is trained and tested on.

    Attributes:
        size_px: Side of the square that an image is brought to.
        num_train: Images that views are made of; those of a folder, at most; 0 for all.
        num_probe: Labelled images that the probes are fitted to; 0 for all.
        num_test: Labelled images that everything is measured on; 0 for all.
    """

    size_px: Annotated[int, Field(ge=16, le=512)]
    num_train: Annotated[int, Field(ge=0)]
    num_probe: Annotated[int, Field(ge=0)]
    num_test: Annotated[int, Field(ge=0)]


class NetworkConfig(Section):
    """`[network]`: an encoder; the same for every setting, since I_NCE depends on it.

    Attributes:
        arch: Four convolutions, or a ResNet whose first convolution takes the channels of a view.
        width: Channels of the first of four convolutions; ResNets have their own.
        projection_dim: Of what is compared.
    """

    arch: Literal["four_convolutions", "resnet18", "resnet50"]
    width: Annotated[int, Field(ge=4, le=256)] = 32
    projection_dim: Annotated[int, Field(ge=8, le=1024)] = 64


class TrainingConfig(Section):
    """`[training]`: Adam on the symmetric InfoNCE between two views, the rate falling along a cosine.

    Attributes:
        epochs: Passes over the images.
        batch_size: Pairs of a step; each view looks for its other among so many.
        learning_rate: At the start.
        weight_decay: Decoupled.
        temperature: Divides the cosine.
        num_candidates: K of the I_NCE that is reported, on pairs that were not trained on.
        checkpoint_epochs: How often a cell is saved within itself.
    """

    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=4)]
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 1e-4
    temperature: Annotated[float, Field(gt=0.0, le=10.0)] = 0.1
    num_candidates: Annotated[int, Field(ge=2)]
    checkpoint_epochs: int = not_in_identity(10, ge=1)


class ProbeConfig(Section):
    """`[probe]`: linear classifiers on frozen features, their weight decay chosen on held-out images.

    Attributes:
        num_weight_decays: Tried, an image, in equal steps of their logarithm from 1e-6 to 1e2.
        max_iterations: Of L-BFGS.
        dense_steps: Updates of the linear classifier of positions, for segmentation.
    """

    num_weight_decays: Annotated[int, Field(ge=1, le=45)] = 5
    max_iterations: Annotated[int, Field(ge=10)] = 300
    dense_steps: Annotated[int, Field(ge=10)] = 300


class ViewsConfig(Section):
    """`[views]`: the settings of a study; each study has its own."""


V = TypeVar("V", bound=ViewsConfig)


class StudyConfig(Section, Generic[V]):
    """A study at one size.

    Attributes:
        study: Its name.
        size: smoke: seconds, laptop: meant for two cores, full: for a GPU.
        seeds: How many trials of each setting, if --seeds says nothing.
        views: The settings.
    """

    study: str
    size: Size
    seeds: int = not_in_identity(3, ge=1, le=100)
    images: PicturesConfig
    network: NetworkConfig
    training: TrainingConfig
    probe: ProbeConfig = ProbeConfig()
    views: V

    @model_validator(mode="after")
    def _has_enough_images(self) -> StudyConfig[V]:
        for key, least in (
            ("num_train", self.training.batch_size),
            ("num_test", self.training.num_candidates),
        ):
            value = getattr(self.images, key)
            if value and value < least:
                raise ValueError(f"images.{key} is {value}; a batch has {least}")
        return self

    @model_validator(mode="after")
    def _crops_fit(self) -> StudyConfig[V]:
        crop_px = getattr(self.views, "crop_px", 0)
        if crop_px > self.images.size_px:
            raise ValueError(f"views.crop_px is {crop_px}, more than images.size_px, {self.images.size_px}")
        return self
