"""Which layout a checkpoint has, and which encoder to take: found by anchored names, or asked for.

A checkpoint that fits no layout, or has an encoder that its layout does not know of, is not loaded unless the
user names the encoder. Our own files are not in the table: they are known by their card.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from bench.core.errors import WeightsError
from bench.core.tensor_ref import TensorRef
from transfer.adapters.architecture import why_not_resnet50
from transfer.adapters.haiku import unfold
from transfer.adapters.keymap import COUNTERS, SHAPES, Shape
from transfer.adapters.layout import STANDARD_INPUT, Layout, Place
from transfer.adapters.layouts import LAYOUTS
from transfer.adapters.naming import Naming
from transfer.adapters.namings import NAMINGS

# A prefix counts as an encoder if it stands before this many of the 265 names: a ResNet-18 has 100 of them,
# a damaged ResNet-50 most of them, a head that calls its parts conv1 and bn1 five.
MIN_NAMES = 60
MAX_NESTING = 6  # VISSL keeps its trunk in the fifth dict
_MAX_SHOWN = 6

Encoders = Mapping[Place, frozenset[str]]
"""Each place with a ResNet to the keys of its container that are one of the 265 tensors."""


@dataclass(frozen=True)
class Found:
    """An identified backbone, before the audit.

    Attributes:
        layout: The entry; for a place that only the user named, one made for it, called `named`.
        place: What is taken.
        state: The whole container.
        left_out: The other encoders.
        beside: Keys beside the container and the dicts around it, which are not looked at.
    """

    layout: Layout
    place: Place
    state: Mapping[Any, Any]
    left_out: Encoders
    beside: tuple[str, ...] = ()

    def rest(self, key: object) -> str | None:
        """What stands behind the prefix of the encoder taken, or None for a key of something else."""
        if isinstance(key, str) and key.startswith(self.place.prefix):
            return key.removeprefix(self.place.prefix)
        return None

    @property
    def naming(self) -> Naming:
        """What the encoder taken calls its tensors."""
        return NAMINGS[self.place.naming]

    def left_out_with(self, key: str) -> str | None:
        """The other encoder that a key belongs to, as a rule, or None."""
        ours = self.place.prefix
        for other, keys in self.left_out.items():
            if other.container != self.place.container:
                continue
            # A prefix that is the beginning of ours covers nothing that is ours.
            covers = other.prefix and key.startswith(other.prefix)
            if (
                key in keys
                or _counts_steps(key, other)
                or (covers and (not key.startswith(ours) or len(other.prefix) > len(ours)))
            ):
                return f"{other.prefix}*" if other.prefix else f"{other.naming} names"
        return None


def find_encoders(checkpoint: Mapping[Any, Any]) -> dict[Place, frozenset[str]]:
    """Every place with a ResNet, and which keys of its container are one of the 265 tensors."""
    found: dict[Place, frozenset[str]] = {}
    for container, state in containers(checkpoint):
        tensors = [
            key for key, value in state.items() if isinstance(key, str) and isinstance(value, TensorRef)
        ]
        keys: dict[Place, set[str]] = {}
        for naming in NAMINGS.values():
            for key in tensors:
                for prefix, name in naming.splits(key):
                    if name in SHAPES:
                        keys.setdefault(Place(container, prefix, naming.name), set()).add(key)
        enough = {place: frozenset(names) for place, names in keys.items() if len(names) >= MIN_NAMES}
        # One naming may know a part of what another knows whole; of equals the first in the table counts.
        first = {names: place for place, names in reversed(enough.items())}
        for place, names in enough.items():
            if first[names] == place and not any(names < other for other in enough.values()):
                found[place] = names
    return found


def containers(checkpoint: Mapping[Any, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """Every dict of a checkpoint and its keys from the outside in: each once, outermost first.

    A file may hold one dict twice, or in itself.
    """
    level: list[tuple[tuple[str, ...], Mapping[Any, Any]]] = [((), checkpoint)]
    seen: set[int] = {id(checkpoint)}
    for _ in range(MAX_NESTING):
        below: list[tuple[tuple[str, ...], Mapping[Any, Any]]] = []
        for path, state in level:
            yield path, state
            for key, value in state.items():
                if isinstance(key, str) and isinstance(value, Mapping) and id(value) not in seen:
                    seen.add(id(value))
                    below.append(((*path, key), value))
        level = below


def identify(checkpoint: Mapping[Any, Any], where: str, encoder: str | None = None) -> Found:
    """The layout of a checkpoint, and the encoder to take from it.

    Args:
        checkpoint: As `bench.core.weights.read_checkpoint` gives it.
        where: The file, for messages.
        encoder: What `--encoder` says: a layout's label (`query`, `key`), a prefix (`module.encoder_k.`), or
            a whole place (`model_ema:encoder.`); None takes what the layout's authors evaluate.

    Raises:
        WeightsError: no ResNet under any known names, no or several documented places, an unknown encoder.
    """
    checkpoint = unfold(checkpoint)
    encoders = find_encoders(checkpoint)
    if not encoders:
        raise WeightsError(f"{where}: {_nothing_found(checkpoint)}")
    layouts = _fitting(checkpoint, encoders)
    if encoder is None:
        if len(layouts) != 1:
            raise WeightsError(f"{where}: {_ask(checkpoint, encoders, layouts)}")
        layout = layouts[0]
        place = next(place for place in layout.places if place in encoders)
    else:
        place = _named(encoder, layouts, encoders, where)
        known = [layout for layout in layouts if layout.label_of(place)]
        layout = known[0] if len(known) == 1 else _named_layout(place)
    left_out = {other: keys for other, keys in encoders.items() if other != place}
    return Found(layout, place, _at(checkpoint, place.container), left_out, _beside(checkpoint, place))


def _beside(checkpoint: Mapping[Any, Any], place: Place) -> tuple[str, ...]:
    """The keys beside the container, and beside each dict on the way to it."""
    found = []
    for depth, inner in enumerate(place.container):
        path = place.container[:depth]
        found += ["/".join((*path, str(key)[:60])) for key in _at(checkpoint, path) if key != inner]
    return tuple(found)


def _fitting(checkpoint: Mapping[Any, Any], encoders: Encoders) -> list[Layout]:
    """The layouts that explain every encoder of the file, those with the most signs alone.

    One whose signs are there without its encoder outweighs the more general ones: what its authors evaluate
    was lost, and what stands beside it must not take its place unasked.
    """
    fitting = []
    for layout in LAYOUTS:
        takes = [place for place in layout.places if place in encoders]
        known = {*takes, *(other for _, other in layout.others)}
        at = (takes or layout.places)[0]
        if len(takes) <= 1 and known.issuperset(encoders) and _has_signs(checkpoint, layout, at):
            fitting.append((layout, bool(takes)))
    most = max((layout.num_signs for layout, _ in fitting), default=0)
    return [layout for layout, taken in fitting if taken and layout.num_signs == most]


def _has_signs(checkpoint: Mapping[Any, Any], layout: Layout, place: Place) -> bool:
    for sign in layout.signs:
        container, _, pattern = sign.rpartition(":")
        state = _at(checkpoint, tuple(container.split("/")) if container else ())
        if not any(isinstance(key, str) and fnmatchcase(key, pattern) for key in state):
            return False
    keys = iter(_at(checkpoint, place.container))
    return all(key in keys for key in layout.order)  # each is looked for behind the one before


def _named(encoder: str, layouts: list[Layout], encoders: Encoders, where: str) -> Place:
    def names(place: Place) -> set[str | None]:
        plain = {str(place), str(place).removesuffix("."), place.prefix, place.prefix.removesuffix(".")}
        return {*plain, *(layout.label_of(place) for layout in layouts)} - {""}

    hits = [place for place in encoders if encoder in names(place)]
    if len(hits) != 1:
        problem = "is not in the file" if not hits else "is there more than once"
        raise WeightsError(f"{where}: the encoder {encoder!r} {problem}. {_choices(encoders)}")
    return hits[0]


def _named_layout(place: Place) -> Layout:
    """A layout for an encoder that only the user knows: everything outside its prefix is left out."""
    return Layout(
        name="named",
        source="the user's --encoder",
        places=(place,),
        drop=(f"{_literal(place.prefix)}fc.*",),
        drop_outside=True,
        # Who renames the tensors often feeds them otherwise, too.
        input=STANDARD_INPUT if place.naming == "torchvision" else None,
        notes=("the layout is not in the table: the encoder was named by the user, the input is assumed",),
    )


def _literal(prefix: str) -> str:
    """A prefix from a file, for use in a pattern."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in prefix)


def _counts_steps(key: str, place: Place) -> bool:
    """Whether a key is one of the 53 counters of the encoder at `place`."""
    rest = key.removeprefix(place.prefix) if key.startswith(place.prefix) else ""
    return NAMINGS[place.naming].names.get(rest) in COUNTERS


def _at(checkpoint: Mapping[Any, Any], container: tuple[str, ...]) -> Mapping[Any, Any]:
    state: Any = checkpoint
    for key in container:
        state = state.get(key) if isinstance(state, Mapping) else None
    return state if isinstance(state, Mapping) else {}


def _choices(encoders: Encoders) -> str:
    shown = [f"{str(place)!r} ({len(keys)} of {len(SHAPES)} names)" for place, keys in encoders.items()]
    more = f" and {len(shown) - _MAX_SHOWN} more" if len(shown) > _MAX_SHOWN else ""
    return f"Found: {', '.join(shown[:_MAX_SHOWN])}{more}."


def _ask(checkpoint: Mapping[Any, Any], encoders: Encoders, layouts: list[Layout]) -> str:
    reasons = {place: why_not(checkpoint, place) for place in encoders}
    if all(reasons.values()):
        shown = "; ".join(f"{str(place)!r} is {reason}" for place, reason in reasons.items())
        return f"no encoder in it can serve as a ResNet-50: {shown}. Nothing was loaded."
    if layouts:
        what = f"fits several layouts: {', '.join(layout.name for layout in layouts)}"
    elif len(encoders) > 1:
        what = "has several encoders, and no documented layout fits"
    else:
        what = "has an encoder at a place that no documented layout fits"
    return f"{what}. {_choices(encoders)} Name the one to take with --encoder."


def why_not(checkpoint: Mapping[Any, Any], place: Place) -> str | None:
    """The reason why the encoder at `place` is no plain ResNet-50, or None."""
    return why_not_resnet50(shapes_at(_at(checkpoint, place.container), place))


def shapes_at(state: Mapping[Any, Any], place: Place) -> dict[str, Shape]:
    """Shape of every tensor behind a place's prefix, by torchvision's name where its naming knows it."""
    naming = NAMINGS[place.naming]
    shapes = {}
    for key, value in state.items():
        if isinstance(key, str) and key.startswith(place.prefix) and isinstance(value, TensorRef):
            rest = key.removeprefix(place.prefix)
            shapes[naming.names.get(rest, rest)] = naming.arrange(value).shape
    return shapes


def _nothing_found(checkpoint: Mapping[Any, Any]) -> str:
    names = [str(key)[:60] for key in checkpoint]
    shown = ", ".join(repr(name) for name in names[:_MAX_SHOWN]) or "nothing"
    return (
        f"no ResNet-50 under any known names ({MIN_NAMES} or more of {len(SHAPES)}). The file has "
        f"{len(names):,} keys: {shown}{', ...' if len(names) > _MAX_SHOWN else ''}. Nothing was loaded."
    )
