"""Threads or processes to read images: how fast are they, and how much do they disturb the loop? Run by hand.

    python -m tests.benchmarks.bench_workers --photos DIR [--workers 2] [--seconds 5]

Crops of MoCo v2's views are made without a pause, by so many threads of this process, and by so many
processes. First this process waits; then it runs small operations of torch one after another, as a loop does
that feeds a GPU, and their rate is compared with that of an idle machine.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch

from bench.core.safe_image import decode_image
from pretrain.samples import Views
from tests.benchmarks.bench_input import config


def crops(data: list[bytes], seconds: float, found: Any, number: int) -> None:
    """Make crops for some time; how many pairs a second goes to `found`."""
    make = Views(config("moco_v2_ep200").views, None, 0, "crops")
    end, count, started = time.perf_counter() + seconds, 0, time.perf_counter()
    while time.perf_counter() < end:
        make(decode_image(data[count % len(data)], "memory"), count % len(data), 0)
        count += 1
    found[number] = count / (time.perf_counter() - started)


def small_operations(seconds: float) -> float:
    """Additions of a few numbers a second, each a call from Python."""
    value, end, count = torch.zeros(16), time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        for _ in range(100):
            value.add_(1.0)
        count += 100
    return count / seconds


def beside(start: Callable[..., Any], workers: int, data: list[bytes], seconds: float, is_busy: bool) -> Any:
    """Pairs a second of all workers, and small operations a second of this thread."""
    found = multiprocessing.Manager().dict()
    running = [start(target=crops, args=(data, seconds, found, number)) for number in range(workers)]
    for one in running:
        one.start()
    rate = small_operations(seconds) if is_busy else 0.0
    for one in running:
        one.join()
    return sum(found.values()), rate


@click.command()
@click.option("--photos", type=click.Path(path_type=Path, exists=True), required=True, help="JPEGs.")
@click.option("--workers", type=int, default=2)
@click.option("--seconds", type=float, default=5.0)
@click.option("--repeats", type=int, default=3)
def main(photos: Path, workers: int, seconds: float, repeats: int) -> None:
    """Print both rates of both ways."""
    torch.set_num_threads(1)
    config("moco_v2_ep200")  # loaded once, before there are threads
    data = [path.read_bytes() for path in sorted(photos.glob("*.jpg"))]
    processes = multiprocessing.get_context("fork").Process
    for _ in range(repeats):
        alone = small_operations(1.0)
        for name, start in (("threads", threading.Thread), ("processes", processes)):
            idle, _ = beside(start, workers, data, seconds, False)
            busy, rate = beside(start, workers, data, seconds, True)
            click.echo(
                f"{workers} {name:10} {idle:7.0f} pairs/s; beside a busy loop {busy:7.0f}, "
                f"the loop at {100 * rate / alone:.0f} % of its rate alone"
            )


if __name__ == "__main__":
    main()
