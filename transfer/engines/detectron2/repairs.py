"""Makes the Detectron2 0.6 of the package index run on a current stack; does nothing beside a complete one.

What is repaired, and why nothing that moves a number is:

- `detectron2._C`: the package index has the Python part alone. Rotated boxes, deformable convolution and
  the fast COCO evaluation use the extension, the R-CNNs here do not (RoIAlign and NMS come from
  torchvision). A stand-in lets the modules import and refuses to be used.
- `PIL.Image.LINEAR`: gone from Pillow; a default argument reads it, by its present name BILINEAR.
- `numpy.float`, `numpy.int`, `numpy.str`, `numpy.object`: gone from NumPy; given to Detectron2's modules
  alone, as the Python types they always were.

A user who has built Detectron2 from its repository keeps it as it is: with a real `detectron2._C` only the
names that Pillow and NumPy removed are put back, and those only where they are missing.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
import warnings
from typing import Any

import numpy
import PIL.Image

from bench.core.errors import EngineError

_REMOVED_ALIASES: dict[str, type] = {"float": float, "int": int, "str": str, "object": object}

_MODULES = (
    "detectron2.config",
    "detectron2.data",
    "detectron2.data.detection_utils",
    "detectron2.data.transforms",
    "detectron2.evaluation",
    "detectron2.modeling",
    "detectron2.solver",
    "detectron2.structures",
)


class _MissingExtension(types.ModuleType):
    """Stands where the compiled extension would be.

    Detectron2's report on its environment asks it by what it was compiled.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("get_compiler_version", "get_cuda_version"):
            return lambda: "not compiled"
        raise EngineError(
            f"detectron2._C.{name}: this Detectron2 has no compiled extension. Nothing here needs it; "
            "rotated boxes and deformable convolution need a Detectron2 built from its repository."
        )


class _NumpyWithAliases(types.ModuleType):
    """NumPy as Detectron2 0.6 knew it: the removed aliases, everything else as it is."""

    def __getattr__(self, name: str) -> Any:
        if name in _REMOVED_ALIASES:
            return _REMOVED_ALIASES[name]
        return getattr(numpy, name)


def load_detectron2() -> types.ModuleType:
    """Import Detectron2, repaired where needed. Call it before any other import of it.

    Raises:
        EngineError: Detectron2 is not installed, or fails to import; the reason is in the message.
    """
    if importlib.util.find_spec("detectron2") is None:
        raise EngineError(
            "Detectron2 is not installed. `uv sync` in the checkout installs it; see docs/installation.md."
        )
    try:
        package = importlib.import_module("detectron2")
        if "detectron2._C" not in sys.modules and importlib.util.find_spec("detectron2._C") is None:
            stand_in = _MissingExtension("detectron2._C")
            sys.modules["detectron2._C"] = stand_in
            package._C = stand_in  # type: ignore[attr-defined]
        _import_with_old_pillow_name()
    except ImportError as error:
        raise EngineError(f"Detectron2 cannot be imported: {error}") from error
    _give_numpy_aliases()
    # torch announces a change of meshgrid's defaults; Detectron2 0.6 means the present ones.
    warnings.filterwarnings("ignore", message=r"torch\.meshgrid", category=UserWarning)
    # Its bit masks come from pycocotools, are not writable, and are copied at once.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)
    return package


def _import_with_old_pillow_name() -> None:
    missing = not hasattr(PIL.Image, "LINEAR")
    if missing:
        PIL.Image.LINEAR = PIL.Image.Resampling.BILINEAR  # type: ignore[attr-defined]
    try:
        with warnings.catch_warnings():
            # torch.jit.script is deprecated in torch; Detectron2 decorates two functions with it.
            warnings.simplefilter("ignore")
            for name in _MODULES:
                importlib.import_module(name)
    finally:
        if missing:
            del PIL.Image.LINEAR  # type: ignore[attr-defined]


def _give_numpy_aliases() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if all(hasattr(numpy, name) for name in _REMOVED_ALIASES):
            return
    aliased = _NumpyWithAliases("numpy")
    for name, module in list(sys.modules.items()):
        if name.startswith("detectron2.") and vars(module).get("np") is numpy:
            module.np = aliased  # type: ignore[attr-defined]
