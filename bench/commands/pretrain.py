"""`bench pretrain METHOD|CONFIG`: train a ResNet, write weights with a card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.commands._common import training_options

if TYPE_CHECKING:
    from pretrain.plan import Plan
    from pretrain.run import Result


def _methods() -> str:
    # Listed without importing `pretrain`, so that help stays fast.
    folder = Path(__file__).parents[2] / "pretrain" / "methods"
    return ", ".join(sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")))


HELP = f"""Pretrain a ResNet; write its weights and what is needed to go on.

WHAT is a method ({_methods()}), which stands for its config of the common length, the name of a config in
configs/pretrain, or the path of a config. DATA is a folder with train and val, each with one folder of images
for each class; or any folder of images, a list file, or uncompressed tar shards. With held-out images in
classes, a k-NN classifier is asked now and then how good the features are.

Under torchrun or srun, each process runs this command, and the processes are those that they say.

\b
Examples:
  bench pretrain moco_v2 --smoke --dry-run
  bench pretrain infomin --data imagenet --devices 8 --precision bf16
  bench pretrain moco_v2_ep800 --data imagenet --devices 8 --resume
  bench pretrain infomin --smoke --show-views views.png
  bench pretrain infomin --smoke --benchmark --set batch_size=16
"""


@click.command("pretrain", help=HELP, short_help="Pretrain a ResNet; write its weights with a card.")
@click.argument("what")
@training_options(results=False)
@click.option("--name", help="Name of the weights; from architecture and config if left out.")
@click.option(
    "--show-views",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw a sheet of the views of a few images, a PNG, and train nothing.",
)
@click.option(
    "--benchmark",
    is_flag=True,
    help="Time input alone, steps alone and both on one device, and train nothing.",
)
@click.option("--force", is_flag=True, help="With --show-views: replace FILE.")
def command(
    what: str,
    dry_run: bool,
    as_json: bool,
    data: Path | None,
    show_views: Path | None,
    benchmark: bool,
    force: bool,
    **more: Any,
) -> None:
    """Plan, say the plan, execute it, print what came out."""
    from bench.commands._text import echo_json
    from bench.core.log import say, silence
    from pretrain.plan import Options, make_plan
    from pretrain.run import execute, pending

    if benchmark and show_views is not None:
        raise click.UsageError("--benchmark and --show-views: give one of them")
    if data is None:
        from bench.synth.embedded import DEFAULT_ROOT, embedded_data

        if dry_run and not DEFAULT_ROOT.exists():
            say(f"Dry run: would first generate data in {DEFAULT_ROOT}; nothing was written.")
            return
        data = embedded_data() / "folder"
    plan = make_plan(Options(what=what, data=data, dry_run=dry_run, **more))
    if plan.devices.rank > 0:
        silence()  # another process of the same run says it
    if show_views is not None:
        _show_views(plan, show_views, force=force, dry_run=dry_run)
        return
    for line in plan.lines():
        say(line)
    if benchmark:
        _benchmark(plan, as_json=as_json, dry_run=dry_run)
        return
    todo = pending(plan)
    if todo and plan.devices.rank == 0:
        for line in _estimate(plan):
            say(line)
    if dry_run:
        where = plan.run_dir(plan.options.seeds[0]).parent
        did = f"would write {where}" if todo else "every seed is pretrained already; nothing would be trained"
        say(f"Dry run: {did}; nothing was written.")
        return
    results = execute(plan)
    if plan.devices.rank > 0:
        return
    if as_json:
        echo_json([_facts(result) for result in results])
        return
    for result in results:
        numbers = "".join(f"  {name} {value:.1f}" for name, value in _numbers(result).items())
        click.echo(f"{result.card.name}  seed {result.seed}{numbers}  {result.path}")


def _numbers(result: Result) -> dict[str, float]:
    return {name: value for name, value in result.monitor.items() if name not in ("step", "epoch")}


def _facts(result: Result) -> dict[str, Any]:
    return {
        "seed": result.seed,
        "weights": str(result.path),
        "card": result.card.model_dump(mode="json"),
        "monitor": _numbers(result),
    }


def _estimate(plan: Plan) -> list[str]:
    """What a run will take, from a step and a few images on this machine."""
    from bench.commands._text import bytes_text, duration_text
    from pretrain.estimate import estimate

    found = estimate(plan)
    return [
        f"Time      about {duration_text(found.train_seconds)} a seed: {found.step_seconds:.3g} s a step, "
        f"its images in {found.input_seconds:.3g} s ({found.basis})",
        f"Disk      {bytes_text(found.disk_bytes)} a seed in {plan.options.out}",
    ]


def _benchmark(plan: Plan, *, as_json: bool, dry_run: bool) -> None:
    from bench.commands._text import duration_text, echo_json
    from bench.core.log import say
    from pretrain.benchmark import Lengths, benchmark
    from pretrain.estimate import estimate

    found = estimate(plan)
    rounds = Lengths.of(plan).rounds
    seconds = rounds * max(found.step_seconds, found.input_seconds)
    say(f"Time      about {duration_text(seconds)} for {rounds} steps; no weights are kept")
    if dry_run:
        say("Dry run: would time these steps.")
        return
    figures = benchmark(plan)
    if as_json:
        echo_json(figures.facts())
        return
    for name, text in figures.lines():
        click.echo(f"{name:16} {text}")


def _show_views(plan: Plan, path: Path, *, force: bool, dry_run: bool) -> None:
    from bench.core import atomic
    from bench.core.errors import UsageError
    from bench.core.log import say
    from bench.images.view_sheet import view_sheet

    if path.exists() and not force:
        raise UsageError(f"{path}: exists; --force replaces it")
    count = min(len(plan.train), SHOWN_IMAGES)
    images = [plan.train.read(number * len(plan.train) // count) for number in range(count)]
    png = view_sheet(
        images,
        plan.config.views * max(1, SHOWN_VIEWS // len(plan.config.views)),
        plan.config.jigsaw,
        seed=plan.options.seeds[0],
    )
    if dry_run:
        say(f"Dry run: would write {path}; nothing was written.")
        return
    atomic.write_bytes(path, png)
    click.echo(str(path))


SHOWN_IMAGES, SHOWN_VIEWS = 8, 6
