"""The losses of a network on a part of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


def losses_of(model: nn.Module) -> Callable[[Any, list[Any]], dict[str, Tensor]]:
    """A function of the model as Fabric has it and of samples, to the losses that are minimised.

    Args:
        model: The plain one, whose preprocessor normalises, fills up and stacks.

    Source:
        open-mmlab/mmengine mmengine/model/base_model/base_model.py, parse_losses: what has `loss` in its
        name is minimised, the rest (accuracies) is for the log.
    """
    plain: Any = model

    def losses(step_model: Any, samples: list[Any]) -> dict[str, Tensor]:
        batch = {
            "inputs": [sample["inputs"] for sample in samples],
            "data_samples": [sample["data_samples"] for sample in samples],
        }
        every = step_model(**plain.data_preprocessor(batch, True), mode="loss")
        return {name: value for name, value in every.items() if "loss" in name}

    return losses
