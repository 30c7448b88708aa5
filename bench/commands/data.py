"""`bench data`: make the embedded data set; check, pack, look at a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench.images.pack import PackKind


@click.group("data")
def command() -> None:
    """Make a data set to try things on, check one, pack one, and look at one.

    \b
    Examples:
      bench data synth --out data/synth
      bench data check voc VOCdevkit
      bench data check images imagenet/train
      bench data pack imagenet/train --out imagenet-400/train --long-side 400
      bench data show data/synth --out sheet.png
    """


@command.command("synth")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("data/synth"),
    show_default=True,
    help="Folder to make.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, other pictures.")
@click.option("--size", type=int, default=160, show_default=True, help="Side of the scenes, in px.")
@click.option(
    "--class-size",
    type=int,
    default=64,
    show_default=True,
    help="Side of the images for classification, in px.",
)
@click.option("--detection-train", type=int, default=300, show_default=True, help="Scenes to train on.")
@click.option("--detection-test", type=int, default=100, show_default=True, help="Scenes to test on.")
@click.option("--class-train", type=int, default=400, show_default=True, help="Images per class to train on.")
@click.option("--class-val", type=int, default=50, show_default=True, help="Images per class to test on.")
@click.option("--workers", type=int, default=None, help="Processes; by default one for each core, at most 8.")
@click.option("--force", is_flag=True, help="Replace a data set that was generated before.")
@click.option("--dry-run", is_flag=True, help="Check everything and say what would be written.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def synth(
    out: Path,
    seed: int,
    size: int,
    class_size: int,
    detection_train: int,
    detection_test: int,
    class_train: int,
    class_val: int,
    workers: int | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make the embedded data set: ten classes of textured shapes, in every layout the suite reads.

    Writes VOC layout with boxes and label maps (voc), COCO instances (coco) and an image folder by class
    (folder). The same seed gives the same pixels on every machine. Nothing is downloaded.

    \b
    Examples:
      bench data synth
      bench data synth --out data/small --detection-train 40 --detection-test 20 --class-train 0 --class-val 0
      bench data synth --out data/other --seed 1 --dry-run
    """
    import json
    import os
    import time
    from dataclasses import asdict

    from bench.core.log import progress
    from bench.synth.generate import Counts, check_request, generate

    counts = Counts(detection_train, detection_test, class_train, class_val)
    num_workers = workers if workers is not None else min(os.cpu_count() or 1, 8)
    check_request(out, size_px=size, class_size_px=class_size, num_workers=num_workers, replace=force)
    result: dict[str, object] = {"out": str(out), "seed": seed, "num_images": counts.total}
    result |= asdict(counts) | {"dry_run": dry_run}
    started = time.monotonic()
    if not dry_run:
        with progress("Generating images", counts.total) as bar:
            generate(
                out,
                seed=seed,
                size_px=size,
                class_size_px=class_size,
                counts=counts,
                progress=bar.update,
                num_workers=num_workers,
                replace=force,
            )
        result["seconds"] = round(time.monotonic() - started, 2)
    if as_json:
        click.echo(json.dumps(result, indent=2, sort_keys=True))
        return
    verb = "would write" if dry_run else "wrote"
    click.echo(f"{out}: {verb} {counts.total:,} images, seed {seed}")
    if detection_train:
        click.echo(f"  voc, coco  {detection_train:,} to train, {detection_test:,} to test, {size} px")
    if class_train:
        click.echo(f"  folder     {class_train:,} + {class_val:,} of each of 10 classes, {class_size} px")
    if not dry_run:
        click.echo(f"{result['seconds']} seconds")


@command.command("pack")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to make.")
@click.option(
    "--kind",
    type=click.Choice(["jpeg", "decoded"]),
    default="jpeg",
    show_default=True,
    help="Encode again, or store pixels as they lie in memory.",
)
@click.option("--long-side", type=click.IntRange(8, 65_535), help="Shrink larger images to so many px.")
@click.option("--quality", type=click.IntRange(1, 100), help="Of JPEG, by default 90.")
@click.option(
    "--shard-mb", type=click.IntRange(1, 4096), default=256, show_default=True, help="Size of a shard."
)
@click.option("--workers", type=click.IntRange(1, 256), help="Threads; by default one for each core.")
@click.option("--force", is_flag=True, help="Replace a pack that is there.")
@click.option("--dry-run", is_flag=True, help="Check everything and say what would be written.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def pack(
    source: Path,
    out: Path,
    kind: PackKind,
    long_side: int | None,
    quality: int | None,
    shard_mb: int,
    workers: int | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Store images so that they are read faster: re-encoded, shrunk or decoded, in tar shards.

    SOURCE is class folders, a folder of images, a list file or shards; one split at a time. A pack is used in
    place of its source. Its pixels are others: it has another fingerprint, and weights trained on it say so.

    \b
    Examples:
      bench data pack imagenet/train --out imagenet-400/train --long-side 400
      bench data pack imagenet/val --out imagenet-raw/val --kind decoded --long-side 400 --dry-run
    """
    import json
    import os

    from bench.core.log import progress
    from bench.images.source import open_source
    from bench.images.write_pack import check_request, write_pack

    images = open_source(source)
    encoded = quality or 90 if kind == "jpeg" else quality
    check_request(images, out, kind=kind, quality=encoded, replace=force)
    if not dry_run:
        with progress("Packing", len(images)) as bar:
            write_pack(
                images,
                out,
                kind=kind,
                long_side_px=long_side,
                quality=encoded,
                shard_bytes=shard_mb * 1024**2,
                num_workers=workers or len(os.sched_getaffinity(0)),
                replace=force,
                progress=bar.update,
            )
    num_bytes = sum(path.stat().st_size for path in out.glob("*.tar")) if not dry_run else None
    if as_json:
        values = {"out": str(out), "num_images": len(images), "bytes": num_bytes, "dry_run": dry_run}
        click.echo(json.dumps(values, indent=2, sort_keys=True))
        return
    size = f", {num_bytes / 1024**2:,.1f} MiB" if num_bytes is not None else ""
    click.echo(f"{out}: {'would write' if dry_run else 'wrote'} {len(images):,} images, {kind}{size}")


@command.command("show")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("sheet.png"),
    show_default=True,
    help="PNG to write.",
)
@click.option(
    "--split", default=None, help="Which split; by default the first of trainval, train, val, test."
)
@click.option(
    "--count", type=click.IntRange(1, 400), default=24, show_default=True, help="How many pictures."
)
@click.option("--force", is_flag=True, help="Replace the PNG if it is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def show(folder: Path, out: Path, split: str | None, count: int, force: bool, as_json: bool) -> None:
    """Draw a contact sheet of a data set: pictures with their boxes and names.

    FOLDER is in VOC layout, an image folder by class, or a generated data set. A name with a question mark
    is of an object marked as difficult.

    \b
    Examples:
      bench data show data/synth --out sheet.png
      bench data show data/synth/folder --split val --count 60 --out classes.png
    """
    import json

    from bench.core.atomic import write_bytes
    from bench.core.errors import UsageError
    from bench.images.sheet import sheet_png, tiles_of

    if out.is_dir():
        raise UsageError(f"{out}: is a folder; expected the name of a PNG file")
    if out.exists() and not force:
        raise UsageError(f"{out}: exists already; --force replaces it")
    tiles = tiles_of(folder, split=split, count=count)
    write_bytes(out, sheet_png(tiles))
    num_boxes = sum(len(tile.boxes) for tile in tiles)
    if as_json:
        click.echo(json.dumps({"out": str(out), "num_images": len(tiles), "num_boxes": num_boxes}, indent=2))
        return
    boxes = f", {num_boxes} boxes" if num_boxes else ""
    click.echo(f"{out}: {len(tiles)} images{boxes}")


class CheckGroup(click.Group):
    """A subcommand for each layout of data that a task of the registry reads, and for images alone."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The layouts, sorted."""
        from bench.commands._check import IMAGES, layouts

        return sorted([*layouts(), IMAGES])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The check of a layout; an unknown name is an error that suggests the nearest."""
        from bench.commands._check import check_command

        return check_command(cmd_name)


CHECK_HELP = """Check a data set before anything trains on it: every fault, with file and object.

\b
Examples:
  bench data check voc VOCdevkit
  bench data check voc my_set --json
  bench data check images imagenet/train
"""

command.add_command(CheckGroup("check", help=CHECK_HELP, short_help="Find every fault of a data set."))


def _attach() -> None:
    from bench.commands import _download

    command.add_command(_download.command)


_attach()
