"""Imports MMSegmentation quietly, with all its parts registered."""

from __future__ import annotations

import importlib
import io
import types
import warnings
from contextlib import redirect_stderr, redirect_stdout

from bench.core.errors import EngineError

_MODULES = ("mmseg.models", "mmseg.models.backbones", "mmseg.datasets", "mmseg.engine", "mmseg.evaluation")

_KNOWN_WARNINGS = (
    "For binary segmentation",  # a tip for two classes; ours have a channel each
    "Default ``avg_non_ignore`` is False",  # a loss is a mean over all pixels, as in the published recipes
    "When align_corners=True",  # a tip on sizes; those of a protocol are its own
)


def load_mmseg() -> types.ModuleType:
    """Import MMSegmentation and let configs mean its names. Call it before any other import of it.

    Raises:
        EngineError: it is not installed, or fails to import; the reason is in the message.
    """
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            # They tell at their import of compiled operators and of packages that are not there; what is
            # used here needs none of them.
            warnings.simplefilter("ignore")
            package = importlib.import_module("mmseg")
            for name in _MODULES:
                importlib.import_module(name)
            importlib.import_module("mmengine.registry").init_default_scope("mmseg")
            opencv = importlib.import_module("cv2")
    except ImportError as error:
        raise EngineError(
            f"MMSegmentation cannot be imported: {error}. `uv sync` in the checkout installs it; "
            "see docs/installation.md."
        ) from error
    # As MMEngine's own runner does: its threads fight with those of the network and of the loader.
    opencv.setNumThreads(0)
    # It would tell of every tensor how it was initialised.
    importlib.import_module("mmengine.logging").MMLogger.get_current_instance().setLevel("ERROR")
    for message in _KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", message=message, category=UserWarning)
    return package
