"""How much faster than pycocotools is hotcoco at COCO AP, and is it equal? Run by hand, on a quiet machine:

    python -m tests.benchmarks.bench_coco_ap [--images 500] [--repeats 3] [--seed 0]

Like COCO val2017 in size: 80 classes, 7 objects and 60 detections an image of about 640 x 480, ellipses and
rectangles as masks; `--images 5000` is all of it. Each starts from the same arrays, and ends with the
precisions; on one thread. They take turns; each figure is the median.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402

from tests.helpers.coco_instances import make_instances  # noqa: E402
from transfer.metrics.coco_ap import CocoAP, Evaluator, coco_ap  # noqa: E402
from transfer.metrics.coco_result import KINDS  # noqa: E402
from transfer.metrics.detections import Detections  # noqa: E402
from transfer.metrics.instances import InstanceTruth  # noqa: E402

EVALUATORS: tuple[Evaluator, ...] = ("pycocotools", "hotcoco")


def compare(truth: InstanceTruth, found: Detections, name: str, repeats: int) -> float:
    """Time one kind, print its lines, and give the largest difference of the precisions."""
    seconds: dict[Evaluator, list[float]] = {evaluator: [] for evaluator in EVALUATORS}
    aps: dict[Evaluator, CocoAP] = {}
    for _ in range(repeats):
        for evaluator in EVALUATORS:
            begun = time.perf_counter()
            aps[evaluator] = coco_ap(truth, found, KINDS[name], evaluator=evaluator)
            seconds[evaluator].append(time.perf_counter() - begun)
    one, other = (aps[evaluator].precision for evaluator in EVALUATORS)
    difference = float(np.abs(one - other).max())
    base = statistics.median(seconds["pycocotools"])
    for evaluator, values in seconds.items():
        middle = statistics.median(values)
        ap = aps[evaluator].mean()
        print(f"{name:5} {evaluator:12} {middle:8.3f} s  {base / middle:5.1f}x  AP {ap:.6f}")
    print(f"{name:5} largest difference of {one.size:,} precisions: {difference:g}")
    return difference


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    truth, found = make_instances(
        arguments.seed,
        num_images=arguments.images,
        num_classes=80,
        objects_an_image=9,  # a fifth of the images has none
        detections_an_image=60,
        is_crowded=False,
        num_score_digits=7,
        side_px=(480, 640),
    )
    counts = f"{len(truth.image):,} objects, {len(found.image):,} detections"
    print(f"{arguments.images:,} images, {counts}; one thread")
    differences = [compare(truth, found, name, arguments.repeats) for name in KINDS]
    if any(differences):
        raise SystemExit("the precisions are not equal")


if __name__ == "__main__":
    main()
