"""`[parts]` of a contrastive method: what PyContrast's options combine, and what of it goes together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, model_validator

from bench.core.errors import BenchError
from bench.core.protocol import not_in_identity
from bench.images.view_config import ViewConfig
from pretrain.bank import NegativesDraw
from pretrain.config import MethodParts, PretrainConfig
from pretrain.distributed import Shuffle
from pretrain.heads import HeadKind
from pretrain.modality import Modality, num_branches
from pretrain.views.learned import Generator, read_generator

_OF_MEMORY = {
    "queue": ("queue_size", "ema_momentum", "shuffle_bn"),
    "bank": ("num_negatives", "bank_momentum", "negatives_draw"),
    "batch": (),
}


Value = TypeVar("Value")


def given(value: Value | None) -> Value:
    """A part that belongs to the memory, and so is there: `ContrastParts` refuses a config without it."""
    if value is None:
        raise TypeError("a part of another memory")
    return value


class ContrastParts(MethodParts):
    """`[parts]` of a contrastive method.

    Attributes:
        modality: "rgb" for one network; "y_dbdr" or "l_ab" for one that sees lightness and one that sees
            colour, each of half the width, of which each must find the other's projection; "learned" for the
            first channel and the other two of a generator in their places.
        generator: Its file, as `bench views learned` writes it.
        generator_sha256: Of that file, so that another generator is another run.
        memory: What a view is compared with: a "queue" of keys of a momentum copy, a "bank" of an entry for
            each image, or the other images of the "batch".
        head: Of the projector.
        projection_dim: Length of a projection; 128 in all of PyContrast.
        temperature: Divides similarities.
        jigsaw_weight: Share of the jigsaw branch in the loss, beta; None for no such branch.
        queue_size: Of a queue: negatives.
        ema_momentum: Of the momentum encoder; .999 in PyContrast.
        shuffle_bn: Among which processes keys are shuffled; "node" in PyContrast, "global" in MoCo.
        num_negatives: Of a bank: drawn for each image.
        bank_momentum: Share of the old entry when it is replaced; .5 in PyContrast.
        negatives_draw: "each" image has its own negatives, as published, or one draw is "shared" by a step.
    """

    modality: Modality
    generator: str | None = not_in_identity(None, pattern=r"\.safetensors$")
    generator_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    memory: Literal["queue", "bank", "batch"]
    head: HeadKind
    projection_dim: Annotated[int, Field(ge=2, le=65_536)]
    temperature: Annotated[float, Field(gt=0.0, le=100.0)]
    jigsaw_weight: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    queue_size: Annotated[int, Field(ge=1, le=16_777_216)] | None = None
    ema_momentum: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    shuffle_bn: Shuffle | None = None
    num_negatives: Annotated[int, Field(ge=1, le=16_777_216)] | None = None
    bank_momentum: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    negatives_draw: NegativesDraw | None = None

    @property
    def num_views(self) -> int:
        """A bank has the other view in it."""
        return 1 if self.memory == "bank" else 2

    @property
    def num_candidates(self) -> int | None:
        """Among how many the positive is to be found; None where it depends on the batch."""
        if self.memory == "batch":
            return None
        return 1 + given(self.queue_size if self.memory == "queue" else self.num_negatives)

    @model_validator(mode="after")
    def _has_its_generator(self) -> ContrastParts:
        learned = self.modality == "learned"
        for field in ("generator", "generator_sha256"):
            if (getattr(self, field) is not None) != learned:
                verb = "needs" if learned else "has no use for"
                raise ValueError(f'modality = "{self.modality}" {verb} {field}')
        return self

    @model_validator(mode="after")
    def _goes_with_its_memory(self) -> ContrastParts:
        for memory, fields in _OF_MEMORY.items():
            for field in fields:
                if memory == self.memory and getattr(self, field) is None:
                    raise ValueError(f'memory = "{memory}" needs {field}')
                if memory != self.memory and getattr(self, field) is not None:
                    raise ValueError(f'{field} goes with memory = "{memory}", not "{self.memory}"')
        return self


def generator_of(parts: ContrastParts) -> Generator | None:
    """The generator of learned channels, or None.

    Raises:
        WeightsError: its file cannot be read, or is not the one whose hash the config has.
    """
    if parts.modality != "learned":
        return None
    return read_generator(Path(given(parts.generator)), sha256=given(parts.generator_sha256))


def _generator_problems(parts: ContrastParts) -> list[str]:
    try:
        generator_of(parts)
    except BenchError as error:
        return [f"parts.generator: {error}"]
    return []


def contrast_problems(config: PretrainConfig[Any]) -> list[str]:
    """What does not fit together in a config whose parts are `ContrastParts`."""
    parts: ContrastParts = config.parts
    problems = []
    if (config.jigsaw is None) != (parts.jigsaw_weight is None):
        problems.append("[jigsaw] and parts.jigsaw_weight go together: give both or neither")
    if parts.queue_size is not None and config.batch_size > parts.queue_size:
        problems.append(
            f"batch_size {config.batch_size:,} does not fit into parts.queue_size {parts.queue_size:,}"
        )
    problems += _generator_problems(parts)
    if num_branches(parts.modality) == 1:
        return problems
    for table in ("view", "second_view"):
        view: ViewConfig | None = getattr(config, table)
        if view is None:
            continue
        if view.randaugment is not None and view.randaugment.out_of == "all":
            problems.append(
                f'{table}.randaugment.out_of: what changes colours is for one network; "colour_free" with '
                f'parts.modality = "{parts.modality}", as CMC v2'
            )
        if view.gray_probability > 0:
            problems.append(
                f"{table}.gray_probability: of a grey picture, the network that sees colour sees nothing; "
                f'leave it out with parts.modality = "{parts.modality}"'
            )
    return problems
