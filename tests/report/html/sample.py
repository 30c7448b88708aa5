"""A rich sample, true in form and invented in number: several tasks, baselines, published rows, a study."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from bench.core.records import Record
from bench.report.across import task_pairs
from bench.report.html.curves import Curve
from bench.report.html.page import as_html
from bench.report.html.pictures import Picture
from bench.report.leaderboard import Leaderboard
from bench.report.published import read_published
from bench.report.study_table import StudyGroup, groups
from bench.report.tables import leaderboards
from tests.helpers.records import make_record
from tests.helpers.studies import make_sweep

METHODS = {
    "random": 0.0, "supervised_torchvision": 5.0, "instdis_ep200": 3.5, "moco_v1_ep200": 5.8,
    "moco_v2_ep200": 6.9, "moco_v2_ep800": 7.3, "infomin_ep200": 7.6, "infomin_ep800": 8.0,
}  # fmt: skip
"""Name and how good it is, in points of no task."""

NAMES = {"moco_v2": ("MoCo v2",), "infomin": ("InfoMin Aug",), "moco_v1": ("MoCo v1",)}

VOC = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

DETECTION: dict[str, Any] = {"classes": VOC}
INSTANCES: dict[str, Any] = {
    "task": "coco-instseg", "slug": "coco-r50fpn4conv-1x", "identity": "coco", "main_metric": "box_ap",
    "status": "substituted", "departures": ("model.norm: naiveSyncBN (protocol: SyncBN), one device",),
    "data": "coco2017", "classes": tuple(f"thing {place:02}" for place in range(80)),
}  # fmt: skip
PROBE: dict[str, Any] = {
    "task": "linear-probe", "slug": "in1k-linear-100ep", "identity": "probe", "main_metric": "top1",
    "data": "imagenet-1k", "classes": tuple(f"n{place:08}" for place in range(1000)),
}  # fmt: skip
SEGMENTATION: dict[str, Any] = {
    "task": "semseg", "slug": "voc12aug-fcn-moco", "identity": "fcn", "main_metric": "mIoU",
    "status": "custom", "departures": ("solver.iterations: 300 (protocol: 30000)",), "data": "voc12aug",
    "classes": ("background", *VOC),
}  # fmt: skip


def sample_records() -> list[Record]:
    """About 80 records of four tables."""
    draw = np.random.default_rng(0)
    found = []
    for name, good in METHODS.items():
        weights = f"resnet50.{name}"
        for seed in range(1 if name == "moco_v2_ep800" else 3 if "infomin" in name else 5):
            ap = (33.8 if name == "random" else 50.0 + good) + 0.2 * float(draw.normal())
            found.append(make_record(weights, seed, ap, details=of_classes(VOC, "AP", ap, draw), **DETECTION))
        for seed in range(3):
            ap = (26.0 if name == "random" else 33.0 + good) + 0.25 * float(draw.normal())
            metrics = {"box_ap": ap, "box_ap50": ap + 19, "box_ap75": ap + 3, "mask_ap": ap - 4,
                       "mask_ap50": ap + 16, "mask_ap75": ap - 1, "box_ap_small": ap - 16}  # fmt: skip
            details = of_classes(INSTANCES["classes"], "box_ap", ap, draw)
            found.append(make_record(weights, seed, metrics=metrics, details=details, **INSTANCES))
        for seed in range(2):
            top1 = (4.0 if name == "random" else 56.0 + 2 * good) + 0.1 * float(draw.normal())
            found.append(make_record(weights, seed, metrics={"top1": top1, "top5": top1 + 20.0}, **PROBE))
        if good > 5.0:
            miou = 40.0 + good + float(draw.normal())
            metrics = {"mIoU": miou, "pixel_accuracy": miou + 30.0, "mean_accuracy": miou + 9.0}
            details = of_classes(SEGMENTATION["classes"], "IoU", miou, draw)
            found.append(make_record(weights, 0, metrics=metrics, details=details, **SEGMENTATION))
    return found


def many_records(num: int, seeds: int = 5) -> list[Record]:
    """So many records of four tables, `seeds` a row, with a score for each of 80 classes in one of them."""
    draw = np.random.default_rng(0)
    tasks = (DETECTION, INSTANCES, PROBE, SEGMENTATION)
    mains = ("AP", "box_ap", "top1", "mIoU")
    found = []
    for place in range(num // seeds):
        task, main = tasks[place % 4], mains[place % 4]
        name = "random" if place < 4 else f"method{place // 4:03}_ep{100 * (1 + place % 8)}"
        for seed in range(seeds):
            value = 50.0 + 8.0 * float(draw.random())
            metrics = {main: value, **{f"{main}_{part}": value - 1.0 for part in "abcde"}}
            details = of_classes(task.get("classes", VOC)[:80], main.replace("mIoU", "IoU"), value, draw)
            more = {**task, "main_metric": main}
            found.append(make_record(f"resnet50.{name}", seed, metrics=metrics, details=details, **more))
    return found


def of_classes(names: tuple[str, ...], metric: str, mean: float, draw: np.random.Generator) -> dict[str, Any]:
    """Details with a score for each class."""
    offsets = 14.0 * np.sin(np.arange(len(names)) * 2.4) + draw.normal(size=len(names))
    scores = np.clip(mean + offsets - offsets.mean(), 0.5, 99.5)
    per_class = {name: {metric: float(score)} for name, score in zip(names, scores, strict=True)}
    return {
        "per_class": per_class,
        "num_detections": 61234,
        "predictions": {"sha256": "ab" * 32, "suffix": ".x"},
    }


def sample_boards(records: list[Record], *, beside: bool = True) -> list[Leaderboard]:
    """Their tables, beside published rows, the unconfirmed ones too."""
    published = read_published() if beside else None
    return leaderboards(records, published=published, unconfirmed=beside, methods=NAMES)


def sample_curves(records: list[Record]) -> dict[str, Curve]:
    """A falling loss for the first trial of each VOC row."""
    steps = np.arange(240, 24001, 240)
    return {
        record.id: Curve(
            tuple(steps.tolist()),
            tuple((20.0 / record.metrics["AP"].value + 1.6 * np.exp(-steps / 4000)).tolist()),
        )
        for record in records
        if record.task == "voc-det" and record.seed == 0
    }


def sample_studies() -> list[StudyGroup]:
    """One study with a peak inside."""
    places = [4.1, 3.6, 3.2, 2.9, 2.3, 1.9, 1.4, 1.0]
    return groups(make_sweep(lambda x: 70.0 - 4.0 * (x - 2.4) ** 2, places))


def sample_picture(title: str = "voc-det, resnet50.infomin_ep200, seed 0") -> Picture:
    """A sheet of two tiles: what is there, what was found."""
    image = Image.new("RGB", (1310, 360), (246, 246, 244))
    pen = ImageDraw.Draw(image)
    for left, caption in ((6, "000001: 2 there"), (658, "000001: best 3 of 31 found")):
        pen.rectangle((left, 6, left + 640, 330), fill=(120, 150, 120))
        pen.rectangle((left + 60, 60, left + 300, 280), outline=(68, 119, 170), width=4)
        pen.text((left + 4, 338), caption, fill=(40, 40, 40))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Picture(title, buffer.getvalue(), "Objects that are there, and beside them what was found")


def sample_page(records: list[Record] | None = None, **more: Any) -> str:
    """The page of all that, or of those records."""
    records = sample_records() if records is None else records
    boards = sample_boards(records)
    given: dict[str, Any] = {
        "pairs": task_pairs(boards), "curves": sample_curves(records), "studies": sample_studies(),
        "pictures": [sample_picture()], **more,
    }  # fmt: skip
    return as_html(boards, records, **given)


def few_records() -> list[Record]:
    """Of two tasks: as much as a browser needs."""
    return [record for record in sample_records() if record.task in ("semseg", "voc-det")]
