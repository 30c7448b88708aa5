"""A strict JSON reader: no nan or infinity, no equal keys, bounded size and depth."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError, DataError
from bench.core.paths import file_size

MAX_BYTES = 2 * 1024**3
MAX_DEPTH = 64

# A string that does not end is taken to the end of the text, once: from each quote anew would take for ever.
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[][{}]', re.DOTALL)


def read_json(path: Path, *, error: type[BenchError] = DataError, max_bytes: int = MAX_BYTES) -> Any:
    """The value in a JSON file.

    Args:
        path: UTF-8, no byte order mark.
        error: What to raise, so that the exit code fits the kind of file.
        max_bytes: Refuse a larger file before reading it.

    Raises:
        error: unreadable, too large, too deep, not JSON, not UTF-8, equal keys, nan or infinity.
    """
    try:
        size = file_size(path)
        if size > max_bytes:
            raise error(f"{path}: {size:,} bytes; a file of this kind has at most {max_bytes:,}")
        text = path.read_text(encoding="utf-8")
    except OSError as cause:
        raise error(f"{path}: cannot be read: {cause.strerror}") from None
    except UnicodeDecodeError as cause:
        raise error(f"{path}: not UTF-8 at byte {cause.start}") from None
    return parse_json(text, str(path), error=error)


def parse_json(text: str, where: str, *, error: type[BenchError] = DataError) -> Any:
    """The value of JSON text; `where` names the file in messages. Raises as `read_json`."""
    _check_depth(text, where, error)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            twice = Counter(name for name, _ in items).most_common(1)[0][0][:80]
            raise error(f"{where}: the key {twice!r} is there twice in one object")
        return result

    def constant(name: str) -> Any:
        raise error(f"{where}: {name} is not a JSON number")

    def number(literal: str) -> float:
        value = float(literal)
        if not math.isfinite(value):
            raise error(f"{where}: the number {literal[:40]} is out of range")
        return value

    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant, parse_float=number)
    except json.JSONDecodeError as cause:
        raise error(f"{where}: line {cause.lineno}, column {cause.colno}: {cause.msg}") from None
    except ValueError as cause:  # an integer of more digits than Python converts
        raise error(f"{where}: {cause}") from None


def _check_depth(text: str, where: str, error: type[BenchError]) -> None:
    # Counted before parsing, since a deep file exhausts the stack of the standard reader. Brackets in
    # strings are stepped over.
    depth = 0
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    for token in _STRING_OR_BRACKET.finditer(text):
        character = token[0]
        if character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise error(f"{where}: nested deeper than {MAX_DEPTH}")
        elif character in "]}":
            depth -= 1
