"""What all transfer protocols have in common: what they are called, their data, batch, rate and run.

Each field moves the number and is part of the protocol's identity, unless it is marked `not_in_identity`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bench.core.config import Section
from bench.core.protocol import not_in_identity

Pixels = Annotated[int, Field(ge=16, le=4096)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Precision = Literal["fp32", "bf16", "fp16"]
Rate = Annotated[float, Field(gt=0.0, le=1000.0)]


class ExpectedData(Section):
    """The data set a published number was made on; `num_train` is the images of each training split."""

    name: str
    train: tuple[str, ...] = Field(min_length=1)
    test: str
    num_train: tuple[Count, ...] = Field(min_length=1)
    num_test: Count
    num_classes: Annotated[int, Field(ge=1, le=10_000)]

    @model_validator(mode="after")
    def _a_count_for_each_split(self) -> ExpectedData:
        if len(self.num_train) != len(self.train):
            raise ValueError(f"num_train must have a number for each of {len(self.train)} training splits")
        return self

    @property
    def split_counts(self) -> dict[str, int]:
        """Images of each split by its name."""
        return dict(zip((*self.train, self.test), (*self.num_train, self.num_test), strict=True))


class TransferModel(Section):
    """`norm` is that of the backbone and of the new layers that have one."""

    norm: Literal["SyncBN", "naiveSyncBN", "BN", "FrozenBN"]


class SgdSolver(Section):
    """SGD with momentum, of a length that each kind of protocol says in its own way.

    `images_per_batch` are those of one update, over all devices. With `accumulation_steps` above 1 a device
    takes its share in so many equal parts and adds up their gradients: less memory, the same mean gradient,
    but batch norm sees a part at a time.
    """

    images_per_batch: Annotated[int, Field(ge=1, le=8192)]
    accumulation_steps: Annotated[int, Field(ge=1, le=4096)]
    learning_rate: Rate
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)]
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)]
    precision: Precision

    def num_iterations(self, num_train: int) -> int:
        """Updates of a whole training on so many images."""
        raise NotImplementedError

    def schedule_for(self, images_per_batch: int) -> dict[str, Any]:
        """What changes for another batch: the rate in proportion to it; what counts in images stays."""
        return {
            "images_per_batch": images_per_batch,
            "learning_rate": self.learning_rate * images_per_batch / self.images_per_batch,
        }


class TransferSolver(SgdSolver):
    """A training of so many `iterations`, whatever the number of images."""

    iterations: Count

    def num_iterations(self, num_train: int) -> int:
        """As the protocol says."""
        return self.iterations

    def schedule_for(self, images_per_batch: int) -> dict[str, Any]:
        """The rate in proportion to the batch, all iterations against it."""
        ratio = images_per_batch / self.images_per_batch
        changes = super().schedule_for(images_per_batch)
        return {**changes, "iterations": round(self.iterations / ratio)}


def rising(steps: Sequence[int], iterations: int) -> None:
    """Raises ValueError unless the steps of a schedule rise and lie within it."""
    if list(steps) != sorted(set(steps)) or any(step >= iterations for step in steps):
        raise ValueError(f"steps must rise and lie before the end ({iterations})")


class Run(Section):
    """What cannot move a number: how often to save and to log, loader workers a device, memory layout."""

    checkpoint_iterations: Count = not_in_identity(1000, ge=1, le=10_000_000)
    log_iterations: Count = not_in_identity(20, ge=1, le=10_000_000)
    num_workers: int = not_in_identity(4, ge=0, le=256)
    channels_last: bool = not_in_identity(False)


class TransferProtocol(Section):
    """One file of `configs/transfer` or its twin in `configs/smoke`; each task has a kind of its own.

    `version` rises when a field of the file is corrected; `title` and `source` are for people. `data` says
    what published numbers were made on; what a run was made on is in the identity by its fingerprint.
    """

    slug: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    task: str
    version: Annotated[int, Field(ge=1)]
    title: str = not_in_identity("")
    source: str = not_in_identity("")
    data: ExpectedData = not_in_identity(...)
    run: Run = not_in_identity(Run())

    @property
    def precision(self) -> Precision:
        """Of the network's activations."""
        raise NotImplementedError

    def does(self, num_train: int) -> str:
        """What will be done with so many training images, in a line for a person."""
        raise NotImplementedError


class TrainedProtocol(TransferProtocol):
    """One that trains by gradient descent."""

    model: TransferModel
    solver: SgdSolver

    @property
    def precision(self) -> Precision:
        """Of training; tests are in fp32."""
        return self.solver.precision

    def does(self, num_train: int) -> str:
        """Length, batch, rate, norm and precision."""
        solver = self.solver
        parts = f" in {solver.accumulation_steps} parts" if solver.accumulation_steps > 1 else ""
        return (
            f"{solver.num_iterations(num_train):,} iterations of {solver.images_per_batch} images{parts}, "
            f"learning rate {solver.learning_rate:g}, norm {self.model.norm}, {solver.precision}"
        )
