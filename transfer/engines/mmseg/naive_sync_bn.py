"""MMSegmentation's name of the SyncBN for processes on CPUs."""

from __future__ import annotations

from transfer.engines.mmseg.repairs import load_mmseg
from transfer.engines.naive_sync_bn import NaiveSyncBatchNorm2d

load_mmseg()

from mmseg.registry import MODELS  # noqa: E402

MODELS.register_module(name="naiveSyncBN", module=NaiveSyncBatchNorm2d)
