"""From a file to weights: read, identify, audit, and hold the result against the card that came with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.card import Card, InputSpec, hash_tensors
from bench.core.card_file import Declared, declare, declared_inside, find_card, read_declared
from bench.core.errors import UsageError, WeightsError
from bench.core.paths import as_text, safe_name
from bench.core.pickle_values import shown
from bench.core.weights import Weights, read_card, read_checkpoint, read_weights, sha256_file, weights_file
from transfer.adapters.audit import Audit, audit_backbone, check_tensors
from transfer.adapters.identify import Found, identify
from transfer.adapters.layout import Place
from transfer.adapters.layouts import LAYOUTS

_SUFFIXES = (".pth", ".pt", ".tar", ".pkl", ".pickle", ".ckpt", ".safetensors", ".torch", ".bin")
_MAX_SHOWN = 6
_MAX_BESIDE = 50


@dataclass(frozen=True)
class Loaded:
    """Weights, and what was left out of the checkpoint: rule to keys."""

    weights: Weights
    dropped: Mapping[str, tuple[str, ...]]


def load_backbone(
    path: Path,
    *,
    name: str | None = None,
    encoder: str | None = None,
    input_spec: InputSpec | None = None,
) -> Weights:
    """The ResNet-50 backbone in a checkpoint of any known layout, or in a file of ours.

    Args:
        path: A checkpoint, its kind is found from the content, or the folder of a pretraining run. A card
            beside or inside it is read.
        name: What tables call it; None keeps the name on a card, or makes `resnet50.<file name>`.
        encoder: Which encoder to take where a file has several: see `transfer.adapters.identify`.
        input_spec: What the stem expects, if it is not what the layout says.

    Returns:
        265 float32 tensors under torchvision's names, and the card.

    Raises:
        UsageError: `encoder` is given for a file of ours, which has one only.
        WeightsError: unreadable, of no known layout, no ResNet-50, or not all of it; or not what the card
            beside it says. Nothing is loaded then.
    """
    return load(path, name=name, encoder=encoder, input_spec=input_spec).weights


def load(
    path: Path,
    *,
    name: str | None = None,
    encoder: str | None = None,
    input_spec: InputSpec | None = None,
) -> Loaded:
    """As `load_backbone`, with what was left out."""
    if name is not None:
        safe_name(name, "name of weights", error=WeightsError)
    path = weights_file(path)
    own = read_card(path)
    checkpoint = {} if own else read_checkpoint(path)
    inside = declared_inside(checkpoint, str(path))
    beside = read_declared(path)
    if own is not None:
        if encoder is not None:
            raise UsageError(f"{path}: weights of ours hold one encoder; leave out --encoder")
        loaded = Loaded(read_weights(path), {})
        safe_name(loaded.weights.card.name, f"{path}: name on the card", error=WeightsError)
        check_tensors(loaded.weights.tensors, str(path))
        inside = declare(own.model_dump(mode="json"), f"{path}: card inside")
    declared = _both(path, inside, beside, input_spec)
    if declared is not None and declared.name is not None:
        safe_name(declared.name, f"{find_card(path) or path}: name", error=WeightsError)
    if own is None:
        loaded = _load_foreign(path, checkpoint, encoder, declared, input_spec)
    card = loaded.weights.card
    if declared is not None:
        card = _hold_against(path, card, declared)
    if name is not None:
        card = card.model_copy(update={"name": name})
    spec = _laid_over(input_spec, card.input) if input_spec else card.input
    if spec != card.input:
        notes = dict.fromkeys((*card.notes, "the input spec was given by the user"))
        card = card.model_copy(update={"input": spec, "notes": tuple(notes)})
    return Loaded(Weights(card, loaded.weights.tensors), loaded.dropped)


def _both(
    path: Path, inside: Declared | None, beside: Declared | None, input_spec: InputSpec | None
) -> Declared | None:
    """What the cards inside and beside a file say together.

    Raises:
        WeightsError: they contradict each other, or the user.
    """
    if beside is None:
        return inside
    place = find_card(path) or path
    if beside.input is not None and input_spec is not None:
        _same(place, "input", beside.input, _laid_over(input_spec, beside.input))
    if inside is None:
        return beside
    for key in ("tensors_sha256", "input", "layout", "encoder"):
        if getattr(beside, key) is not None:
            _same(place, key, getattr(beside, key), getattr(inside, key))
    told = {key: getattr(beside, key) for key in beside.model_fields_set}
    if beside.tensors_sha256 is None:
        # It speaks of this file; the card inside of the one that the weights came from.
        if beside.source_sha256 is not None:
            _same(place, "source_sha256", beside.source_sha256, sha256_file(path))
        told = {key: value for key, value in told.items() if key in ("name", "licence", "url", "notes")}
    return inside.model_copy(update={key: value for key, value in told.items() if value is not None})


def _laid_over(spec: InputSpec, base: InputSpec) -> InputSpec:
    """The fields that the user gave, over what is known of the file.

    Raises:
        WeightsError: another channel order without its mean and std.
    """
    given = {key: getattr(spec, key) for key in spec.model_fields_set}
    turned = given.get("channel_order", base.channel_order) != base.channel_order
    if turned and not given.keys() >= {"mean", "std"}:
        raise WeightsError(
            f"--input-spec: {spec.channel_order.upper()} where the weights are known to be for "
            f"{base.channel_order.upper()}; give mean and std in that order, too"
        )
    return base.model_copy(update=given)


def default_name(path: Path) -> str:
    """`resnet50.<file name without its endings>`, with other characters than a name may have as `-`."""
    stem = path.name
    while stem.lower().endswith(_SUFFIXES):
        stem = stem[: stem.rindex(".")]
    stem = _plain(stem) or "unnamed"
    return f"resnet50.{stem.removeprefix('resnet50.')}"[:200]


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-.")


def encoder_to_take(encoder: str | None, declared: Declared | None) -> str | None:
    """What `--encoder` says, else the card beside the file; None for what the layout's authors evaluate.

    The encoder on the card of a copy is where its tensors were in another file, and says nothing of this one.
    """
    if encoder is None and declared is not None and declared.tensors_sha256 is None:
        return declared.encoder or None
    return encoder


def _load_foreign(
    path: Path,
    checkpoint: Mapping[Any, Any],
    encoder: str | None,
    declared: Declared | None,
    input_spec: InputSpec | None,
) -> Loaded:
    found = identify(checkpoint, str(path), encoder_to_take(encoder, declared))
    audit = audit_backbone(found, str(path))
    said = declared.input if declared else None
    spec = said or found.layout.input or input_spec
    if spec is None or (found.layout.input is None and "channel_order" not in spec.model_fields_set):
        raise WeightsError(
            f"{path}: files of the layout {found.layout.name} do not say whether their stem sees RGB or BGR; "
            "say it with --input-spec (channel_order), or in a card beside the file (docs/weights.md). "
            "Nothing was loaded."
        )
    name = _name(path, checkpoint, found, declared)
    card = _card(path, name, found, audit, spec)
    if found.layout.input is None or (said is not None and said != found.layout.input):
        giver = "the user" if said is None else "the card beside the file"
        card = card.model_copy(update={"notes": (*card.notes, f"the input spec was given by {giver}")})
    return Loaded(Weights(card, audit.tensors), audit.dropped)


def _name(path: Path, checkpoint: Mapping[Any, Any], found: Found, declared: Declared | None) -> str:
    """The name on the card or of the file, with the encoder's where the name stands for another encoder.

    Two encoders of one file are two rows of a table.
    """
    name, said = default_name(path), None
    in_table = found.layout in LAYOUTS
    if declared is not None and declared.tensors_sha256 is None:
        name, said = declared.name or name, declared.encoder
    if said:
        another = identify(checkpoint, str(path), said).place != found.place
    elif in_table:
        another = found.place not in found.layout.places
    else:
        another = bool(found.left_out)
    if not another:
        return name
    label = found.layout.label_of(found.place) if in_table else None
    return f"{name}.{label or _plain(str(found.place))}"[:200]


def _card(path: Path, name: str, found: Found, audit: Audit, spec: InputSpec) -> Card:
    # Names from a stranger's file: of any length, and with characters that no card can hold.
    dropped = [f"{shown(rule)} ({len(keys)})" for rule, keys in audit.dropped.items()]
    dropped += [f"{shown(key)} (beside the container)" for key in found.beside[:_MAX_BESIDE]]
    if len(found.beside) > _MAX_BESIDE:
        dropped.append(f"and {len(found.beside) - _MAX_BESIDE} more (beside the container)")
    notes = list(audit.notes)
    if found.left_out:
        others = [_labelled(found, place) for place in found.left_out]
        there = ", ".join(others[:_MAX_SHOWN]) + (", ..." if len(others) > _MAX_SHOWN else "")
        notes.append(f"several encoders: {_labelled(found, found.place)} was taken; also there: {there}")
    return Card(
        name=name,
        layout=found.layout.name,
        encoder=shown(str(found.place)),
        source_file=as_text(path.name),
        source_sha256=sha256_file(path),
        tensors_sha256=hash_tensors(audit.tensors),
        input=spec,
        dropped=tuple(dropped),
        notes=tuple(notes),
    )


def _labelled(found: Found, place: Place) -> str:
    return f"{found.layout.label_of(place) or 'unknown'} ({shown(str(place))})"


def _hold_against(path: Path, card: Card, declared: Declared) -> Card:
    """The card with what the card that came with the file adds to it.

    Raises:
        WeightsError: the two speak of other tensors, another file, or another layout.
    """
    place = find_card(path) or path
    if declared.tensors_sha256 is not None:
        _same(place, "tensors_sha256", declared.tensors_sha256, card.tensors_sha256)
        # A copy of weights that have a card already: it says where they come from, the copy does not.
        told = {key: getattr(declared, key) for key in declared.model_fields_set}
        return card.model_copy(update={key: value for key, value in told.items() if value is not None})
    if declared.source_sha256 is not None:
        _same(place, "source_sha256", declared.source_sha256, card.source_sha256)
    if declared.layout is not None:
        _same(place, "layout", declared.layout, card.layout)
    update = {
        "input": declared.input or card.input,
        "licence": declared.licence or card.licence,
        "url": declared.url or card.url,
        "notes": tuple(dict.fromkeys((*card.notes, *declared.notes))),
    }
    return card.model_copy(update=update)


def _same(place: Path, key: str, declared: object, found: object) -> None:
    if declared != found:
        said = f"{shown(str(declared))}, found {shown(str(found))}"
        raise WeightsError(
            f"{place}: {key}: says {said}. Card and checkpoint do not belong together, or one was edited; "
            "correct the card or take it away. Nothing was loaded."
        )
