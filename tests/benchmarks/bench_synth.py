"""How fast is the embedded data set made? Run by hand, on a quiet machine:

    python -m tests.benchmarks.bench_synth [--workers 2] [--out FOLDER]

Prints images per second, and processor time an image, for scenes at 160 px (pictures, JPEG, XML, label maps,
COCO) and for class images at 64 px, files included. The goal is 300 scenes a second on two cores. Creating
files takes a good part of it: on a slow disk, name a folder in memory.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from bench.synth.generate import Counts, generate


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    parts = {"scenes, 160 px": Counts(1500, 500, 0, 0), "class images, 64 px": Counts(0, 0, 400, 50)}
    for name, counts in parts.items():
        with tempfile.TemporaryDirectory(dir=arguments.out) as folder:
            started, before = time.perf_counter(), os.times()
            generate(Path(folder) / "synth", counts=counts, num_workers=arguments.workers)
            seconds, after = time.perf_counter() - started, os.times()
        rate = counts.total / seconds
        # The first four: of this process and of its children, in user and in system mode.
        spent = 1000 * (sum(after[:4]) - sum(before[:4])) / counts.total
        print(
            f"{name}: {counts.total:,} in {seconds:.2f} s = {rate:,.0f} images/s, "
            f"{arguments.workers} workers, {spent:.2f} ms of processor time an image"
        )


if __name__ == "__main__":
    main()
