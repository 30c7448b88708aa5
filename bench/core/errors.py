"""Errors a user can cause, each with its own exit code and one line of text.

A message says where, what is wrong, what was expected and what to do. `bench.cli` prints it without a
traceback; anything that is not a `BenchError` is our own fault and exits with 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import ClassVar, Self

MAX_PROBLEMS_SHOWN = 20


class BenchError(Exception):
    """Something the user can mend; the text is the whole message.

    Attributes:
        problems: Every single one of what `of` was given, or the message alone.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.problems: tuple[str, ...] = (message,)

    @classmethod
    def of(cls, problems: Sequence[str], *, hint: str = "") -> Self:
        """One error for many problems: the first 20, then a count, then what to do.

        Args:
            problems: One line each, with file and place; at least one.
            hint: What to do about them, a sentence.
        """
        shown = list(problems[:MAX_PROBLEMS_SHOWN])
        if len(problems) > MAX_PROBLEMS_SHOWN:
            shown.append(f"... and {len(problems) - MAX_PROBLEMS_SHOWN:,} more problems")
        if hint:
            shown.append(hint)
        error = cls("\n".join(shown))
        error.problems = tuple(problems)
        return error


class UsageError(BenchError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_code = 2


class ConfigError(BenchError):
    """A config file or an override is wrong."""

    exit_code = 3


class DataError(BenchError):
    """A data set is missing, damaged or not what it says it is."""

    exit_code = 4


class WeightsError(BenchError):
    """Weights cannot be read, are not a ResNet-50, or did not arrive in the engine."""

    exit_code = 5


class CheckpointError(BenchError):
    """A checkpoint to go on from is damaged or belongs to another run."""

    exit_code = 5


class EngineError(BenchError):
    """An engine or a device is missing or not usable."""

    exit_code = 6


class DivergedError(BenchError):
    """A loss or a gradient is not finite; nothing of it was saved."""

    exit_code = 7


class StoreError(BenchError):
    """The results store holds something else under the same id, or cannot be read."""

    exit_code = 8


class DiskError(BenchError):
    """The disk is full, or the place cannot be written."""

    exit_code = 9


class Stopped(BenchError):
    """A signal asked to stop; everything is saved and `--resume` goes on from there."""

    exit_code = 75


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """' Did you mean "x"?' for the nearest known name, or '' where none is near.

    Raises nothing; the result is meant to be appended to a sentence.
    """
    edits = {other: _num_edits(name, other) for other in known}
    fewest = min(edits.values(), default=_FEW_EDITS + 1)
    if fewest <= _FEW_EDITS and fewest < len(name):
        near = get_close_matches(name, [other for other in known if edits[other] == fewest], n=1, cutoff=0.0)
    else:
        near = get_close_matches(name, known, n=1, cutoff=0.6)
    return f' Did you mean "{near[0]}"?' if near else ""


_FEW_EDITS = 2


def _num_edits(first: str, second: str) -> int:
    """Letters to insert, delete or replace, counted up to three."""
    many = _FEW_EDITS + 1
    if abs(len(first) - len(second)) > _FEW_EDITS:
        return many
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, 1):
        above, row = row, [i]
        for j, other in enumerate(second, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (letter != other)))
    return min(row[-1], many)
