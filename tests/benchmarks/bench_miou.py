"""How much faster than MMSegmentation's metric do we count label maps, and is mIoU equal? Run by hand, on a
quiet machine:

    python -m tests.benchmarks.bench_miou [--images 8] [--repeats 15] [--noise 0] [--size 512 1024] [--seed 0]

Images of 1024 x 512 with 21 and with 150 classes, in squares of 32 pixels; what is found is the truth five
pixels aside, with a wrong class in 15 % of all squares of 16 pixels and in `--noise` % of all pixels; 2 % of
the pixels are ignored. MMSegmentation gets int64 tensors, as its models make them; bincount and ours get
uint8, and ours int64 once more. `ours, kept` also makes the sparse matrix. On one thread; they take turns;
each figure is the median over images and repeats.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402

from transfer.metrics.confusion import ImageLabels, confusion  # noqa: E402
from transfer.metrics.miou import label_scores  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mmseg.evaluation.metrics import IoUMetric


def squares(random: np.random.Generator, size: tuple[int, int], side_px: int, num_values: int) -> np.ndarray:
    """A value in each square."""
    height, width = size
    cells = random.integers(0, num_values, (-(-height // side_px), -(-width // side_px)), np.uint8)
    return np.kron(cells, np.ones((side_px, side_px), np.uint8))[:height, :width].copy()


def make_maps(
    random: np.random.Generator, size: tuple[int, int], num_classes: int, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Truth and found, uint8; `noise` is a fraction of the pixels."""
    truth = squares(random, size, 32, num_classes)
    wrong = squares(random, size, 16, 100) < 15
    found = np.where(wrong, truth[::-1, ::-1], np.roll(truth, 5, axis=1))
    found = np.where(random.random(size) < noise, squares(random, size, 1, num_classes), found)
    truth[:, ::50] = 255
    return truth, found


def bincount(truth: np.ndarray, found: np.ndarray, num_classes: int) -> np.ndarray:
    """NumPy's way, as torchvision's reference for segmentation does it."""
    counted = truth != 255
    pairs = truth[counted].astype(np.int64) * num_classes + found[counted]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def compare(num_classes: int, arguments: argparse.Namespace) -> None:
    """Time one number of classes and print its lines."""
    random = np.random.default_rng(arguments.seed)
    size = tuple(arguments.size)
    pairs = [make_maps(random, size, num_classes, arguments.noise / 100) for _ in range(arguments.images)]
    wide = [tuple(labels.astype(np.int64) for labels in pair) for pair in pairs]
    tensors = [tuple(torch.from_numpy(labels) for labels in pair) for pair in wide]
    ways: dict[str, Callable[[int], Any]] = {
        "mmseg": lambda i: IoUMetric.intersect_and_union(tensors[i][1], tensors[i][0], num_classes, 255),
        "bincount": lambda i: bincount(*pairs[i], num_classes),
        "ours": lambda i: confusion(*pairs[i], num_classes),
        "ours, int64": lambda i: confusion(*wide[i], num_classes),
        "ours, kept": lambda i: ImageLabels.of(i, *pairs[i], num_classes),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    given: dict[str, list[Any]] = {}
    for _ in range(arguments.repeats + 1):
        given = {name: [] for name in ways}
        for index in range(arguments.images):
            for name, way in ways.items():
                begun = time.perf_counter()
                given[name].append(way(index))
                seconds[name].append(time.perf_counter() - begun)
    if any((one != other).any() for one, other in zip(given["ours"], given["bincount"], strict=True)):
        raise SystemExit("the matrices are not those of bincount")
    warm = {name: values[arguments.images :] for name, values in seconds.items()}
    base = statistics.median(warm["mmseg"])
    for name, values in warm.items():
        middle = statistics.median(values)
        print(f"{num_classes:4} classes  {name:12} {middle * 1e3:8.3f} ms  {base / middle:6.1f}x")
    areas = [sum(parts) for parts in zip(*given["mmseg"], strict=True)]
    theirs = float(np.nanmean(IoUMetric.total_area_to_metrics(*areas)["IoU"])) * 100
    scores = label_scores(sum(given["ours"]))
    mine = scores.miou("classes_in_union")
    print(
        f"{num_classes:4} classes  mIoU {theirs:.6f} by mmseg, {mine:.6f} by ours: {abs(mine - theirs):.1e}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--size", type=int, nargs=2, default=[512, 1024], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    height, width = arguments.size
    print(f"{arguments.images} images of {width} x {height}, {arguments.repeats} repeats; one thread")
    for num_classes in (21, 150):
        compare(num_classes, arguments)


if __name__ == "__main__":
    main()
