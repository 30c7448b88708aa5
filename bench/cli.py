"""The command line: finds the commands, turns an error into one line and its exit code."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from bench import __version__
from bench.core.errors import BenchError, did_you_mean

COMMANDS = Path(__file__).parent / "commands"
DEBUG_VARIABLE = "BENCH_DEBUG"


class _ReaderGoneError(Exception):
    """Nobody reads our output any more; not an OSError, which click would turn into exit code 1 by itself."""


@contextlib.contextmanager
def _reader_may_go() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise _ReaderGoneError from error


class LazyGroup(click.Group):
    """One file in `bench/commands` is one command; its file is imported when help or the command is asked."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """As click does; prints help."""
        with _reader_may_go():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """As click does; runs the command."""
        with _reader_may_go():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, from the names of the files."""
        return sorted(path.stem for path in COMMANDS.glob("*.py") if not path.stem.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command `cmd_name`, or None."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(f"bench.commands.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"bench/commands/{cmd_name}.py: `command` is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name suggested."""
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            ctx.fail(f"no command {args[0]!r}.{did_you_mean(args[0], known)} Known: {', '.join(known)}")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bench")
@click.option("--debug", is_flag=True, help="Print the traceback of an error.")
def bench(debug: bool) -> None:
    """How good is a pretrained ResNet-50, really?

    Transfers a checkpoint to detection and segmentation in real engines, keeps a record of each result and
    prints leaderboards.

    \b
    Examples:
      bench demo
      bench transfer voc-det --checkpoint moco_v2_200ep.pth.tar --data VOCdevkit
      bench report --published
    """
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"


def _drop_output() -> None:
    # What stdout still holds cannot be written; Python would try again when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Run the command line and exit; the entry point `bench`."""
    try:
        bench(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        print("Stopped.", file=sys.stderr)
        sys.exit(130)
    except BenchError as error:
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        from bench.commands._text import printable

        # It may quote a file from anywhere, with escape sequences in it.
        lines = (printable(line) for line in str(error).split("\n"))
        print("bench: " + "\n".join(lines), file=sys.stderr)
        sys.exit(error.exit_code)
    except (_ReaderGoneError, BrokenPipeError):
        # The reader of our output has gone, e.g. `bench report | head`: not a fault of anybody.
        _drop_output()
        sys.exit(0)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _drop_output()
            print("bench: the disk is full", file=sys.stderr)
            sys.exit(9)
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        print(
            f"bench: our own fault: {type(error).__name__}: {error}\n"
            f"Run again with {DEBUG_VARIABLE}=1 and report what it prints.",
            file=sys.stderr,
        )
        sys.exit(1)
