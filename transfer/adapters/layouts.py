"""The table of public checkpoint layouts, and which of them a checkpoint has.

A layout says where the backbone is (container and prefix, anchored at the start of the key), which other
encoders may stand beside it, and which keys are left out. To add one, add an entry to `LAYOUTS` with its
source. A checkpoint that fits no entry, or has an encoder that the entry does not know of, is not loaded
unless the user names the encoder. Our own files are not in the table: they are known by their card.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from bench.core.card import InputSpec
from bench.core.errors import WeightsError
from transfer.adapters.keymap import SHAPES

# A prefix counts as an encoder if it stands before this many of the 265 names: a ResNet-18 has 100 of them,
# a damaged ResNet-50 most of them, a head that calls its parts conv1 and bn1 five.
MIN_NAMES = 60
MAX_NESTING = 4
_MAX_SHOWN = 6

STANDARD_INPUT = InputSpec()  # RGB, ImageNet's mean and std, stride in the 3x3


@dataclass(frozen=True)
class Place:
    """Where an encoder is: the container's keys from the outside in, and the prefix inside it."""

    container: tuple[str, ...]
    prefix: str

    def __str__(self) -> str:
        return f"{'/'.join(self.container)}:{self.prefix}" if self.container else self.prefix or "(no prefix)"


@dataclass(frozen=True)
class Layout:
    """One way in which backbones are published.

    Attributes:
        name: What the card calls it.
        source: Repository and file that show it.
        places: Where the encoder that the authors evaluate may be; a file has one of them.
        others: (label, place) of encoders that may stand beside it.
        label: What `--encoder` may call the encoder taken.
        drop: Patterns of whole keys in the container that are left out; `*` stands for anything. The other
            encoders of the same container are left out by their prefix, the 53 counters by name.
        drop_outside: Also leave out every key that does not start with the prefix.
        input: What the stem was trained on.
        notes: For the card.
    """

    name: str
    source: str
    places: tuple[Place, ...]
    label: str = "backbone"
    others: tuple[tuple[str, Place], ...] = ()
    drop: tuple[str, ...] = ()
    drop_outside: bool = False
    input: InputSpec = STANDARD_INPUT
    notes: tuple[str, ...] = ()

    def drop_rule(self, key: str, prefix: str) -> str | None:
        """The first rule by which a key is left out when the encoder at `prefix` is taken, or None."""
        if self.drop_outside and not key.startswith(prefix):
            return f"all outside {prefix}*"
        return next((pattern for pattern in self.drop if fnmatchcase(key, pattern)), None)


def _in(container: str, prefix: str) -> Place:
    return Place((container,) if container else (), prefix)


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        name="torchvision",
        source="pytorch/vision torchvision/models/resnet.py",
        places=(_in("", ""),),
        drop=("fc.*",),
    ),
    Layout(
        # Also what DenseCL and others release: plain names in a container, saved through DataParallel or not.
        name="plain",
        source="huggingface/pytorch-image-models timm/models/_helpers.py, load_state_dict",
        places=(
            _in("state_dict", ""),
            _in("model", ""),
            _in("", "module."),
            _in("state_dict", "module."),
            _in("model", "module."),
        ),
        drop=("fc.*", "module.fc.*"),
    ),
    Layout(
        name="moco",
        source="facebookresearch/moco moco/builder.py, detection/convert-pretrain-to-detectron2.py",
        places=(_in("state_dict", "module.encoder_q."),),
        label="query",
        others=(("key", _in("state_dict", "module.encoder_k.")),),
        drop=("module.encoder_q.fc.*", "module.encoder_k.fc.*", "module.queue", "module.queue_ptr"),
    ),
    Layout(
        name="moco-v3",
        source="facebookresearch/moco-v3 moco/builder.py, main_lincls.py",
        places=(_in("state_dict", "module.base_encoder."),),
        label="base",
        others=(("momentum", _in("state_dict", "module.momentum_encoder.")),),
        drop=("module.base_encoder.fc.*", "module.momentum_encoder.fc.*", "module.predictor.*"),
    ),
    Layout(
        name="simsiam",
        source="facebookresearch/simsiam simsiam/builder.py, main_lincls.py",
        places=(_in("state_dict", "module.encoder."),),
        drop=("module.encoder.fc.*", "module.predictor.*"),
    ),
    Layout(
        # InstDis, MoCo, PIRL, MoCo v2 and InfoMin; its two-branch models (encoder1, encoder2) see one and two
        # colour channels and fit no detector.
        name="pycontrast",
        source="HobbitLong/PyContrast pycontrast/learning/contrast_trainer.py, networks/build_backbone.py",
        places=(_in("model", "module.encoder."),),
        label="query",
        others=(("ema", _in("model_ema", "encoder.")),),
        drop=("module.head.*", "module.head_jig.*", "head.*", "head_jig.*"),
    ),
)


@dataclass(frozen=True)
class Found:
    """An identified backbone, before the audit.

    Attributes:
        layout: The entry; for a place that only the user named, one made for it, called `named`.
        place: What is taken.
        state: The whole container.
        left_out: Places of the other encoders.
        top_level: Keys beside the container, which are not looked at.
    """

    layout: Layout
    place: Place
    state: Mapping[Any, Any]
    left_out: tuple[Place, ...] = ()
    top_level: tuple[str, ...] = ()


def find_encoders(checkpoint: Mapping[Any, Any]) -> dict[Place, int]:
    """Every place with a ResNet in torchvision's names -> how many of the 265 names it has."""
    found: dict[Place, int] = {}
    for container, state in _containers(checkpoint):
        counts: dict[str, int] = {}
        for key in state:
            if isinstance(key, str):
                for prefix, name in _splits(key):
                    if name in SHAPES:
                        counts[prefix] = counts.get(prefix, 0) + 1
        found |= {Place(container, prefix): n for prefix, n in counts.items() if n >= MIN_NAMES}
    return found


def _containers(checkpoint: Mapping[Any, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    # Each dict once, outermost first: a file may hold one twice, or in itself.
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


def _splits(key: str) -> Iterator[tuple[str, str]]:
    """(prefix, rest) at each dot of a key; the longest of the 265 names has five parts."""
    parts = key.split(".")
    for count in range(max(0, len(parts) - 5), len(parts) - 1):
        prefix = ".".join(parts[:count])
        yield (f"{prefix}." if count else ""), ".".join(parts[count:])


def identify(checkpoint: Mapping[Any, Any], where: str, encoder: str | None = None) -> Found:
    """The layout of a checkpoint, and the encoder to take from it.

    Args:
        checkpoint: As `bench.core.weights.read_checkpoint` gives it.
        where: The file, for messages.
        encoder: What `--encoder` says: a layout's label (`query`, `key`), a prefix (`module.encoder_k.`), or
            a whole place (`model_ema:encoder.`); None takes what the layout's authors evaluate.

    Raises:
        WeightsError: no ResNet in torchvision's names, no or several documented places, an unknown encoder.
    """
    encoders = find_encoders(checkpoint)
    if not encoders:
        raise WeightsError(f"{where}: {_nothing_found(checkpoint)}")
    layout, default = _documented(encoders, where) if encoder is None else _match(encoders)
    place = default
    if encoder is not None:
        place = _named(encoder, layout, encoders, where)
        known = layout is not None and place in (default, *(other for _, other in layout.others))
        layout = layout if known else None
    if place is None:  # _documented raises and _named gives a place
        raise WeightsError(f"{where}: {_ask(encoders)}")
    if layout is None:
        layout = _named_layout(place)
    state = _at(checkpoint, place.container)
    left_out = tuple(other for other in encoders if other != place)
    beside = _at(checkpoint, place.container[:-1]) if place.container else {}
    top_level = tuple(str(key)[:60] for key in beside if key != place.container[-1])
    return Found(layout, place, state, left_out, top_level)


def _match(encoders: Mapping[Place, int]) -> tuple[Layout | None, Place | None]:
    """The one layout whose place is there, or nothing."""
    hits = [(layout, place) for layout in LAYOUTS for place in layout.places if place in encoders]
    return hits[0] if len(hits) == 1 else (None, None)


def _documented(encoders: Mapping[Place, int], where: str) -> tuple[Layout, Place]:
    layout, place = _match(encoders)
    if layout is None or place is None:
        raise WeightsError(f"{where}: {_ask(encoders)}")
    known = {place, *(other for _, other in layout.others)}
    if not known.issuperset(encoders):
        raise WeightsError(f"{where}: {_ask(encoders)}")
    return layout, place


def _named(encoder: str, layout: Layout | None, encoders: Mapping[Place, int], where: str) -> Place:
    labels = {place: set[str]() for place in encoders}
    for place, names in labels.items():
        names |= {str(place), str(place).removesuffix("."), place.prefix, place.prefix.removesuffix(".")}
        names.discard("")
    if layout is not None:
        for label, place in ((layout.label, p) for p in layout.places):
            labels.setdefault(place, set()).add(label)
        for label, place in layout.others:
            labels.setdefault(place, set()).add(label)
    hits = [place for place, names in labels.items() if encoder in names and place in encoders]
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
        notes=("the layout is not in the table: the encoder was named by the user, the input is assumed",),
    )


def _literal(prefix: str) -> str:
    """A prefix from a file, for use in a pattern."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in prefix)


def _at(checkpoint: Mapping[Any, Any], container: tuple[str, ...]) -> Mapping[Any, Any]:
    state: Any = checkpoint
    for key in container:
        state = state[key]
    return state if isinstance(state, Mapping) else {}


def _choices(encoders: Mapping[Place, int]) -> str:
    shown = [f"{str(place)!r} ({count} of {len(SHAPES)} names)" for place, count in encoders.items()]
    more = f" and {len(shown) - _MAX_SHOWN} more" if len(shown) > _MAX_SHOWN else ""
    return f"Found: {', '.join(shown[:_MAX_SHOWN])}{more}."


def _ask(encoders: Mapping[Place, int]) -> str:
    what = "several encoders, and no" if len(encoders) > 1 else "an encoder at a place that no"
    return f"has {what} documented layout fits. {_choices(encoders)} Name the one to take with --encoder."


def _nothing_found(checkpoint: Mapping[Any, Any]) -> str:
    names = [str(key)[:60] for key in checkpoint]
    shown = ", ".join(repr(name) for name in names[:_MAX_SHOWN]) or "nothing"
    return (
        f"no ResNet-50 under torchvision's names ({MIN_NAMES} or more of {len(SHAPES)}). The file has "
        f"{len(names):,} keys: {shown}{', ...' if len(names) > _MAX_SHOWN else ''}. Nothing was loaded."
    )
