"""`bench inspect`: what is in a checkpoint, and what a transfer would take of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.commands._common import reading_options

if TYPE_CHECKING:
    from transfer.adapters.inspection import Inspection

_MAX_CONTAINERS = 6
_MAX_GROUPS = 6
_MAX_BESIDE = 8


@click.command("inspect")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@reading_options
@click.option(
    "--keys", is_flag=True, help="List every key that is left out, not only the first of each rule."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    checkpoint: Path, encoder: str | None, input_spec: Path | None, keys: bool, as_json: bool
) -> None:
    """Say what is in a checkpoint, and what a transfer would take of it.

    Nothing in the file is run. Shows its layout, every encoder, whether all 265 tensors of the backbone are
    there and sound, what is left out by which rule, and the input that the weights expect. A file that
    cannot be used is shown too, with the reason, and the exit code is 5.

    \b
    Examples:
      bench inspect moco_v2_800ep_pretrain.pth.tar
      bench inspect moco_v2_800ep_pretrain.pth.tar --encoder key --json
      bench inspect R-50.pkl --keys
    """
    from dataclasses import asdict

    from bench.commands._text import echo_json, printable, rows, terminal_width
    from bench.core.card import InputSpec
    from bench.core.config import load_config
    from bench.core.errors import WeightsError
    from transfer.adapters.inspection import inspect_checkpoint

    spec = load_config(InputSpec, input_spec) if input_spec else None
    found = inspect_checkpoint(checkpoint, encoder, spec)
    if as_json:
        card = found.card.model_dump(mode="json") if found.card else None
        echo_json({**asdict(found), "card": card})
    else:
        click.echo(f"{printable(found.file)}: {found.size_bytes / 1e6:,.1f} MB, {found.kind}")
        facts = [*_file_facts(found), *_card_facts(found), *_left_out(found, every=keys)]
        for line in rows(facts, column=8, width=terminal_width()):
            click.echo(line)
    if found.problem:
        raise WeightsError(found.problem)


def _file_facts(found: Inspection) -> Iterator[tuple[str, str]]:
    from bench.core.pickle_values import shown

    yield "sha256", found.sha256
    if found.card_file:
        yield "card", found.card_file
    full = [container for container in found.containers if container.num_tensors]
    full.sort(key=lambda container: -container.num_tensors)
    for container in full[:_MAX_CONTAINERS]:
        millions = f"{container.num_elements / 1e6:,.1f} M elements"
        place = shown(container.place) if container.place else "(outermost)"
        yield "holds", f"{place}: {container.num_tensors:,} tensors, {millions}"
        largest = sorted(container.groups.items(), key=lambda item: (-item[1], item[0]))
        groups = ", ".join(f"{shown(name)} {count:,}" for name, count in largest[:_MAX_GROUPS])
        yield "", groups + (", ..." if len(largest) > _MAX_GROUPS else "")
    if len(full) > _MAX_CONTAINERS:
        yield "holds", f"and {len(full) - _MAX_CONTAINERS:,} more dicts with tensors"
    if empty := len(found.containers) - len(full):
        yield "holds", f"{'and ' if full else ''}{empty:,} dict{'s' if empty > 1 else ''} without tensors"
    for encoder in found.encoders:
        label = f"{encoder.label}: " if encoder.label else ""
        fault = f", but it is {encoder.why_not}" if encoder.why_not else ""
        yield "encoder", f"{label}{shown(encoder.place)} ({encoder.num_names} of 265 names){fault}"
    if found.layout:
        yield "layout", found.layout
        yield "", f"as in {found.layout_source}"


def _card_facts(found: Inspection) -> Iterator[tuple[str, str]]:
    from bench.commands._text import input_text
    from bench.core.pickle_values import shown

    card = found.card
    if card is None:
        return
    taken = shown(found.encoder) if found.encoder else "the backbone"
    yield "taken", f"{taken} ({found.num_backbone_tensors} of 265 tensors)"
    yield "tensors", str(card.tensors_sha256)
    if card.source_sha256 != found.sha256:
        yield "from", f"{card.source_file}, layout {card.layout}, encoder {card.encoder or '(no prefix)'}"
    for line in input_text(card.input):
        yield "input", line
    yield "name", card.name
    for key, value in (("licence", card.licence), ("url", card.url)):
        if value:
            yield key, value
    for note in card.notes:
        yield "note", note


def _left_out(found: Inspection, *, every: bool) -> Iterator[tuple[str, str]]:
    from bench.core.pickle_values import shown

    for rule, names in sorted(found.dropped.items(), key=lambda item: -len(item[1])):
        # A rule that is one key says all.
        keys = () if names == (rule,) else names if every else names[:1]
        more = ", ..." if len(keys) == 1 < len(names) else ""
        first = f": {shown(keys[0])}{more}" if keys and not every else ""
        yield "left out", f"{len(names):>4} {shown(rule)}{first}"
        if every:
            for key in keys:
                yield "", f"     {shown(key)}"
    if found.beside:
        kept = found.beside if every else found.beside[:_MAX_BESIDE]
        more = ", ..." if len(kept) < len(found.beside) else ""
        yield "beside", f"{', '.join(map(shown, kept))}{more} (not looked at)"
