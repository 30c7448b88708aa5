"""An output folder of Detectron2's `tools/train_net.py`: `config.yaml`, `metrics.json`, perhaps `log.txt`.

Source:
    facebookresearch/detectron2 `detectron2/engine/defaults.py` (default_setup writes config.yaml),
    `detectron2/engine/hooks.py` (EvalHook: the last evaluation has the iteration MAX_ITER, one on the way has
    one less than its period), `detectron2/utils/events.py` (JSONWriter adds to a metrics.json that is there).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.core.errors import ConfigError, DataError
from bench.core.safe_yaml import MAX_BYTES, read_yaml
from transfer.imports.found import (
    MAX_LOG_BYTES,
    Evaluation,
    Files,
    Found,
    at,
    input_spec,
    log_lines,
    numbers,
    without,
    without_folders,
)

KIND = "Detectron2"
CONFIG, LOG = "config.yaml", "metrics.json"
RESULTS = ("bbox/AP", "segm/AP")

NOT_IN_IDENTITY = (
    "OUTPUT_DIR",
    "SEED",
    "VERSION",
    "VIS_PERIOD",
    "CUDNN_BENCHMARK",
    "DATALOADER.NUM_WORKERS",
    "SOLVER.CHECKPOINT_PERIOD",
    "TEST.EVAL_PERIOD",
    "TEST.EXPECTED_RESULTS",
    "MODEL.DEVICE",
    # Of the weights, whose card has them.
    "MODEL.WEIGHTS",
    "MODEL.PIXEL_MEAN",
    "MODEL.PIXEL_STD",
    "MODEL.RESNETS.STRIDE_IN_1X1",
    "INPUT.FORMAT",
)
"""Fields that move no number, and those of the input spec. Every other one counts."""

_AP_RULES = {"voc_2007_": "voc07_11point", "voc_2012_": "area"}
"""By the year that Detectron2 knows of its own VOC sets; source: `evaluation/pascal_voc_evaluation.py`."""


def is_output(folder: Path) -> bool:
    """Whether the folder looks like one."""
    return (folder / CONFIG).is_file() or (folder / LOG).is_file()


def read_output(folder: Path) -> Found:
    """Everything in the folder that a record needs.

    Raises:
        ConfigError: there is no `config.yaml` of a `CfgNode`, or a field is missing in it.
        DataError: a log cannot be read, or it has no evaluation.
    """
    files, where = Files(folder), str(folder / CONFIG)
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"{where}: is missing; Detectron2's default_setup writes it into the output folder")
    files.text(folder / CONFIG, MAX_BYTES)
    config = read_yaml(folder / CONFIG, error=ConfigError)
    if not isinstance(config, dict) or "SOLVER" not in config:
        raise ConfigError(f"{where}: no config of a CfgNode of Detectron2; LazyConfig is not read")
    spec = input_spec(
        where,
        channel_order=at(config, "INPUT.FORMAT", where, str).lower(),
        mean=at(config, "MODEL.PIXEL_MEAN", where, list),
        std=at(config, "MODEL.PIXEL_STD", where, list),
        stride_in="1x1" if at(config, "MODEL.RESNETS.STRIDE_IN_1X1", where, bool) else "3x3",
    )
    for key, plain in (("NUM_GROUPS", 1), ("WIDTH_PER_GROUP", 64), ("STEM_OUT_CHANNELS", 64)):
        if (value := at(config, f"MODEL.RESNETS.{key}", where, int)) != plain:
            raise ConfigError(f"{where}: MODEL.RESNETS.{key} is {value}; expected {plain}, a plain ResNet")
    fields = without_folders(without(config, NOT_IN_IDENTITY))
    num_devices = _num_devices(folder, files)
    notes: tuple[str, ...] = ()
    if "BN" in _norms(config):
        # Statistics of one device's images: the batch of all says too little.
        fields["num_devices"] = num_devices
        if num_devices is None:
            notes = ("norm BN takes its statistics a device; on how many devices it ran is not known",)
    train, test = (_names(config, f"DATASETS.{split}", where) for split in ("TRAIN", "TEST"))
    if len(test) != 1:
        raise ConfigError(f"{where}: DATASETS.TEST has {len(test)} sets; expected one, whose result is read")
    seed = at(config, "SEED", where, int)
    last = at(config, "SOLVER.MAX_ITER", where, int)
    return Found(
        kind=KIND,
        engine="detectron2",
        evaluations=tuple(_evaluations(folder, files, last)),
        last_iteration=last,
        config=fields,
        facts=_facts(config, where) | {"num_devices": num_devices},
        input=spec,
        depth=at(config, "MODEL.RESNETS.DEPTH", where, int),
        num_classes=at(config, "MODEL.ROI_HEADS.NUM_CLASSES", where, int),
        classes=None,
        train=train,
        test=test,
        seed=seed if seed >= 0 else None,
        weights=at(config, "MODEL.WEIGHTS", where, str),
        metric=dict(_ap_rules(test[0])),
        files=files.read,
        notes=notes,
    )


def _evaluations(folder: Path, files: Files, last: int) -> list[Evaluation]:
    path = folder / LOG
    if not path.is_file():
        raise DataError(f"{path}: is missing; Detectron2 writes results there when its training ends")
    found: list[Evaluation] = []
    for place, values in log_lines(files.text(path, MAX_LOG_BYTES), str(path), RESULTS):
        now = values.get("iteration")
        if found and type(now) is int and now < last <= found[-1].iteration:
            raise DataError(
                f"{place}: iteration {now:,} after the result of the last one, {last:,}: more than one run "
                "has written here, and config.yaml is that of the last. Leave the files of one in a copy"
            )
        if any(name in values for name in RESULTS):
            iteration = values.pop("iteration", None)
            if type(iteration) is not int:
                raise DataError(f"{place}: a result of no iteration")
            # Training losses may stand in the same line.
            results = {name: value for name, value in values.items() if name.startswith(("bbox/", "segm/"))}
            found.append(Evaluation(iteration, numbers(results, place), place))
    if not found:
        raise DataError(
            f"{path}: no evaluation in it (no {' or '.join(RESULTS)}); expected that of the last iteration. "
            "Was the training stopped, or tested on several sets?"
        )
    return found


def _names(config: dict[str, Any], path: str, where: str) -> tuple[str, ...]:
    names = at(config, path, where, list)
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{where}: {path} is {str(names)[:40]}; expected names of data sets")
    return tuple(names)


def _ap_rules(name: str) -> Iterator[tuple[str, str]]:
    yield from (("ap_rule", rule) for prefix, rule in _AP_RULES.items() if name.startswith(prefix))


def _norms(value: Any) -> set[str]:
    """All values of keys called NORM."""
    if not isinstance(value, dict):
        return set()
    own = {value["NORM"]} if isinstance(value.get("NORM"), str) else set()
    return own.union(*(_norms(inner) for inner in value.values()))


def _num_devices(folder: Path, files: Files) -> int | None:
    """As the head of `log.txt` has it."""
    path = folder / "log.txt"
    if not path.is_file():
        return None
    found = set(re.findall(r"World size: (\d{1,6})", files.text(path, MAX_LOG_BYTES)))
    if len(found) > 1:
        raise DataError(
            f"{path}: on {' and on '.join(sorted(found, key=int))} devices: parts of a run that are not "
            "alike, or more than one run"
        )
    return int(next(iter(found))) if found else None


def _facts(config: dict[str, Any], where: str) -> dict[str, Any]:
    """The fields that are looked at first, by Detectron2's own names."""
    paths = (
        "SOLVER.IMS_PER_BATCH",
        "SOLVER.BASE_LR",
        "SOLVER.MAX_ITER",
        "SOLVER.STEPS",
        "MODEL.RESNETS.NORM",
        "MODEL.BACKBONE.NAME",
        "MODEL.BACKBONE.FREEZE_AT",
        "MODEL.ROI_HEADS.NAME",
        "MODEL.ROI_HEADS.NUM_CLASSES",
        "MODEL.ROI_BOX_HEAD.NUM_CONV",
        "MODEL.ROI_BOX_HEAD.NUM_FC",
        "MODEL.ROI_BOX_HEAD.NORM",
        "MODEL.MASK_ON",
        "INPUT.FORMAT",
        "MODEL.PIXEL_MEAN",
        "MODEL.PIXEL_STD",
        "TEST.PRECISE_BN.ENABLED",
    )
    return {path: at(config, path, where) for path in paths}
