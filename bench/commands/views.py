"""`bench views STUDY`: what makes for good views, the paper's study, on small images."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.commands._common import Seeds

if TYPE_CHECKING:
    from bench.core.study import StudyRecord

SIZES = ("smoke", "laptop", "full")
CANDIDATES = (4, 16, 64, 256, 1024)


class _Studies(click.Group):
    """One file in `pretrain/analysis/studies` is one subcommand; help is made without importing it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The studies, then what else there is."""
        folder = Path(__file__).parents[2] / "pretrain" / "analysis" / "studies"
        names = sorted(
            path.stem.replace("_", "-") for path in folder.glob("*.py") if not path.stem.startswith("_")
        )
        return [*names, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a study, made when it is asked for."""
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in self.list_commands(ctx):
            return own
        return _study_command(cmd_name)


def _results(function: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--results",
        type=click.Path(path_type=Path),
        default=Path("results/views"),
        show_default=True,
        help="Study records.",
    )(function)


def _options(function: Callable[..., None]) -> Callable[..., None]:
    path = click.Path(path_type=Path)
    options = (
        click.option(
            "--size",
            type=click.Choice(SIZES),
            default="smoke",
            show_default=True,
            help="For seconds, for two cores, for a GPU.",
        ),
        click.option(
            "--data", type=path, help="Images that views are made of; the embedded ones if left out."
        ),
        click.option(
            "--probe-data", type=path, help="Labelled images for the probes, if not those of --data."
        ),
        click.option("--out", type=path, default=Path("runs/views"), show_default=True, help="Run folders."),
        _results,
        click.option(
            "--seeds", type=Seeds(), help="Trials, as in 0 or 0-4; the config's number if left out."
        ),
        click.option(
            "--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Change a field (marked)."
        ),
        click.option("--resume", is_flag=True, help="Go on with a cell that was begun."),
        click.option(
            "--dry-run", is_flag=True, help="Check everything, say what would be done, write nothing."
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the records as JSON."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _study_command(name: str) -> click.Command:
    @click.command(name)
    @_options
    def run(dry_run: bool, as_json: bool, **more: Any) -> None:
        from bench.commands._text import duration_text, echo_json
        from bench.core.log import say
        from pretrain.analysis.plan import Options, make_plan
        from pretrain.analysis.run import estimate_seconds, execute

        plan = make_plan(Options(study=name, dry_run=dry_run, **more))
        for line in plan.lines():
            say(line)
        todo = plan.missing()
        if todo:
            seconds = duration_text(estimate_seconds(plan))
            say(f"Time      about {seconds} for {len(todo)} cells, measuring left out")
        if dry_run:
            say(f"Dry run: would run {len(todo)} cells into {plan.options.results}; nothing was written.")
            return
        records = execute(plan)
        if as_json:
            echo_json([record.model_dump(mode="json") for record in records])
        else:
            _print(records)

    # Read from the file's first lines: help must not import torch.
    source = Path(__file__).parents[2] / "pretrain" / "analysis" / "studies" / f"{name.replace('-', '_')}.py"
    run.help = _help(source.read_text(encoding="utf-8"), name)
    run.short_help = run.help.partition("\n")[0]
    return run


def _help(text: str, name: str) -> str:
    import ast

    told, _, source = (ast.get_docstring(ast.parse(text)) or "").partition("\n\nSource:")
    return f"""{told}

Source:{source}

Each setting is trained with each seed; what is done already is not done again.

\b
Examples:
  bench views {name} --dry-run
  bench views {name} --size laptop --seeds 0-4 --resume
"""


def _print(records: list[StudyRecord]) -> None:
    from bench.report.study_table import groups, table_text

    for group in groups(records):
        click.echo(table_text(group))


@click.group("views", cls=_Studies, short_help="What makes for good views: I_NCE against transfer.")
def command() -> None:
    """What makes for good views: the information between two views against what they teach.

    Each study trains encoders on pairs of views that share more or less, measures I_NCE on pairs that were
    not trained on, and probes the frozen encoders.

    \b
    Examples:
      bench views colour
      bench views patches --size laptop --data DIV2K --probe-data stl10
      bench views plot
    """


@command.command("plot")
@_results
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/views/plots"),
    show_default=True,
    help="Folder of the plots.",
)
@click.option("--study", "studies", multiple=True, help="Only this one; may be given again.")
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    help="Results store: what the weights of a study came to in bench transfer is drawn, too.",
)
@click.option("--json", "as_json", is_flag=True, help="Print tables and verdicts as JSON.")
def plot(results: Path, out: Path, studies: tuple[str, ...], runs: Path | None, as_json: bool) -> None:
    """Draw I_NCE against transfer for every study that has records.

    A PNG, an SVG and a table in Markdown for each: a point a setting with its spread over seeds, a fitted
    parabola, its sweet spot with an interval, and whether a maximum inside of the range is supported.

    \b
    Examples:
      bench views plot
      bench views plot --study colour --out figures
      bench views plot --study augment --runs results/runs
    """
    from dataclasses import asdict

    from bench.commands._text import echo_json
    from bench.commands.report import read_records
    from bench.core.errors import StoreError
    from bench.core.log import say
    from bench.core.study import StudyStore
    from bench.report.study_files import with_transfers, write_files
    from bench.report.study_table import groups, table_text

    scan = StudyStore(results).scan()
    records = scan.records
    if runs is not None:
        records = with_transfers(records, read_records(runs))
    for line in scan.left_out:
        say(f"left out: {line}")
    chosen = [group for group in groups(records) if not studies or group.study in studies]
    if not chosen:
        wanted = f" of {', '.join(studies)}" if studies else ""
        raise StoreError(f'{results}: no study records{wanted}; "bench views colour" makes some')
    told = []
    for group in chosen:
        written = write_files(group, out, _words(group.study))
        verdicts = {score: asdict(found) for score, found in written.verdicts.items()}
        told.append({"group": group.model_dump(mode="json"), "verdicts": verdicts})
        if not as_json:
            click.echo(table_text(group))
            click.echo("\n".join((*written.sentences, f"{written.stem}*", "")))
    if as_json:
        echo_json(told)


def _words(study: str) -> dict[str, str]:
    from pretrain.analysis.api import STUDIES

    return dict(STUDIES.get(study).scores) if study in STUDIES.names() else {}


@command.command("estimators")
@click.option("--seeds", type=Seeds(), default="0-2", show_default=True, help="Trials, as in 0 or 0-4.")
@click.option("--steps", type=click.IntRange(1), default=400, show_default=True, help="Of training a critic.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def estimators(seeds: tuple[int, ...], steps: int, as_json: bool) -> None:
    """Ask every bound for the information of toys for which it is known, over numbers of candidates.

    Correlated Gaussians and shared discrete factors; I_NCE, NWJ, JS and SMILE from below, CLUB from above.

    \b
    Examples:
      bench views estimators
      bench views estimators --seeds 0-9 --json
    """
    from dataclasses import asdict

    from bench.commands._text import echo_json
    from bench.core.log import progress
    from pretrain.analysis.toys import CorrelatedGaussians, SharedFactors, Toy
    from pretrain.analysis.validation import validate

    gaussians = [CorrelatedGaussians(10, correlation) for correlation in (0.3, 0.6, 0.9)]
    toys: list[Toy] = [*gaussians, SharedFactors((10, 8), (0, 1), (0,), (6,))]
    with progress("Critics", len(toys) * len(seeds)) as bar:
        found = validate(toys, CANDIDATES, seeds, num_steps=steps, progress=lambda done, _: bar.update(done))
    if as_json:
        echo_json([asdict(row) for row in found])
        return
    heads = ("toy", "truth", "critic", "K", "log K", "bound", "mean", "s.e.")
    lines = [
        (
            row.toy,
            f"{row.truth:.3f}",
            row.critic,
            str(row.num_candidates),
            f"{math.log(row.num_candidates):.2f}",
            row.bound,
            f"{row.mean:.3f}",
            "" if row.standard_error is None else f"{row.standard_error:.3f}",
        )
        for row in found
    ]
    widths = [max(len(line[at]) for line in (heads, *lines)) for at in range(len(heads))]
    for line in (heads, *lines):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
