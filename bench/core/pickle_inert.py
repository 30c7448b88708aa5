"""Classes of others whose objects stand in honest checkpoints beside the weights: names, and nothing more.

Objects of `PLACEHOLDERS` become `Inert`; those of `DICT_CLASSES`, which people put tensors into, plain dicts;
a named tuple that dill took apart becomes a dict of its fields. `CLASSES` may be named and are never called.

Each name was seen in what the library writes itself, or is in the file named beside it.
"""

from __future__ import annotations

from typing import Any

from bench.core.pickle_values import Budget, Inert, add_items, shown
from bench.core.tensor_ref import Refused

# How dill names a module, the first half of how it names a function.
IMPORT_MODULE = "dill._dill._import_module"

# The five fields of BYOL's state are the most seen; the longest, "online_params", has 13 characters.
MAX_FIELDS = 200
MAX_FIELD_LENGTH = 200

_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
_NODES = ("Any", "String", "Integer", "Float", "Boolean", "Enum", "Bytes", "Path")

PLACEHOLDERS = {
    "options": ("argparse.Namespace", "types.SimpleNamespace"),
    "torch": (
        "torch.device",
        "torch.torch_version.TorchVersion",
        "torchvision.transforms.functional.InterpolationMode",
    ),
    "Python": (
        *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
        # pathlib._local: Python 3.13 alone.
        *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS),
        "uuid.UUID",
    ),
    "OmegaConf": (
        "omegaconf.dictconfig.DictConfig",
        "omegaconf.listconfig.ListConfig",
        "omegaconf.base.ContainerMetadata",
        "omegaconf.base.Metadata",
        *(f"omegaconf.nodes.{name}Node" for name in _NODES),
    ),
    # mmcv: Source: open-mmlab/mmcv, mmcv/utils/config.py (1.x).
    "OpenMMLab": (
        "mmengine.config.config.Config",
        "mmengine.logging.history_buffer.HistoryBuffer",
        "mmcv.utils.config.Config",
    ),
}
"""Family to classes whose objects become `Inert`."""

DICT_CLASSES = {
    "configs": (
        "addict.addict.Dict",
        "easydict.EasyDict",
        "yacs.config.CfgNode",
        "fvcore.common.config.CfgNode",
        "detectron2.config.config.CfgNode",
    ),
    "OpenMMLab": ("mmengine.config.config.ConfigDict", "mmcv.utils.config.ConfigDict"),
    # Source: pytorch_lightning/utilities/parsing.py (to 2.0), lightning_fabric/utilities/data.py (since).
    "Lightning": (
        "pytorch_lightning.utilities.parsing.AttributeDict",
        "lightning.pytorch.utilities.parsing.AttributeDict",
        "lightning_fabric.utilities.data.AttributeDict",
        "lightning.fabric.utilities.data.AttributeDict",
    ),
    # Source: facebookresearch/vissl, vissl/config/attr_dict.py; vissl/utils/hydra_config.py before.
    "VISSL": ("vissl.config.attr_dict.AttrDict", "vissl.utils.hydra_config.AttrDict"),
    # Source: google-deepmind/dm-haiku, haiku/_src/data_structures.py: __reduce__ of both takes one dict.
    "haiku": ("haiku._src.data_structures.FlatMapping", "haiku._src.data_structures.frozendict"),
}
"""Family to subclasses of dict, and haiku's mappings, whose objects become dicts."""

_CALLBACKS = ("model_checkpoint.ModelCheckpoint", "early_stopping.EarlyStopping")
_STATISTICS = ("min", "max", "current", "mean")

CLASSES = {
    "OmegaConf": ("typing.Any", "typing.Dict", "typing.List", "pathlib.Path", "pathlib._local.Path"),
    "OpenMMLab": tuple(f"mmengine.logging.history_buffer.HistoryBuffer.{name}" for name in _STATISTICS),
    # Keys of "callbacks" up to 1.4. Source: pytorch_lightning/trainer/callback_hook.py, on_save_checkpoint.
    "Lightning": tuple(f"pytorch_lightning.callbacks.{name}" for name in _CALLBACKS),
}
"""Family to names that stand in such objects as values."""


class TupleClass:
    """A class of named tuples, as dill writes it into the file: a name and the names of its fields."""

    __slots__ = ("fields", "name")

    def __init__(self, name: str, fields: tuple[str, ...]) -> None:
        self.name = name
        self.fields = fields

    def make(self, budget: Budget, values: tuple[Any, ...]) -> dict[str, Any]:
        """The tuple as a dict, in the order of its fields. Raises Refused for too few or too many values."""
        budget.spend_steps(len(values))
        if len(values) != len(self.fields):
            have = f"{len(values)} values for {len(self.fields)} fields"
            raise Refused(f"a named tuple {shown(self.name)!r} with {have}; refused")
        result: dict[str, Any] = {}
        add_items(budget, result, zip(self.fields, values, strict=True))
        return result


def tuple_class(budget: Budget, args: tuple[Any, ...]) -> TupleClass:
    """What `dill._dill._create_namedtuple` is called for: name, fields, module; no module is looked at.

    Raises:
        Refused: the fields are no names.
    """
    name, fields, _ = args
    if not isinstance(name, str) or not isinstance(fields, tuple):
        raise Refused("a named tuple without a name and fields; refused")
    if len(fields) > MAX_FIELDS:
        raise Refused(f"a named tuple of {len(fields):,} fields; at most {MAX_FIELDS} are read; refused")
    budget.spend_steps(len(fields))
    if not all(map(_is_field, fields)):
        raise Refused("a named tuple whose fields are no names; refused")
    return TupleClass(name, fields)


def _is_field(value: Any) -> bool:
    # The length first: one long text may stand there as every field, and is gone through for each.
    return isinstance(value, str) and len(value) <= MAX_FIELD_LENGTH and value.isidentifier()


def inert_names() -> tuple[str, ...]:
    """All names of `PLACEHOLDERS`."""
    return tuple(name for names in PLACEHOLDERS.values() for name in names)


def module_of(value: Any) -> str | None:
    """The name of the module that `value` stands for, or None if it stands for none."""
    if isinstance(value, Inert) and value.name == IMPORT_MODULE and isinstance(value.args[0], str):
        return value.args[0]
    return None
