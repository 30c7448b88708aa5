"""From an output folder to a record that is marked as imported and stands in no table with others.

What a record of ours promises, nobody has checked here: that these weights were loaded, that the data are
whole. So its status is `custom`, its identity is made of the config and of the word "imported", and its data
stamp says that the data were not checked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.card import Card, InputSpec
from bench.core.errors import ConfigError, DataError, UsageError
from bench.core.protocol import digest, identity
from bench.core.provenance import Stopwatch
from bench.core.records import DataStamp, Metric, ProtocolStamp, Provenance, Record
from transfer.api import MetricSpec, TaskSpec
from transfer.imports import detectron2, mmseg
from transfer.imports.found import Evaluation, Found

READERS = (detectron2, mmseg)

_BOX_AND_MASK = {
    f"{ours}_{name}": f"{theirs}/{key}"
    for ours, theirs in (("box", "bbox"), ("mask", "segm"))
    for name, key in (
        ("ap", "AP"), ("ap50", "AP50"), ("ap75", "AP75"), ("ap_small", "APs"), ("ap_medium", "APm"),
        ("ap_large", "APl"),
    )
}  # fmt: skip

METRICS: dict[str, dict[str, str]] = {
    "voc-det": {"AP": "bbox/AP", "AP50": "bbox/AP50", "AP75": "bbox/AP75"},
    "coco-instseg": _BOX_AND_MASK,
    "semseg": {"mIoU": "mIoU", "pixel_accuracy": "aAcc", "mean_accuracy": "mAcc"},
}
"""Task to its metrics' names, to those that the engine's log has."""

_RULES = {"coco-instseg": {"ap_rule": "coco_101point"}}
"""Of a task whose evaluator has but one."""

_NOT_OF = {"voc-det": ("bbox/APs", "COCO's evaluator; voc-det holds AP of the VOC evaluator")}
"""A name in the log that shows another evaluator than the task's."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_MAX_NAMES_SHOWN = 12


@dataclass(frozen=True)
class Choice:
    """What a user may say of a folder.

    Attributes:
        protocol: A word for its tables; the slug is "imported-" and this.
        iteration: The evaluation to take, if not the one of the last iteration.
        seed: The number of the trial, if not the seed of its config.
    """

    protocol: str | None = None
    iteration: int | None = None
    seed: int | None = None


def read_folder(folder: Path) -> Found:
    """What is in an output folder of an engine that is known by its files.

    Raises:
        UsageError: no folder, or of no known engine.
        ConfigError, DataError: as its reader says.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; expected the output folder of a training")
    for reader in READERS:
        if reader.is_output(folder):
            found: Found = reader.read_output(folder)
            return found
    raise UsageError(
        f"{folder}: no output of a known engine; expected config.yaml and metrics.json (Detectron2), or "
        "<timestamp>/vis_data/scalars.json and config.py (MMSegmentation)"
    )


def check_task(found: Found, spec: TaskSpec, folder: Path) -> None:
    """Refuse a folder of another engine than the task's.

    Raises:
        UsageError: with the tasks that it may be of.
    """
    if spec.name not in METRICS:
        raise UsageError(f"{spec.name}: no output folders are read for it; for {', '.join(METRICS)} they are")
    if spec.engine != found.engine:
        raise UsageError(f"{folder}: an output of {found.kind}; {spec.name} runs in {spec.engine}")


def adopt(found: Found, spec: TaskSpec, card: Card, choice: Choice, folder: Path) -> Record:
    """The record of a folder.

    Args:
        found: From `read_folder`.
        spec: Of the task whose result it is.
        card: Of the checkpoint that the run is said to have started from, or `random_card`.
        choice: What the user says.
        folder: For messages.

    Raises:
        UsageError: what the user says does not fit the folder.
        ConfigError: the config builds another network than the checkpoint's.
        DataError: no evaluation of the last iteration, or a value in it that is none.
    """
    check_task(found, spec, folder)
    name = choice.protocol or found.kind.lower()
    if not _NAME.fullmatch(name):
        raise UsageError(f"--protocol-name {name!r}: expected small letters and digits, parts joined by '-'")
    if card.arch != f"resnet{found.depth}":
        raise ConfigError(
            f"{folder}: its config builds a ResNet-{found.depth}, the checkpoint holds a {card.arch}; "
            "expected the checkpoint that this run started from"
        )
    evaluation = choose(found, choice.iteration, folder)
    seed, seed_notes = _seed(found, choice.seed, folder)
    is_last = evaluation.iteration == found.last_iteration
    fields = {
        "imported": found.kind,
        "config": found.config,
        "datasets": {"train": list(found.train), "test": list(found.test)},
        "metric": {**_RULES.get(spec.name, {}), **found.metric},
        **({} if is_last else {"iteration": evaluation.iteration}),
    }
    data = _stamp(found)
    departures = [f"imported from {found.kind}: trained and tested elsewhere, nothing of it was checked here"]
    if not is_last:
        departures.append(f"tested at iteration {evaluation.iteration:,} of {found.last_iteration:,}")
    notes = [*found.notes, *_weights_notes(found, card), *seed_notes]
    return Record(
        task=spec.name,
        task_version=spec.version,
        engine=spec.engine,
        protocol=ProtocolStamp(
            slug=f"imported-{name}",
            identity=identity(
                fields,
                task=spec.name,
                task_version=spec.version,
                data_fingerprint=data.fingerprint,
                split_counts=data.counts,
            ),
            status="custom",
            departures=tuple(departures),
            fields=fields,
        ),
        data=data,
        # What it was fed as is known from the config alone, and is part of what the weights are.
        weights=card.model_copy(update={"input": found.input}),
        seed=seed,
        metrics=_metrics(evaluation, spec.name, spec.metrics),
        main_metric=spec.main_metric,
        details={
            "imported": {
                "from": found.kind,
                "files": found.files,
                "result": evaluation.where.replace(f"{folder}/", "", 1),
                "iteration": evaluation.iteration,
                "last_iteration": found.last_iteration,
                "weights_of_config": found.weights,
                "seed_of_config": found.seed,
                "config": found.facts,
                "notes": notes,
            }
        },
        provenance=_provenance(),
    )


def choose(found: Found, iteration: int | None, folder: Path) -> Evaluation:
    """The evaluation of the last iteration, or of the one that is asked for.

    Raises:
        DataError: there is none of the last iteration, or two that differ.
        UsageError: there is none of the iteration that is asked for.
    """
    wanted = found.last_iteration if iteration is None else iteration
    fitting = [item for item in found.evaluations if item.iteration == wanted]
    there = sorted({item.iteration for item in found.evaluations})
    listed = ", ".join(f"{number:,}" for number in there[-_MAX_NAMES_SHOWN:])
    if not fitting and iteration is not None:
        raise UsageError(f"--iteration {iteration}: {folder} has no evaluation of it; it has {listed}")
    if not fitting:
        raise DataError(
            f"{folder}: no evaluation of its last iteration, {wanted:,}; it has {listed}. Was the training "
            "stopped? --iteration N takes one of them, and the record says so"
        )
    first, *others = fitting
    for other in others:
        if not _same(first.values, other.values):
            raise DataError(
                f"{first.where} and {other.where}: two different results of iteration {wanted:,}: more than "
                "one run has written here. Leave the lines of one in a copy of the folder"
            )
    return first


def _same(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    """Whether all values that are in both are equal; nan is equal to nan. Times are no results."""
    names = (first.keys() & second.keys()) - {"time", "data_time"}
    return all(
        first[name] == second[name] or (math.isnan(first[name]) and math.isnan(second[name]))
        for name in names
    )


def _metrics(evaluation: Evaluation, task: str, specs: Sequence[MetricSpec]) -> dict[str, Metric]:
    names, values, where = METRICS[task], evaluation.values, evaluation.where
    other, why = _NOT_OF.get(task, ("", ""))
    if other in values:
        raise DataError(f"{where}: {other} is a result of {why}. Another --task?")
    found: dict[str, Metric] = {}
    problems = []
    for spec in specs:
        theirs = names[spec.name]
        value = values.get(theirs)
        if value is None:
            problems.append(f"{where}: {theirs} is missing; {task} needs it. Another --task?")
        elif math.isnan(value) and spec.may_be_missing:
            continue  # a mean over nothing
        elif not 0.0 <= value <= 100.0:
            problems.append(f"{where}: {theirs} is {value}; expected a percentage")
        else:
            found[spec.name] = Metric(value=value, higher_is_better=spec.higher_is_better)
    if problems:
        raise DataError.of(problems)
    return found


def _seed(found: Found, asked: int | None, folder: Path) -> tuple[int, list[str]]:
    if asked is None and found.seed is None:
        raise UsageError(f"{folder}: its config fixes no seed; give the number of this trial as --seed N")
    if asked is None or asked == found.seed:
        return (found.seed or 0), []
    fixed = "fixes no seed" if found.seed is None else f"has seed {found.seed}"
    return asked, [f"recorded as trial {asked}; its config {fixed}"]


def _stamp(found: Found) -> DataStamp:
    both = {"train": list(found.train), "test": list(found.test)}
    notes = ["not checked: names as the config has them; how many images they hold is not known"]
    if found.classes is None:
        notes.append("names of classes are not in the config, their number is")
    return DataStamp(
        name=f"{' + '.join(found.train)}; tested on {' + '.join(found.test)}",
        fingerprint=digest({"datasets": both, "checked": False}),
        counts={},
        classes=found.classes or tuple(f"class {label}" for label in range(found.num_classes)),
        notes=tuple(notes),
    )


def _weights_notes(found: Found, card: Card) -> list[str]:
    notes = []
    is_random = card.tensors_sha256 is None
    given = "no weights" if is_random else card.source_file or card.name
    in_config = f"the config starts from {found.weights or 'no weights'}"
    if not is_random and found.weights and _stem(found.weights) == _stem(card.source_file):
        notes.append(f"weights: {in_config}; that it was {given}, and loaded whole, was not checked")
    elif found.weights or not is_random:
        notes.append(f"weights: {in_config}, the record says {given}; are these the same?")
    if found.input != card.input and not is_random:
        feed, expected = found.input, card.input
        notes.append(
            f"input: the run was fed {_input(feed)}; these weights expect {_input(expected)}. The record "
            "says what it was fed"
        )
    return notes


def _stem(path: str) -> str:
    # A converted checkpoint has another ending.
    return Path(path).name.partition(".")[0]


def _input(spec: InputSpec) -> str:
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (spec.mean, spec.std))
    return f"{spec.channel_order.upper()}, mean {mean}, std {std}, stride in the {spec.stride_in}"


def _provenance() -> Provenance:
    """Of the import alone: commit, versions and machine of the run are not known."""
    unknown: dict[str, object] = {
        "wall_seconds": 0.0,
        "git_commit": None,
        "git_dirty": None,
        "packages": {},
        "hardware": {},
    }
    return (
        Stopwatch()
        .provenance()
        .model_copy(update={**unknown, "python": "not known", "platform": "not known"})
    )
