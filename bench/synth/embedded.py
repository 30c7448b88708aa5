"""The data set a command uses when it is given none: generated once, then reused."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from bench.core.errors import DataError
from bench.core.log import progress, say
from bench.core.safe_json import read_json
from bench.synth.generate import GENERATOR_VERSION, MARKER, Counts, generate

DEFAULT_ROOT = Path("data") / "synth"
SIZE_PX, CLASS_SIZE_PX = 160, 64


def embedded_data(root: Path = DEFAULT_ROOT, *, counts: Counts | None = None, seed: int = 0) -> Path:
    """The embedded set at `root`, generated if it is not there yet.

    Args:
        root: Where it lies, or will.
        counts: How many images; the defaults of `Counts` if left out.
        seed: Of the generator.

    Raises:
        DataError: what lies at `root` is another data set than the one asked for.
    """
    counts = counts or Counts()
    wanted = {
        "generator_version": GENERATOR_VERSION,
        "seed": seed,
        "size_px": SIZE_PX,
        "class_size_px": CLASS_SIZE_PX,
        "counts": asdict(counts),
    }
    if root.exists():
        marker = root / MARKER
        found = read_json(marker) if marker.is_file() else {}
        if not isinstance(found, dict) or {key: found.get(key) for key in wanted} != wanted:
            raise DataError(
                f"{root}: is not the embedded data set this needs (seed {seed}, {counts.total:,} images of "
                f"{SIZE_PX} and {CLASS_SIZE_PX} px, generator {GENERATOR_VERSION}). Move it away, or work in "
                "another folder."
            )
        return root
    say(f"Generating the embedded data set in {root}: {counts.total:,} images.")
    with progress("Generating images", counts.total) as bar:
        generate(
            root,
            seed=seed,
            size_px=SIZE_PX,
            class_size_px=CLASS_SIZE_PX,
            counts=counts,
            progress=bar.update,
            num_workers=min(2, os.cpu_count() or 1),
        )
    return root
