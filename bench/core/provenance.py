"""What made a number: commit, versions, machine, command."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bench.core.paths import ROOT, as_text
from bench.core.records import Provenance

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "simplejpeg",
    "opencv-python-headless",
    "pb1-detectron2",
    "detectron2",
    "onedl-mmsegmentation",
    "onedl-mmcv",
    "onedl-mmengine",
    "pycocotools",
    "hotcoco",
    "fvcore",
    "lightning-fabric",
    "lightly",
    "scikit-learn",
    "scipy",
)
"""The packages whose release may move a number."""


def package_versions() -> dict[str, str]:
    """Installed versions of `PACKAGES`; what is not installed is left out."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def git_state() -> tuple[str | None, bool | None]:
    """(commit, dirty) of the checkout this package runs from, or (None, None) outside one."""
    if not (ROOT / ".git").exists():
        return None, None
    try:
        commit = _git("rev-parse", "HEAD").strip()
        dirty = bool(_git("status", "--porcelain", "--untracked-files=no").strip())
    except (OSError, subprocess.SubprocessError):
        return None, None
    return commit, dirty


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


def hardware() -> dict[str, str]:
    """The processor, its cores and, where torch is loaded and sees them, the accelerators."""
    found = {"cpu": _cpu_name(), "cores": str(os.cpu_count())}
    torch = sys.modules.get("torch")
    if torch is not None:
        found["threads"] = str(torch.get_num_threads())
        if torch.cuda.is_available():
            found["gpu"] = torch.cuda.get_device_name()
            found["num_gpus"] = str(torch.cuda.device_count())
            found["cuda"] = str(torch.version.cuda)
            found["tf32_convolutions"] = str(torch.backends.cudnn.allow_tf32)
            found["tf32_products"] = str(torch.backends.cuda.matmul.allow_tf32)
    return found


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line for line in file if line.startswith("model name")]
    except OSError:
        lines = []
    return lines[0].partition(":")[2].strip() if lines else platform.processor() or platform.machine()


@dataclass(frozen=True)
class Stopwatch:
    """Started with the run, so that commit and versions are those it began with."""

    started: float = field(default_factory=time.monotonic)
    git: tuple[str | None, bool | None] = field(default_factory=lambda: git_state())
    packages: dict[str, str] = field(default_factory=lambda: package_versions())

    def provenance(self, *, earlier_seconds: float = 0.0) -> Provenance:
        """The provenance of a run that ends now; `earlier_seconds` were spent before a resume."""
        from bench import __version__

        commit, dirty = self.git
        return Provenance(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            wall_seconds=round(time.monotonic() - self.started + earlier_seconds, 3),
            git_commit=commit,
            git_dirty=dirty,
            bench_version=__version__,
            python=platform.python_version(),
            platform=platform.platform(),
            packages=self.packages,
            hardware=hardware(),
            command=tuple(map(as_text, sys.argv)),
        )
