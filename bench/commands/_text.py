"""Facts for a person, one a row, folded to the terminal; and JSON for a script.

Names come from strangers' files: nothing in them reaches a terminal as a control character.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bench.core.card import InputSpec
    from bench.core.download import Progress
    from bench.core.log import Bar

_MIB = 1024**2


def terminal_width() -> int | None:
    """Columns of the terminal, None where stdout is none: what a script reads is not folded."""
    return max(60, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


def rows(facts: Iterable[tuple[str, str]], *, column: int, width: int | None) -> list[str]:
    """Lines of `name  text`, indented by two.

    Args:
        facts: Name and text; a name that is empty, or that of the row above, is not repeated.
        column: Letters of the longest name.
        width: Columns to fold to, as `terminal_width` gives them; words are not broken.
    """
    lines: list[str] = []
    indent = " " * (column + 4)
    last = ""
    for name, text in facts:
        start = f"  {'' if name == last else name:<{column}}  "
        last = name or last
        if width is None:
            lines.append((start + printable(text)).rstrip())
            continue
        # Two more for what goes on, so that it is told from the next fact.
        lines += textwrap.wrap(
            printable(text),
            width,
            initial_indent=start,
            subsequent_indent=f"{indent}  ",
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
        ) or [start.rstrip()]
    return lines


def printable(text: str) -> str:
    """The text with every control character written as an escape."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def bytes_text(count: int) -> str:
    """3.2 GiB; 140 MiB."""
    gib, mib = count / 2**30, count / 2**20
    return f"{gib:.1f} GiB" if gib >= 1 else f"{mib:.0f} MiB"


def duration_text(seconds: float) -> str:
    """5 h 20 min; 3 min; 12 s; above two days in days."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{seconds / 86400:.1f} days"


def input_text(spec: InputSpec) -> tuple[str, str]:
    """An input spec in two lines."""
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (spec.mean, spec.std))
    padding = "TensorFlow's SAME padding" if spec.padding == "tf_same" else "PyTorch's padding"
    return (
        f"{spec.channel_order.upper()}, stride in the {spec.stride_in}, {padding}",
        f"mean {mean}, std {std} (of 0 to 255)",
    )


def echo_json(value: Any) -> None:
    """Print a value as JSON in ASCII, keys sorted."""
    click.echo(json.dumps(value, indent=2, sort_keys=True, allow_nan=False))


def in_mib(bar: Bar) -> Progress:
    """What `fetch` calls, for a bar that counts whole MiB."""

    def update(done: int, total: int | None) -> None:
        whole = done // _MIB + 1 if total is None else -(-total // _MIB)
        bar.update(whole if done == total else done // _MIB, total=max(whole, 1))

    return update
