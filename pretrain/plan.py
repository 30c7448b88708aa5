"""The plan of a pretraining: config, method, data and devices, all checked before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.config import check_config, find_config, load_config, read_toml
from bench.core.cpu import has_bf16
from bench.core.errors import ConfigError, DataError, UsageError, did_you_mean
from bench.core.paths import CONFIGS, safe_name
from bench.core.protocol import differences, digest, number_changing
from bench.core.weights import WEIGHTS_FILE
from bench.images.source import ImageSource, open_source
from pretrain.api import METHODS, Method
from pretrain.config import PretrainConfig
from pretrain.data.order import Order
from pretrain.devices import Devices, accelerator, check_devices

SPLITS = ("train", "val", "test", "unlabeled")
"""What a folder of a divided data set may hold beside `train` without a doubt."""


@dataclass(frozen=True)
class Options:
    """What the command line says; see `bench pretrain --help`.

    Attributes:
        what: A method's name, the name of a config, or the path of one.
        data: Images: a folder with `train` (and `val`), or any source of `bench.images.source`.
        dry_run: Nothing may be written.
    """

    what: str
    data: Path
    out: Path
    seeds: tuple[int, ...]
    name: str | None = None
    smoke: bool = False
    num_devices: int = 1
    precision: str | None = None
    overrides: tuple[str, ...] = ()
    resume: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Plan:
    """A pretraining that has been checked and may start."""

    options: Options
    method: Method
    config: PretrainConfig[Any]
    departures: tuple[str, ...]
    train: ImageSource
    val: ImageSource | None
    devices: Devices
    identity: str

    @property
    def num_steps(self) -> int:
        """Updates of one run."""
        return self.config.epochs * Order(len(self.train), self.config.batch_size, 0).steps_per_epoch

    @property
    def conditions(self) -> dict[str, Any]:
        """What is in no identity and yet must not change within a run, nor pass for another's.

        Batch norm and the shuffle of keys see the images of a process; k-NN accuracy is a number of its own
        settings and images.
        """
        monitor = self.config.monitor.model_dump(exclude={"every_epochs", "batch_size"})
        return {
            "processes": {"per_node": self.devices.per_node, "nodes": self.devices.nodes},
            "knn": {**monitor, "held_out": self.val.fingerprint if self.val else None},
        }

    def run_dir(self, seed: int) -> Path:
        """Where the run with this seed keeps its files."""
        folder = f"{self.weights_name(0)}-{self.identity[:8]}"
        return self.options.out / "pretrain" / folder / f"seed-{seed}"

    def weights_path(self, seed: int) -> Path:
        """Where its weights will be."""
        return self.run_dir(seed) / WEIGHTS_FILE

    def weights_name(self, seed: int) -> str:
        """What tables call its weights: those of another seed are other weights."""
        name = self.options.name or f"{self.config.backbone.arch}.{self.config.name}"
        return f"{name}_seed{seed}" if seed else name

    def lines(self) -> list[str]:
        """What will be done, for a person, before it is done."""
        config, devices = self.config, self.devices
        steps = Order(len(self.train), config.batch_size, 0).steps_per_epoch
        classes = f"{len(self.train.classes)} classes" if self.train.classes else "no classes"
        held_out = f", {len(self.val):,} held out for k-NN" if self.val else ""
        parts = config.loop.accumulation_steps
        jigsaw = f", jigsaw of {config.jigsaw.grid**2} patches" if config.jigsaw else ""
        one, more = ("GPU", "GPUs") if accelerator() == "cuda" else ("CPU process", "CPU processes")
        where = f"{devices.total} {more if devices.total > 1 else one}"
        if devices.nodes > 1:
            where += f" on {devices.nodes} nodes"
        if devices.started_by != "us":
            where += f", started by {devices.started_by}"
        lines = [
            f"Method    {self.method.name} v{self.method.version}: {self.method.summary}",
            f"Network   {config.backbone.arch}, {config.backbone.norm} norm; weights "
            f"{self.weights_name(self.options.seeds[0])}",
            f"Views     {_views_text(config)}{jigsaw}",
            f"Data      {self.train.root}: {len(self.train):,} images, {classes}{held_out}, "
            f"fingerprint {self.train.fingerprint[:12]}",
            f"Training  {config.epochs:,} epochs of {steps:,} steps = {self.num_steps:,} steps of "
            f"{config.batch_size:,} images{f' in {parts} parts' if parts > 1 else ''}, "
            f"{config.optimizer.kind} at {config.optimizer.learning_rate:g}, {config.schedule.kind}, "
            f"{config.loop.precision}, {where}, seeds {', '.join(map(str, self.options.seeds))}",
            f"Identity  {self.identity[:12]}",
        ]
        for what, images in (("images", self.train), ("held-out images", self.val)):
            if images and images.pack:
                lines.append(f"Note      the {what} are {images.pack.text()}: not their own pixels")
        lines += [f"Departs   {line}" for line in self.departures]
        shuffles = getattr(config.parts, "shuffle_bn", None) or "none"
        alone = devices.total == 1 or (devices.per_node == 1 and shuffles == "node")
        if shuffles != "none" and alone and config.backbone.norm == "batch":
            lines.append(
                "Note      one device a node: there is nobody to shuffle keys with, and batch norm may tell "
                "a positive by the batch it is in"
            )
        is_rgb = getattr(config.parts, "modality", "rgb") == "rgb"
        if config.backbone.arch != "resnet50" or config.backbone.norm == "group" or not is_rgb:
            lines.append("Note      bench transfer takes ResNet-50 on RGB with batch norm, not these weights")
        if self.val is None and config.monitor.every_epochs:
            lines.append("Note      no held-out images with classes (DIR/val): no k-NN monitor")
        return lines


def _views_text(config: PretrainConfig[Any]) -> str:
    """How many views of which size, and what is done to them."""
    text = f"{config.parts.num_views} of {config.view.crop_px} px: {', '.join(config.view.order)}"
    if config.second_view:
        text += f"; the second: {', '.join(config.second_view.order)}"
    if config.local_view:
        local = config.local_view
        text += f"; and {config.num_local_views} of {local.crop_px} px: {', '.join(local.order)}"
    return text


def make_plan(options: Options) -> Plan:
    """Read config and data, check both and the devices.

    Raises:
        UsageError, ConfigError, DataError, EngineError: what is wrong, before anything is written.
    """
    path = config_path(options.what, smoke=options.smoke)
    method, base = read_config(path)
    values = options.overrides
    if options.precision:
        values = (*values, f"loop.precision='{options.precision}'")
    config = load_config(type(base), path, values)
    slow = base.loop.precision == "bf16" and accelerator() == "cpu" and not has_bf16()
    if slow and config.loop.precision == "bf16" and options.precision is None:
        # Said as a departure. Asked for by --precision, bf16 is computed all the same.
        loop = config.loop.model_copy(update={"precision": "fp32"})
        config = config.model_copy(update={"loop": loop})
    _hold(config, method, path)
    if options.name:
        safe_name(options.name, "--name", error=UsageError)
    devices = Devices.here(options.num_devices)
    check_devices(config, devices)
    images = config.batch_size // (devices.total * config.loop.accumulation_steps)
    if images < method.min_images:
        raise ConfigError(
            f"batch_size {config.batch_size:,} leaves each part {images} image; "
            f"{method.name.replace('-', '_')} compares images of a part and needs {method.min_images}"
        )
    train, val = open_data(
        options.data,
        None if options.dry_run else options.out / "index",
        with_labels=method.with_labels,
    )
    Order(len(train), config.batch_size, 0)  # raises where there are too few images
    fields = number_changing(config)
    return Plan(
        options=options,
        method=method,
        config=config,
        departures=tuple(differences(fields, number_changing(base), what="config file")),
        train=train,
        val=val,
        devices=devices,
        identity=digest(
            {
                "fields": fields,
                "method": method.name,
                "version": method.version,
                "data": train.fingerprint,
            }
        ),
    )


def config_path(what: str, *, smoke: bool) -> Path:
    """The file that a method's or a config's name, or a path, stands for.

    Raises:
        UsageError: neither; the nearest names are suggested.
    """
    configs = sorted(path.stem for path in (CONFIGS / "pretrain").glob("*.toml"))
    if smoke and (what.endswith(".toml") or what in configs):
        raise UsageError(
            f"{what}: --smoke goes with the name of a method; or give the path of a toy config alone"
        )
    if what.endswith(".toml"):
        return Path(what)
    method = what.replace("_", "-")
    if method in METHODS.names():
        slug = method.replace("-", "_") if smoke else METHODS.get(method).default_config
        return find_config(CONFIGS / ("smoke" if smoke else "pretrain"), slug)
    if what in configs:
        return CONFIGS / "pretrain" / f"{what}.toml"
    known = [name.replace("-", "_") for name in METHODS.names()] + configs
    near = did_you_mean(what, known)
    raise UsageError(f"no method or config {what!r}.{near} Known: {', '.join(known)}; or a path of a .toml")


def read_config(path: Path) -> tuple[Method, PretrainConfig[Any]]:
    """A config and its method, checked.

    Raises:
        ConfigError: every fault of the file.
    """
    name = read_toml(path).get("method")
    if not isinstance(name, str):
        raise ConfigError(f"{path}: method: expected the name of one in quotes, found {name!r}")
    known = METHODS.names()
    if name.replace("_", "-") not in known:
        near = did_you_mean(name, [entry.replace("-", "_") for entry in known])
        raise ConfigError(f"{path}: method: no method {name!r}.{near} Known: {', '.join(known)}")
    method = METHODS.get(name.replace("_", "-"))
    config = load_config(PretrainConfig[method.parts], path)  # type: ignore[name-defined]
    _hold(config, method, path)
    return method, config


def parse_config(values: dict[str, Any], where: str) -> tuple[Method, PretrainConfig[Any]]:
    """A config from its values, as another process was sent them."""
    method = METHODS.get(str(values["method"]).replace("_", "-"))
    return method, check_config(PretrainConfig[method.parts], values, where)  # type: ignore[name-defined]


def _hold(config: PretrainConfig[Any], method: Method, path: Path) -> None:
    if config.method.replace("_", "-") != method.name:
        raise ConfigError(f"{path}: --set method: the method is the file's; give another config")
    problems = [
        f"[{table}]: {method.name.replace('-', '_')} has no such part"
        for table in ("second_view", "local_view", "jigsaw")
        if getattr(config, table) is not None and table not in method.takes
    ]
    problems += method.problems(config)
    if problems:
        raise ConfigError.of([f"{path}: {problem}" for problem in problems])


def _refuse_a_class_called_train(root: Path) -> None:
    """Class folders of which one has that name would be taken for that class alone."""
    try:
        others = sorted(
            path.name
            for path in root.iterdir()
            if path.is_dir() and path.name not in SPLITS and not path.name.startswith(".")
        )
        is_flat = not any(path.is_dir() for path in (root / "train").iterdir())
    except OSError:
        return  # whoever lists it says what is wrong with it
    if others and is_flat:
        raise DataError(
            f"{root}: has a folder of images called train beside the folder {others[0]}: a split or a class? "
            f"Give {root / 'train'} to train on it alone, or rename it where it is a class"
        )


def open_data(root: Path, index: Path | None, *, with_labels: bool) -> tuple[ImageSource, ImageSource | None]:
    """Images to train on, and those held out for the monitor, None where there are none with classes.

    Args:
        root: A folder with `train` (and `val`), or any source of images.
        index: Where indices of sources are kept; None keeps none.
        with_labels: Whether classes are needed.

    Raises:
        DataError: not readable as images, or not the same classes in both.
    """
    parted = (root / "train").is_dir()
    if parted:
        _refuse_a_class_called_train(root)
    train = open_source(root / "train" if parted else root, index_root=index)
    if with_labels and train.labels is None:
        raise DataError(f"{train.root}: its images have no classes, which this method needs")
    if not parted or not (root / "val").exists() or train.labels is None:
        return train, None
    val = open_source(root / "val", index_root=index)
    if val.labels is None:
        return train, None
    if val.classes != train.classes:
        only = sorted(set(val.classes or ()) ^ set(train.classes or ()))
        raise DataError(f"{val.root}: its classes are not those of {train.root} (first: {only[0]!r})")
    return train, val
