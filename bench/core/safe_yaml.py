"""A strict YAML reader: plain values only, no equal keys, bounded size, depth and number of values."""

from __future__ import annotations

import math
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from bench.core.errors import BenchError, DataError
from bench.core.paths import read_bounded

MAX_BYTES = 1 << 20
MAX_VALUES = 100_000
"""With every alias written out: a small file of aliases to aliases stands for more than any memory holds."""
MAX_DEPTH = 64


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Values as every reader of YAML 1.1 has them; tags that name classes are refused by the base class."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        # "<<" copies maps into maps, aliases of which double with each line.
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, 'the key "<<"', key.start_mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        result: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        if len(result) != len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key that is there twice", node.start_mark)
        return result


def read_yaml(path: Path, *, error: type[BenchError] = DataError) -> Any:
    """The value in a YAML file: dicts, lists, text, numbers, booleans and None.

    Raises:
        error: unreadable, too large, too deep, not UTF-8, not YAML, a tag that asks for an object of Python,
            equal keys, keys that are no text, nan or infinity, dates.
    """
    data = read_bounded(path, MAX_BYTES, error=error)
    try:
        value = yaml.load(data.decode("utf-8"), Loader=_Loader)  # noqa: S506
    except UnicodeDecodeError as cause:
        raise error(f"{path}: not UTF-8 at byte {cause.start}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as cause:
        raise error(f"{path}: not plain YAML: {' '.join(str(cause).split())[:200]}") from None
    _check(value, path, error)
    return value


def _check(value: Any, path: Path, error: type[BenchError]) -> None:
    todo, seen = [(value, 0)], 0
    while todo:
        item, depth = todo.pop()
        seen += 1
        if seen > MAX_VALUES or depth > MAX_DEPTH:
            raise error(f"{path}: more than {MAX_VALUES:,} values, or nested deeper than {MAX_DEPTH}")
        if isinstance(item, dict):
            if not all(isinstance(key, str) and _is_text(key) for key in item):
                raise error(f"{path}: a key that is no text; this is no config")
            todo += [(inner, depth + 1) for inner in item.values()]
        elif isinstance(item, list):
            todo += [(inner, depth + 1) for inner in item]
        elif isinstance(item, float) and not math.isfinite(item):
            raise error(f"{path}: {item} is no number")
        elif isinstance(item, str) and not _is_text(item):
            raise error(f"{path}: half of a surrogate pair in {ascii(item)[:40]}; this is no text")
        elif not isinstance(item, str | int | float | bool | None):
            raise error(f"{path}: a value of the kind {type(item).__name__}; expected plain values")


def _is_text(value: str) -> bool:
    # YAML lets an escape make half of a surrogate pair, which no file in UTF-8 can hold.
    return not any("\ud800" <= letter <= "\udfff" for letter in value)
