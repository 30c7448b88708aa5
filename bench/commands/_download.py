"""`bench data download NAME`: data sets whose address and checksum torchvision has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from transfer.data.download_sets import Archive, Part

ARCHIVES = "archives.part"
"""Folder for the archives that are not kept, and for the lock."""


@dataclass
class _Step:
    """A part of a set: where it goes, whether it is there, and which of its archives are."""

    part: Part
    place: Path
    is_there: bool
    archives: list[tuple[Archive, Path, bool]]


@click.command("download", short_help="Download VOC, SBD or Imagenette, checked.")
@click.argument("name")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of data sets, where it goes."
)
@click.option("--keep-archives", is_flag=True, help="Keep what was downloaded, beside what is unpacked.")
@click.option("--dry-run", is_flag=True, help="Say what would be downloaded, and to where.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(name: str, out: Path, keep_archives: bool, dry_run: bool, as_json: bool) -> None:
    """Download the data set NAME, check its archives' md5, and unpack it.

    \b
    voc2007         VOC2007: trainval and test
    voc2012         VOC2012: trainval
    voc0712         VOC2007 and VOC2012, for voc-det
    voc-seg         VOC2012 with SBD's label maps, for semseg
    imagenette      imagenette2: class folders, ten easy classes of ImageNet
    imagenette-320  imagenette2-320: the same, short side 320 px
    imagenette-160  imagenette2-160: the same, short side 160 px

    VOC goes to DIR/VOCdevkit. Addresses and checksums are those of torchvision. A folder appears whole or not
    at all; what is there already is left as it is. A download that stops goes on where it was when the same
    command is run again.

    \b
    Examples:
      bench data download voc0712 --out data --dry-run
      bench data download voc-seg --out data --keep-archives
    """
    from bench.commands._text import echo_json, printable
    from bench.core.log import say
    from transfer.data.download_sets import find_set

    wanted = find_set(name)
    steps = [_look(part, out, keep=keep_archives) for part in wanted.parts]
    todo = [step for step in steps if not step.is_there]
    for step in todo:
        say(f"{printable(str(step.place))}, of")
        for archive, path, is_there in step.archives:
            state = "is there" if is_there else f"to {printable(str(path))}"
            say(f"  {archive.url}\n    {state}, md5 {archive.digest.digits}")
    notes: list[str] = []
    if todo and not dry_run:
        with _hold(out):
            for step in todo:
                # Looked at again: another process may have brought it before we had the lock.
                notes += _make(_look(step.part, out, keep=keep_archives), out, keep=keep_archives)
    if as_json:
        facts = [_fields(step, made=step in todo and not dry_run) for step in steps]
        echo_json({"name": name, "out": str(out), "dry_run": dry_run, "parts": facts, "notes": notes})
        return
    for step in steps:
        verb = "is there already" if step.is_there else "would be made" if dry_run else "made"
        click.echo(f"{printable(str(step.place))}: {verb}")
    for note in notes:
        click.echo(printable(note))


def _look(part: Part, out: Path, *, keep: bool) -> _Step:
    """What of a part is there; reads only. Raises UsageError if something else is in its place."""
    is_there = part.is_there(out)
    archives = []
    for archive in () if is_there else part.archives:
        places = out / archive.file_name, out / ARCHIVES / archive.file_name
        there = next((path for path in places if _is_archive(path, archive)), None)
        archives.append((archive, there or places[not keep], there is not None))
    return _Step(part, part.place(out), is_there, archives)


def _is_archive(path: Path, archive: Archive) -> bool:
    """Whether the file is this archive, by its md5. Raises UsageError if something else is there."""
    from bench.core.download import already_there
    from bench.core.errors import DataError, UsageError, WeightsError

    try:
        return already_there(path, archive.digest) is not None
    except UsageError:
        raise UsageError(
            f"{path}: is there already, but it is not the archive of md5 {archive.digest.digits}. "
            "Move it away, or give another --out."
        ) from None
    except WeightsError as error:
        raise DataError(str(error)) from None


@contextmanager
def _hold(out: Path) -> Iterator[None]:
    """One process a folder of data sets; what is empty afterwards goes again."""
    import shutil

    from bench.core import atomic, lock
    from transfer.data.download_sets import DEVKIT

    folder = out / ARCHIVES
    with atomic.folder_for(out), lock.hold(folder):
        # What a killed process of this command left; `out` itself may be in use by others.
        for place in (out / DEVKIT, *(out / DEVKIT).glob("VOC*")):
            atomic.sweep(place)
        try:
            yield
        finally:
            if {path.name for path in folder.iterdir()} <= {".lock"}:
                shutil.rmtree(folder, ignore_errors=True)


def _make(step: _Step, out: Path, *, keep: bool) -> list[str]:
    """Download what is missing and make the part; returns facts about it."""
    from bench.core import atomic
    from bench.core.log import progress

    if step.is_there:
        return []
    for archive, path, is_there in step.archives:
        if not is_there:
            _fetch(archive, path)
    with progress(step.part.title, 1) as bar:

        def update(done: int, total: int) -> None:
            bar.update(done, total=total)

        notes = step.part.build(out, [path for _, path, _ in step.archives], update)
    for archive, path, is_there in step.archives:
        kept = path
        if path.parent == out / ARCHIVES:
            kept = out / archive.file_name
            if not keep:
                with atomic.disk_errors(path):
                    path.unlink()
                continue
            atomic.move_in(path, kept)
        notes.append(f"{kept}: {'was there, and is left' if is_there and kept == path else 'kept'}")
    return notes


def _fetch(archive: Archive, path: Path) -> None:
    """Download an archive. Raises DataError if it does not arrive whole."""
    from bench.commands._text import in_mib
    from bench.core.download import fetch
    from bench.core.errors import DataError, WeightsError
    from bench.core.log import progress

    with progress(f"Downloading {path.name}, MiB", 1) as bar:
        try:
            fetch(archive.url, path, digest=archive.digest, progress=in_mib(bar))
        except WeightsError as error:
            raise DataError(str(error)) from None


def _fields(step: _Step, *, made: bool) -> dict[str, Any]:
    """A part as JSON has it."""
    archives = [
        {"url": archive.url, "md5": archive.digest.digits, "path": str(path), "was_there": is_there}
        for archive, path, is_there in step.archives
    ]
    return {"path": str(step.place), "was_there": step.is_there, "made": made, "archives": archives}
