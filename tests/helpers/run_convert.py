"""What the tests of `bench convert` share: a run of it, and what lies in a folder afterwards."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from bench.commands.convert import command


def run(*arguments: object) -> tuple[str, str]:
    """(stdout, stderr) of the command; its error is raised."""
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(command, words, catch_exceptions=False, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.stdout, result.stderr


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
