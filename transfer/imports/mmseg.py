"""A work folder of MMSegmentation's `tools/train.py`: a log and a config in each `<timestamp>/vis_data`.

Source:
    open-mmlab/mmengine `mmengine/hooks/logger_hook.py` (a validation's `step` is the iteration, or the epoch
    if `log_metric_by_epoch`), `mmengine/visualization/vis_backend.py` (scalars.json, config.py);
    open-mmlab/mmsegmentation `mmseg/evaluation/metrics/iou_metric.py` (percent with two decimals).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import ConfigError, DataError
from bench.core.protocol import differences
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
from transfer.imports.python_config import MAX_BYTES, parse_config

KIND = "MMSegmentation"
RESULTS = ("mIoU",)

_COUNT = (
    "model", "train_dataloader", "val_dataloader", "train_cfg", "val_cfg", "val_evaluator", "optim_wrapper",
    "param_scheduler", "auto_scale_lr", "custom_hooks", "custom_imports", "randomness",
)  # fmt: skip
"""What a Runner takes and what moves a number; the other names at the top are for tests and for people."""

NOT_IN_IDENTITY = (
    "randomness.seed",
    "train_cfg.val_interval",
    *(
        f"{loader}_dataloader.{name}"
        for loader in ("train", "val")
        for name in ("num_workers", "persistent_workers", "pin_memory", "prefetch_factor")
    ),
    # Of the weights, whose card has them.
    "model.pretrained",
    "model.backbone.init_cfg",
    "model.backbone.style",
    *(f"model.data_preprocessor.{name}" for name in ("mean", "std", "bgr_to_rgb", "rgb_to_bgr")),
)
"""Of these, the fields that move none, and those of the input spec."""

_STRIDES = {"pytorch": "3x3", "caffe": "1x1"}


def is_output(folder: Path) -> bool:
    """Whether the folder looks like one, or like one of before MMEngine."""
    return any(folder.glob("*/vis_data")) or any(folder.glob("*.log.json"))


def read_output(folder: Path) -> Found:
    """Everything in the folder that a record needs.

    A run that was stopped and resumed has a timestamp for each part; all of them count, and their configs
    must be equal.

    Raises:
        ConfigError: there is no config, it is no plain one, a field is missing in it, or parts differ.
        DataError: a log cannot be read, or none has an evaluation.
    """
    if any(folder.glob("*.log.json")):
        raise DataError(
            f"{folder}: a log of MMSegmentation before 1.0, whose scores are fractions; not read. "
            "Test its checkpoint with MMSegmentation 1.x"
        )
    files = Files(folder)
    evaluations: list[Evaluation] = []
    configs: list[dict[str, Any]] = []
    fields: dict[str, Any] = {}
    where, log = "", ""
    for part in sorted(path.parent for path in folder.glob("*/vis_data")):
        log_path = _log(part)
        if log_path is None:
            continue  # of a test alone
        where = str(part / "vis_data" / "config.py")
        config = parse_config(files.text(part / "vis_data" / "config.py", MAX_BYTES), where)
        now = _fields(config) | {"num_devices": _num_devices(part, files)}
        if fields and (changed := differences(now, fields, what="before")):
            raise ConfigError(
                f"{where}: not the config of the part before: {'; '.join(changed[:3])}. Expected one run; "
                "leave the timestamps of one in a copy of the folder"
            )
        if configs and (config.get("randomness") or {}) != (configs[0].get("randomness") or {}):
            raise ConfigError(
                f"{where}: another seed than the part before. Expected one run; leave the timestamps of one "
                "in a copy of the folder"
            )
        if configs and not config.get("resume") and _weights(config) != _weights(configs[0]):
            raise ConfigError(
                f"{where}: starts from {_weights(config) or 'nothing'}, the part before from "
                f"{_weights(configs[0]) or 'nothing'}. Expected one run; leave those of one in a copy"
            )
        fields, log = now, str(log_path)
        configs.append(config)
        evaluations += _evaluations(log_path, files, config, where)
    if not evaluations:
        raise DataError(
            f"{log or folder}: no validation in it (no {RESULTS[0]}); expected that of the last iteration. "
            "Was the training stopped? Results of tools/test.py alone do not say of which iteration they are"
        )
    # Where a later part goes on from a checkpoint of the run, the first says what the run started from.
    return _found(configs[-1], where, fields, evaluations, files, _weights(configs[0]))


def _found(
    config: dict[str, Any],
    where: str,
    fields: dict[str, Any],
    evaluations: list[Evaluation],
    files: Files,
    weights: str,
) -> Found:
    head = _last(at(config, "model.decode_head", where))
    seed = (config.get("randomness") or {}).get("seed")
    style = at(config, "model.backbone.style", where, str)
    feed = at(config, "model.data_preprocessor", where, dict)
    if (kind := at(config, "model.backbone.type", where)) != "ResNet":
        raise ConfigError(f"{where}: model.backbone.type is {kind!r}; expected ResNet, whose stem is one 7x7")
    if style not in _STRIDES:
        raise ConfigError(f"{where}: model.backbone.style is {style!r}; expected {' or '.join(_STRIDES)}")
    train, test = (_datasets(at(config, f"{kind}_dataloader.dataset", where)) for kind in ("train", "val"))
    evaluator = _last(config.get("val_evaluator"))
    plain = evaluator.get("type") == "IoUMetric" and evaluator.get("nan_to_num") is None
    unknown = fields["num_devices"] is None
    return Found(
        kind=KIND,
        engine="mmseg",
        evaluations=tuple(evaluations),
        last_iteration=at(config, "train_cfg.max_iters", where, int),
        config=fields,
        facts=_facts(config, head, where) | {"num_devices": fields["num_devices"]},
        input=input_spec(
            where,
            channel_order="rgb" if feed.get("bgr_to_rgb") else "bgr",
            mean=at(feed, "mean", where, list),
            std=at(feed, "std", where, list),
            stride_in=_STRIDES[style],
        ),
        depth=at(config, "model.backbone.depth", where, int),
        num_classes=at(head, "num_classes", where, int),
        classes=_classes(at(config, "val_dataloader.dataset", where)),
        train=train,
        test=test,
        seed=seed if type(seed) is int and seed >= 0 else None,
        weights=weights,
        metric={"miou_rule": "classes_in_union"} if plain else {},
        files=files.read,
        notes=("the batch is one device's; on how many devices it ran is not known",) if unknown else (),
    )


def _log(part: Path) -> Path | None:
    """`scalars.json`, or the other name under which the same lines are written."""
    names = ("scalars.json", f"{part.name}.json")
    return next((path for name in names if (path := part / "vis_data" / name).is_file()), None)


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    counted = {name: config[name] for name in _COUNT if name in config}
    fields: dict[str, Any] = without_folders(without(counted, NOT_IN_IDENTITY))
    return fields


def _evaluations(path: Path, files: Files, config: dict[str, Any], where: str) -> list[Evaluation]:
    hooks = config.get("default_hooks") or {}
    logger = hooks.get("logger") if isinstance(hooks, dict) else None
    by_epoch = not isinstance(logger, dict) or logger.get("log_metric_by_epoch", True)
    last = at(config, "train_cfg.max_iters", where, int)
    interval = at(config, "train_cfg.val_interval", where, int) if by_epoch else 1
    found, done = [], 0
    for place, values in log_lines(files.text(path, MAX_LOG_BYTES), str(path), RESULTS):
        if "mIoU" not in values:
            done = values["iter"] if type(values.get("iter")) is int else done
            continue
        step = values.pop("step", None)
        if type(step) is not int:
            raise DataError(f"{place}: a result of no iteration")
        # By epoch, `step` is 0 throughout; the log has every so many iterations, the last before it, too.
        iteration = min(-(-done // max(interval, 1)) * interval, last) if by_epoch else step
        found.append(Evaluation(iteration, numbers(values, place), place))
    return found


def _num_devices(part: Path, files: Files) -> int | None:
    """As the head of the text log has it: the batch of the config is one device's."""
    path = part / f"{part.name}.log"
    if not path.is_file():
        return None
    match = re.search(r"^\s*GPU number: (\d{1,6})$", files.text(path, MAX_LOG_BYTES), re.MULTILINE)
    return int(match[1]) if match else None


def _last(value: Any) -> dict[str, Any]:
    """A cascade of heads and a list of evaluators are told by the last."""
    last = value[-1] if isinstance(value, list) and value else value
    return last if isinstance(last, dict) else {}


def _datasets(value: Any) -> tuple[str, ...]:
    """A name for each data set below a loader: its type, and the list or folder that says which split."""
    if isinstance(value, list):
        return tuple(name for inner in value for name in _datasets(inner))
    if not isinstance(value, dict):
        return ()
    inner = value.get("dataset", value.get("datasets"))
    if inner is not None:
        return _datasets(inner)
    prefix = value.get("data_prefix")
    place = value.get("ann_file") or (prefix.get("img_path") if isinstance(prefix, dict) else "") or ""
    return (f"{value.get('type', '?')} {without_folders(str(place))}".strip(),)


def _classes(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, dict) and isinstance(value.get("metainfo"), dict):
        names = value["metainfo"].get("classes")
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
    return None


def _weights(config: Mapping[str, Any]) -> str:
    """What the training starts from, by whichever of three ways."""
    model = config["model"]
    init = model["backbone"].get("init_cfg")
    ways: Sequence[Any] = (
        config.get("load_from"),
        init.get("checkpoint") if isinstance(init, dict) else None,
        model.get("pretrained"),
    )
    return next((str(way) for way in ways if way), "")


def _facts(config: dict[str, Any], head: dict[str, Any], where: str) -> dict[str, Any]:
    """The fields that are looked at first, by MMSegmentation's own names."""
    optimizer = at(config, "optim_wrapper.optimizer", where, dict)
    norm = config["model"]["backbone"].get("norm_cfg")
    feed = config["model"]["data_preprocessor"]
    return {
        "train_dataloader.batch_size": at(config, "train_dataloader.batch_size", where, int),
        "optim_wrapper.optimizer.lr": optimizer.get("lr"),
        "train_cfg.max_iters": at(config, "train_cfg.max_iters", where, int),
        "model.backbone.type": config["model"]["backbone"].get("type"),
        "model.backbone.norm_cfg.type": norm.get("type") if isinstance(norm, dict) else None,
        "model.decode_head.type": head.get("type"),
        "model.decode_head.num_classes": head.get("num_classes"),
        "model.data_preprocessor.bgr_to_rgb": feed.get("bgr_to_rgb"),
        "model.data_preprocessor.mean": feed.get("mean"),
        "model.data_preprocessor.std": feed.get("std"),
    }
