"""What a layout is: where a published checkpoint keeps its backbone, and what else is in the file."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from bench.core.card import InputSpec

STANDARD_INPUT = InputSpec()  # RGB, ImageNet's mean and std, stride in the 3x3


@dataclass(frozen=True)
class Place:
    """Where an encoder is.

    Attributes:
        container: Keys from the outermost dict inwards; empty for a file that is one flat dict.
        prefix: What stands before the name, anchored at the start of the key.
        naming: Which names stand behind it, a key of `transfer.adapters.naming.NAMINGS`.
    """

    container: tuple[str, ...]
    prefix: str
    naming: str = "torchvision"

    def __str__(self) -> str:
        names = self.prefix if self.naming == "torchvision" else f"{self.prefix}<{self.naming}>"
        return f"{'/'.join(self.container)}:{names}" if self.container else names or "(no prefix)"


@dataclass(frozen=True)
class Layout:
    """One way in which backbones are published.

    Attributes:
        name: What the card calls it.
        source: Repository and file that show it.
        places: Where the encoder that the authors evaluate may be; a file has one of them.
        others: (label, place) of encoders that may stand beside it.
        label: What `--encoder` may call the encoder taken.
        signs: Patterns of keys, of which the file has each: they tell this layout from a more general one
            at the same place. Written `key` for the outermost dict, `container:key` for another.
        order: Keys of the container that stand there in this order; a sign, too.
        drop: Patterns of whole keys in the container that are left out; `*` stands for anything. The other
            encoders of the same container are left out by their names and prefix, the 53 counters by name.
        drop_outside: Also leave out every key that does not start with the prefix.
        also: Others who publish in this very layout.
        input: What the stem was trained on; None where the file cannot say it, so that the user must.
        notes: For the card.
    """

    name: str
    source: str
    places: tuple[Place, ...]
    label: str = "backbone"
    others: tuple[tuple[str, Place], ...] = ()
    signs: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    drop_outside: bool = False
    also: tuple[str, ...] = ()
    input: InputSpec | None = STANDARD_INPUT
    notes: tuple[str, ...] = ()

    def drop_rule(self, key: str, prefix: str) -> str | None:
        """The first rule by which a key is left out when the encoder at `prefix` is taken, or None."""
        if self.drop_outside and not key.startswith(prefix):
            return f"all outside {prefix}*"
        return next((pattern for pattern in self.drop if fnmatchcase(key, pattern)), None)

    @property
    def num_signs(self) -> int:
        """How special the layout is: of two that fit, the one with more signs is meant."""
        return len(self.signs) + bool(self.order)

    def label_of(self, place: Place) -> str | None:
        """What this layout calls the encoder at `place`, or None for a place that it does not know."""
        if place in self.places:
            return self.label
        return next((label for label, other in self.others if other == place), None)


def place(container: str, prefix: str = "", naming: str = "torchvision") -> Place:
    """A place, its container written with `/`: `place("state_dict", "module.encoder_q.")`."""
    return Place(tuple(container.split("/")) if container else (), prefix, naming)
