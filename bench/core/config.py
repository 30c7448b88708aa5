"""Configs: TOML read strictly into pydantic models, every fault of a file reported at once.

TOML needs no import of ours: the standard reader runs nothing and refuses equal keys. What it lets through
(nan, infinity, dates, huge integers, ten megabytes) is refused here.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from bench.core.errors import MAX_PROBLEMS_SHOWN, BenchError, ConfigError, did_you_mean
from bench.core.paths import file_size

MAX_BYTES = 1 << 16
MAX_DOTS = 100
"""In one line: the standard reader takes quadratic time for a key of many parts."""
MAX_INTEGER = 2**63 - 1
MAX_SHOWN = 80
"""Characters of a wrong key or value in a message."""

M = TypeVar("M", bound=BaseModel)


class Section(BaseModel):
    """A config or a table of one: frozen, no unknown keys, no nan, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


def read_toml(path: Path) -> dict[str, Any]:
    """The raw values of a TOML file.

    Raises:
        ConfigError: no such file, a folder, a pipe, too large, not UTF-8, not TOML, a value that no config
            has (nan, infinity, a date, an integer of more than 64 bits).
    """
    try:
        if file_size(path) > MAX_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_BYTES:,} bytes; this is no config")
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; expected a TOML text file") from None
    if text.startswith("\ufeff"):
        raise ConfigError(f"{path}: starts with a byte order mark; save it as UTF-8 without one")
    for number, line in enumerate(text.splitlines(), 1):
        if line.count(".") > MAX_DOTS:
            raise ConfigError(f"{path}: line {number}: more than {MAX_DOTS} dots; this is no config")
    try:
        values = tomllib.loads(text)
        _check_values(values, str(path))
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {_short(str(error))}") from None
    return values


def _check_values(values: dict[str, Any], where: str) -> None:
    for key, value in _leaves(values):
        place = f"{where}: {_key(key)}"
        if not isinstance(value, str | bool | int | float | dict | list):
            raise ConfigError(f"{place}: a date or time, {value}; no config has one. Put text in quotes")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{place}: {value} is no number; expected a finite one")
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise ConfigError(f"{place}: an integer of more than 64 bits")
        if isinstance(value, str) and not _is_text(value):
            raise ConfigError(f"{place}: not UTF-8: {_short(ascii(value))}")


def _is_text(value: str) -> bool:
    # Bytes of the command line that are not UTF-8 arrive as halves of surrogate pairs.
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _key(name: str) -> str:
    """A key for a message: a quoted key of TOML may hold anything, also what moves a terminal's cursor."""
    return _short(name if name.isprintable() else ascii(name))


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{prefix}[{index}]")
    else:
        yield prefix, value


def load_config(model: type[M], path: Path, overrides: Sequence[str] = ()) -> M:
    """A checked config from a file, with `--set` overrides applied.

    Args:
        model: The pydantic model of the file.
        path: The TOML file.
        overrides: "a.b=value" each, the value in TOML's own notation; a bare word is taken as text.

    Raises:
        ConfigError: every fault of the file and of the overrides, one a line, near names suggested.
    """
    values = read_toml(path)
    for override in overrides:
        _apply_override(values, override)
    return check_config(model, values, str(path))


def check_config(model: type[M], values: dict[str, Any], where: str) -> M:
    """Checked values; `where` names their file. Raises as `load_config`."""
    try:
        # Through JSON mode, where strict models take lists for tuples, as TOML has no tuples.
        return model.model_validate_json(_to_json(values))
    except ValidationError as error:
        # The texts of those beyond the limit are only counted, and a near name takes time to find.
        items = error.errors(include_url=False)
        problems = [_problem(model, where, item) for item in items[:MAX_PROBLEMS_SHOWN]]
        raise ConfigError.of([*problems, *("" for _ in items[MAX_PROBLEMS_SHOWN:])]) from None


def _to_json(values: dict[str, Any]) -> str:
    import json

    return json.dumps(values, allow_nan=False)


def _problem(model: type[BaseModel], where: str, item: ErrorDetails) -> str:
    location = [str(part) for part in item["loc"]]
    place = f"[{_key('.'.join(location[:-1]))}] " if len(location) > 1 else ""
    key = location[-1] if location else "(whole file)"
    if item["type"] == "extra_forbidden":
        known = _keys_at(model, location[:-1])
        return f"{where}: {place}{_key(key)}: unknown key.{did_you_mean(key, known)}"
    if item["type"] == "missing":
        return f"{where}: {place}{_key(key)}: this key is missing"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error" and isinstance(item["input"], dict):
        # A rule over several keys, which the message names.
        return f"{where}: {place}{_key(key)}: {message}"
    return f"{where}: {place}{_key(key)}: {message}, found {_short(repr(item['input']))}"


def _keys_at(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    current: type[BaseModel] = model
    for part in location:
        if part.isdigit():  # a place in a list of tables
            continue
        if part not in current.model_fields:
            return []
        annotation = current.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        inner = [item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)]
        if not inner:
            return []
        current = inner[0]
    return list(current.model_fields)


def _apply_override(values: dict[str, Any], override: str) -> None:
    where = f"--set {_key(override)}"
    key, sign, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not sign or not all(parts) or not text.strip() or not _is_text(key):
        raise ConfigError(f"{where}: expected a.b=value")
    if override.count(".") > MAX_DOTS:
        raise ConfigError(f"{where}: more than {MAX_DOTS} dots")
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        parsed = {"value": text.strip()}
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: {_short(str(error))}") from None
    if set(parsed) != {"value"}:
        raise ConfigError(f"{where}: expected one value")
    _check_values(parsed, where)
    value = parsed["value"]
    table = values
    for part in parts[:-1]:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{where}: {_key(part)} is a value, not a table")
        table = inner
    table[parts[-1]] = value


def find_config(folder: Path, slug: str, error: type[BenchError] = ConfigError) -> Path:
    """The file `<slug>.toml` in a folder of configs.

    Raises:
        error: there is none; the nearest slug is suggested.
    """
    path = folder / f"{slug}.toml"
    if not path.is_file():
        known = sorted(entry.stem for entry in folder.glob("*.toml"))
        near = did_you_mean(slug, known)
        raise error(f"no config {slug!r} in {folder}.{near} Known: {', '.join(known) or 'none'}")
    return path
