"""The flags that several commands share, written once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

PRECISIONS = ("fp32", "bf16", "fp16")


class Seeds(click.ParamType[tuple[int, ...]]):
    """`0`, `0,1,2` or `0-4`."""

    name = "seeds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """The seeds, in order, each once."""
        from bench.core.seeds import parse_seeds

        if isinstance(value, tuple):
            return value
        try:
            return parse_seeds(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def training_options(*, results: bool) -> Callable[[F], F]:
    """Add the common flags; their values arrive under the names below.

    Args:
        results: Whether the command keeps records of results.
    """
    path = click.Path(path_type=Path)
    store = click.option(
        "--results", type=path, default=Path("results/runs"), show_default=True, help="Results store."
    )
    options = (
        click.option("--data", type=path, help="Data set; the embedded one if left out."),
        click.option("--out", type=path, default=Path("runs"), show_default=True, help="Run folders."),
        *([store] if results else []),
        click.option(
            "--seeds", type=Seeds(), default="0", show_default=True, help="Trials, as in 0 or 0,1,2 or 0-4."
        ),
        click.option(
            "--devices",
            "num_devices",
            type=click.IntRange(1, 1024),
            default=1,
            show_default=True,
            help="GPUs, or processes on a machine without one.",
        ),
        click.option("--precision", type=click.Choice(PRECISIONS), help="Instead of the config's (marked)."),
        click.option(
            "--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Change a field (marked)."
        ),
        click.option("--smoke", is_flag=True, help="The config's twin at toy size, for a CPU."),
        click.option("--resume", is_flag=True, help="Go on from the newest checkpoint."),
        click.option(
            "--dry-run", is_flag=True, help="Check everything, say what would be done, write nothing."
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the results as JSON."),
    )

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def reading_options(function: F) -> F:
    """Add the flags that say how a checkpoint is to be read."""
    options = (
        click.option(
            "--encoder",
            help="Which encoder, where a file holds several: label, prefix or place, as bench inspect says.",
        ),
        click.option(
            "--input-spec",
            type=click.Path(path_type=Path),
            help="TOML with channel_order, mean, std, stride_in, padding, if not those of the file's layout.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def weights_options(function: F) -> F:
    """Add the flags of every command that takes a backbone out of a checkpoint."""
    name = click.option("--name", help="Name of the weights in records; from the file name if left out.")
    return name(reading_options(function))
