"""How long does a bootstrap of VOC AP take, and is it what the evaluator says? Run by hand:

    python -m tests.benchmarks.bench_bootstrap [--resamples 1000] [--rule voc07_11point|area] [--metric AP]

VOC2007-test size: 4,952 images, 20 classes, 12,032 objects, 495,200 detections, about 100 an image; AP is
over ten thresholds, AP50 over one. NumPy may use two threads; little of it does. Three resamples are also
given to the evaluator, each image as often as it was drawn. Seconds are of the clock and of the processor:
where others are at work, the second is the better one.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "2"

import numpy as np  # noqa: E402

from bench.report.bootstrap import draws  # noqa: E402
from tests.helpers.voc_boxes import make_boxes  # noqa: E402
from tests.transfer.metrics.test_resampled_ap import voc_slowly  # noqa: E402
from transfer.metrics.resampled_ap import VOC_METRICS, voc_average  # noqa: E402

NUM_CHECKED = 3


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long it took."""
    clock, processor = time.perf_counter(), time.process_time()
    yield
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    print(f"{what:34} {clock:7.2f} s  {processor:7.2f} s of the processor")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--rule", choices=["voc07_11point", "area"], default="voc07_11point")
    parser.add_argument("--metric", choices=list(VOC_METRICS), default="AP")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    truth, found = make_boxes(
        arguments.seed,
        num_images=4952,
        num_classes=20,
        num_objects=12_032,
        num_detections=495_200,
        num_score_digits=7,
    )
    print(f"{arguments.metric}, {arguments.rule}, {len(found.scores):,} detections")
    with timed(f"{arguments.resamples:,} draws of images"):
        counts = draws(len(truth.image_ids), arguments.resamples, arguments.seed)
    with timed("matching"):
        average = voc_average(truth, found, arguments.rule, arguments.metric)
    with timed(f"{arguments.resamples:,} resamples"):
        values = average(counts)
    with timed(f"{NUM_CHECKED} of them by the evaluator"):
        expected = voc_slowly(truth, found, counts[:NUM_CHECKED], arguments.rule, arguments.metric)
    print(f"largest difference {np.abs(values[:NUM_CHECKED] - expected).max():.1e}")
    print(f"{arguments.metric} {values.mean():.4f}, standard error {values.std(ddof=1):.4f}")
    print(f"memory at its fullest {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
