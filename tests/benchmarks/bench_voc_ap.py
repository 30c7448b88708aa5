"""How much faster than Detectron2's own VOC evaluator, and is it equal? Run by hand, on a quiet machine:

    python -m tests.benchmarks.bench_voc_ap [--repeats 3] [--rule voc07_11point|area]

VOC2007-test size: 4,952 images, 20 classes, 12,032 objects, 198,080 detections, ten thresholds. Detectron2
starts with its detections already handed over and no annotation read; ours starts from the XML files, read by
the strict reader, too. They take turns; each figure is the median.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402

from tests.helpers.voc_boxes import detectron2_evaluator, hand_over, make_boxes, write_folder  # noqa: E402
from transfer.data.detection import DetectionImage  # noqa: E402
from transfer.data.voc import truth_of  # noqa: E402
from transfer.data.voc_annotation import read_annotation  # noqa: E402
from transfer.engines.detectron2.repairs import load_detectron2  # noqa: E402
from transfer.metrics.detections import Truth  # noqa: E402
from transfer.metrics.voc_ap import THRESHOLDS, voc_ap  # noqa: E402

YEARS = {"voc07_11point": 2007, "area": 2012}


def read_truth(root: Path, truth: Truth) -> Truth:
    """The truth from the XML files alone, as it is read before a training."""
    images = []
    for name in truth.image_ids:
        found = read_annotation(root / "Annotations" / f"{name}.xml", name, truth.classes, for_test=True)
        images.append(DetectionImage(name, root, found.width, found.height, found.objects, "", ""))
    return truth_of(images, truth.classes)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rule", choices=list(YEARS), default="voc07_11point")
    arguments = parser.parse_args()
    rule = arguments.rule
    truth, found = make_boxes(
        0, num_images=4952, num_classes=20, num_objects=12_032, num_detections=198_080, num_score_digits=7
    )
    seconds: dict[str, list[float]] = {"detectron2": [], "from XML": [], "from arrays": []}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "VOC2007"
        write_folder(root, truth)
        load_detectron2()
        from detectron2.evaluation import pascal_voc_evaluation as theirs

        # NumPy itself: the stand-in with old names, which its modules have here, would slow it down.
        theirs.np = np
        for _ in range(arguments.repeats):
            evaluator = detectron2_evaluator(root, truth.classes, YEARS[rule])
            hand_over(evaluator, truth, found)
            theirs.parse_rec.cache_clear()
            begun = time.perf_counter()
            reference = evaluator.evaluate()["bbox"]
            seconds["detectron2"].append(time.perf_counter() - begun)

            begun = time.perf_counter()
            from_xml = voc_ap(read_truth(root, truth), found, rule=rule, order="detectron2")
            seconds["from XML"].append(time.perf_counter() - begun)

            begun = time.perf_counter()
            from_arrays = voc_ap(truth, found, rule=rule, order="detectron2")
            seconds["from arrays"].append(time.perf_counter() - begun)
            for name, value in reference.items():
                for ours in (from_xml, from_arrays):
                    if ours.metrics[name] != float(value):
                        raise SystemExit(f"{name}: {value} by Detectron2, {ours.metrics[name]} by ours")
    base = statistics.median(seconds["detectron2"])
    print(f"{rule}, {len(found.scores):,} detections, {len(THRESHOLDS)} thresholds; all metrics equal")
    for name, values in seconds.items():
        middle = statistics.median(values)
        print(f"{name:12} {middle:7.3f} s  {base / middle:6.1f}x")
    stable = voc_ap(truth, found, rule=rule, order="stable").metrics
    for name, value in reference.items():
        print(f"{name:5} Detectron2's tie order {value:.6f}, stable {stable[name]:.6f}")


if __name__ == "__main__":
    main()
