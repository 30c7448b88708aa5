"""What is read from an output folder, whatever engine wrote it, and what all readers share."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.core.card import InputSpec
from bench.core.errors import ConfigError, DataError
from bench.core.paths import read_bounded
from bench.core.safe_json import parse_json

MAX_LOG_BYTES = 256 * 1024**2
"""A log of a million iterations, a line for each 20, has half of that."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation in a log: values under the engine's names, nan where it had none."""

    iteration: int
    values: dict[str, float]
    where: str


@dataclass(frozen=True)
class Found:
    """An output folder.

    Attributes:
        kind: The engine's name for people.
        engine: Its name in records.
        evaluations: In the order of the log.
        last_iteration: Of the training, as the config has it.
        config: Its fields that move a number, paths reduced to their last part; no seed, no input spec.
        facts: What a person wants to see of the config.
        input: How images are fed.
        depth: Of the ResNet.
        num_classes: That are predicted.
        classes: Their names, where the config has them.
        train, test: Names of the data sets.
        seed: That the config fixes, if any.
        weights: What the config starts from, "" for none.
        metric: Rules by which the metrics were made, as far as the config shows them.
        files: Name of each file that was read to its sha256.
        notes: What a reader of the numbers should know.
    """

    kind: str
    engine: str
    evaluations: tuple[Evaluation, ...]
    last_iteration: int
    config: dict[str, Any]
    facts: dict[str, Any]
    input: InputSpec
    depth: int
    num_classes: int
    classes: tuple[str, ...] | None
    train: tuple[str, ...]
    test: tuple[str, ...]
    seed: int | None
    weights: str
    metric: dict[str, str]
    files: dict[str, str]
    notes: tuple[str, ...] = ()


@dataclass
class Files:
    """The files of a folder that are read, with the hash of each."""

    root: Path
    read: dict[str, str] = field(default_factory=dict)

    def text(self, path: Path, max_bytes: int) -> str:
        """The content of a file, of which the hash is kept.

        Raises:
            DataError: it cannot be read, is too large, or is not UTF-8.
        """
        data = read_bounded(path, max_bytes)
        self.read[str(path.relative_to(self.root))] = hashlib.sha256(data).hexdigest()
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 at byte {error.start}") from None


def log_lines(text: str, where: str, results: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, values) of each line of a log of JSON lines.

    A line that a kill has torn is passed over, but not if it has a name of `results` in it.

    Raises:
        DataError: a line with a result is not whole.
    """
    names = tuple(f'"{name}"' for name in results)
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{where}, line {number}"
        is_result = any(name in line for name in names)
        if not is_result and "NaN" in line:  # a loss; of no interest here
            line = line.replace("NaN", "null")
        try:
            values = parse_json(_without_nan(line) if is_result else line, place)
        except DataError:
            if is_result:
                raise
            continue
        if isinstance(values, dict):
            yield place, values


def _without_nan(line: str) -> str:
    # Engines write NaN for an AP of objects that are not there, which is not JSON.
    return line.replace(": NaN", ": null").replace(": Infinity", ": null").replace(": -Infinity", ": null")


def numbers(values: Mapping[str, Any], place: str) -> dict[str, float]:
    """The numbers among the values of a line; null is nan.

    Raises:
        DataError: a value is neither.
    """
    found = {}
    for name, value in values.items():
        if value is None:
            found[name] = math.nan
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = float(value)
        else:
            raise DataError(f"{place}: {name} is {json.dumps(value)[:40]}; expected a number")
    return found


def at(config: Mapping[str, Any], path: str, where: str, *types: type) -> Any:
    """The value "A.B" of nested dicts; one of `types`, where any are given.

    Raises:
        ConfigError: it is not there, or of another type.
    """
    value: Any = config
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise ConfigError(f"{where}: {path} is missing; this is no config of the kind that is read here")
        value = value[part]
    if types and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types)):
        raise ConfigError(
            f"{where}: {path} is {str(value)[:40]!r}; expected {' or '.join(kind.__name__ for kind in types)}"
        )
    return value


def without(config: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """A copy of nested dicts without the values at "A.B"; what is not there is not missed."""
    copy: dict[str, Any] = json.loads(json.dumps(config))
    for path in paths:
        *parts, last = path.split(".")
        node: Any = copy
        for part in parts:
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(last, None)
    return copy


def without_folders(value: Any) -> Any:
    """The same values, absolute paths reduced to their last part: those of two machines are equal."""
    if isinstance(value, dict):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(inner) for inner in value]
    if isinstance(value, str) and value.startswith("/"):
        return value.rstrip("/").rpartition("/")[2]
    return value


def input_spec(where: str, **values: Any) -> InputSpec:
    """The input spec that a config means.

    Raises:
        ConfigError: it can be none, as mean and std of another scale.
    """
    try:
        return InputSpec.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "mean, std"
        raise ConfigError(f"{where}: {place}: {first['msg'].removeprefix('Value error, ')}") from None
