"""`bench weights`: list public checkpoints, and download one with its hash checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench.core.card_file import Declared
    from transfer.adapters.public_weights import PublicWeights

_PREFIX = "resnet50."
_WIDTH_WITH_HASH = 110
_WIDTH_WITH_SOURCE = 140


@click.group("weights")
def command() -> None:
    """List public checkpoints, and download one with its hash checked.

    Besides it, bench data download alone downloads anything.

    \b
    Examples:
      bench weights list
      bench weights get resnet50.moco_v2_800ep
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON, with every field.")
def list_(as_json: bool) -> None:
    """List the public ResNet-50 checkpoints that can be downloaded by name.

    Only those whose authors publish address and hash. Any other checkpoint can be used too: download it
    yourself, and give the file to the command. Nothing is downloaded here.

    \b
    Examples:
      bench weights list
      bench weights list --json
    """
    import json
    import shutil
    import sys

    from transfer.adapters.public_weights import PUBLIC_WEIGHTS

    if as_json:
        click.echo(json.dumps([_fields(entry) for entry in PUBLIC_WEIGHTS], indent=2, sort_keys=True))
        return
    colour = sys.stdout.isatty()
    width = max(80, shutil.get_terminal_size().columns) if colour else 160
    click.echo(_table(PUBLIC_WEIGHTS, width=width, colour=colour), nl=False)


@command.command("get")
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("weights"),
    show_default=True,
    help="Folder for the checkpoint and its card.",
)
@click.option("--force", is_flag=True, help="Replace another file or card that is there.")
@click.option("--dry-run", is_flag=True, help="Say what would be downloaded, and to where.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def get(name: str, out: Path, force: bool, dry_run: bool, as_json: bool) -> None:
    """Download the checkpoint NAME, check its hash, and write its card beside it.

    A download that stops goes on where it was when the same command is run again. A file that is there with
    the right hash is not downloaded again. A file with a wrong hash is never kept. The "resnet50." of NAME
    may be left out.

    \b
    Examples:
      bench weights get resnet50.supervised_torchvision
      bench weights get resnet50.moco_v2_800ep --out checkpoints --dry-run
    """
    import json

    from bench.commands._text import in_mib, printable
    from bench.core import atomic
    from bench.core.card_file import card_path
    from bench.core.download import already_there, fetch
    from bench.core.errors import UsageError
    from bench.core.log import progress, say

    entry = _find(name)
    path = out / entry.file_name
    place, shown = card_path(path), printable(str(path))
    sha256 = already_there(path, entry.digest, force=force)
    result: dict[str, object] = {"name": entry.name, "url": entry.url, "path": str(path), "card": str(place)}

    def write_card(sha256: str) -> None:
        card = _declared(entry, path, sha256).model_dump(mode="json", exclude_none=True)
        atomic.write_text(place, atomic.json_text({key: value for key, value in card.items() if value}))

    result |= {"dry_run": dry_run, "downloaded": sha256 is None and not dry_run}
    if sha256 is None:
        if place.exists() and not force and not _is_of(entry, path):
            raise UsageError(f"{place}: exists already, and its checkpoint does not; --force replaces it")
        say(f"{entry.url}\n  to {shown}, {_size(entry)}, {entry.digest.kind} {entry.digest.digits}...")
        say(f"  licence: {entry.licence}; source: {entry.source}")
        if not dry_run:
            with progress(f"Downloading {path.name}, MiB", 1) as bar:
                sha256 = fetch(
                    entry.url,
                    path,
                    digest=entry.digest,
                    progress=in_mib(bar),
                    # Before the file has its name: without its card it may be taken for something else.
                    checked=write_card,
                    force=force,
                )
    elif not dry_run and (force or not place.exists()):
        write_card(sha256)
    elif place.exists() and not _is_of(entry, path):
        raise UsageError(f"{place}: is not the card of {entry.name}; --force replaces it")
    result["sha256"] = sha256
    if as_json:
        click.echo(json.dumps(result, indent=2, sort_keys=True))
    elif result["downloaded"]:
        click.echo(f"{shown}: downloaded, sha256 {sha256}")
    elif sha256 is not None:
        click.echo(f"{shown}: is there already, sha256 {sha256}")
    else:
        click.echo(f"{shown}: would be downloaded")


def _find(name: str) -> PublicWeights:
    """The entry of that name. Raises UsageError, with the nearest name, if there is none."""
    from bench.core.errors import UsageError, did_you_mean
    from transfer.adapters.public_weights import PUBLIC_WEIGHTS

    # All begin alike, which would make any two of them near to each other.
    known = {entry.name.removeprefix(_PREFIX): entry for entry in PUBLIC_WEIGHTS}
    short = name.removeprefix(_PREFIX)
    if short not in known:
        near = did_you_mean(short, list(known))
        raise UsageError(f'no public weights {name!r}.{near} "bench weights list" lists them.')
    return known[short]


def _declared(entry: PublicWeights, path: Path, sha256: str) -> Declared:
    """What the card beside the file says; what only a look into the file could tell is left out."""
    from bench.core.card_file import Declared

    return Declared(
        name=entry.name,
        layout=entry.layout,
        encoder=entry.encoder or None,
        source_file=path.name,
        source_sha256=sha256,
        input=entry.input,
        licence=entry.licence,
        url=entry.url,
        notes=(entry.note,) if entry.note else (),
    )


def _is_of(entry: PublicWeights, path: Path) -> bool:
    """Whether the card at hand is the one that an earlier, interrupted download of this entry wrote."""
    from bench.core.card_file import read_declared

    declared = read_declared(path)
    return declared is not None and (declared.name, declared.url) == (entry.name, entry.url)


def _size(entry: PublicWeights) -> str:
    return "size not stated" if entry.size_mib is None else f"{entry.size_mib:.1f} MiB"


def _fields(entry: PublicWeights) -> dict[str, object]:
    """The entry as JSON has it."""
    return {
        "name": entry.name,
        "url": entry.url,
        "digest": {"kind": entry.digest.kind, "digits": entry.digest.digits},
        "source": entry.source,
        "licence": entry.licence,
        "layout": entry.layout,
        "encoder": entry.encoder,
        "size_mib": entry.size_mib,
        "input": None if entry.input is None else entry.input.model_dump(mode="json"),
        "note": entry.note,
    }


def _table(entries: tuple[PublicWeights, ...], *, width: int, colour: bool) -> str:
    """The entries as aligned text; "-" is what their authors do not state or what we do not know.

    A narrow terminal gets fewer columns: `--json` has all.
    """
    import io

    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    headers = ["name", "layout", "encoder", "MiB", "licence"]
    headers += ["hash"] * (width >= _WIDTH_WITH_HASH) + ["source"] * (width >= _WIDTH_WITH_SOURCE)
    for header in headers:
        table.add_column(
            header,
            overflow="fold",
            no_wrap=header in ("name", "licence", "hash"),
            justify="right" if header == "MiB" else "left",
        )
    for entry in entries:
        size = "-" if entry.size_mib is None else f"{entry.size_mib:.1f}"
        digest = f"{entry.digest.kind} {entry.digest.digits}"
        cells = (entry.layout or "-", entry.encoder or "-", size, entry.licence, digest, entry.source)
        shown = cells[: len(headers) - 1]
        table.add_row(Text(entry.name, style="bold"), *map(Text, shown))
    buffer = io.StringIO()
    console = Console(
        file=buffer, width=width, force_terminal=colour, color_system="standard" if colour else None,
        no_color=not colour, highlight=False, markup=False, emoji=False, legacy_windows=False,
    )  # fmt: skip
    console.print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().split("\n"))
