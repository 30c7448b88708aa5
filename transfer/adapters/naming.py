"""What the tensors of a ResNet are called in public checkpoints: each naming renames torchvision's names.

A naming is a rule, so that it also covers the names of deeper networks, which are then refused as what they
are and not as a heap of unknown keys. Every name is matched whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from bench.core.tensor_ref import TensorRef
from transfer.adapters.keymap import names_of

# Blocks in the stages of a ResNet-152, the deepest that is published.
_DEEPEST = (3, 8, 36, 3)


def _as_it_is(reference: TensorRef) -> TensorRef:
    return reference


@dataclass(frozen=True)
class Naming:
    """One way to call the tensors.

    Attributes:
        name: What a place calls it.
        source: Repository and file that show it.
        rename: torchvision's name, a counter's too, to theirs without prefix.
        arrange: Their tensor as torch has it: axes in another order, axes of length one left out.
    """

    name: str
    source: str
    rename: Callable[[str], str]
    arrange: Callable[[TensorRef], TensorRef] = field(default=_as_it_is)

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Their name to torchvision's, for every depth and with the counters."""
        return {self.rename(name): name for name in names_of(_DEEPEST)}

    @cached_property
    def num_dots(self) -> int:
        """The most dots in one of their names."""
        return max(name.count(".") for name in self.names)

    def splits(self, key: str) -> Iterator[tuple[str, str]]:
        """(prefix, torchvision's name) wherever a name of theirs ends `key` behind a dot or at its start."""
        parts = key.split(".")
        for count in range(max(0, len(parts) - 1 - self.num_dots), len(parts)):
            name = self.names.get(".".join(parts[count:]))
            if name is not None:
                yield (f"{'.'.join(parts[:count])}." if count else ""), name
