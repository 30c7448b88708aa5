"""Seconds an iteration and memory of voc-det's training step, precisions taking turns in one run.

    python -m tests.benchmarks.bench_voc_det --data VOC --iterations 20

The batches are mapped beforehand, so that this is the step alone: forward, backward, check, update.
"""

import argparse
import itertools
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from bench.core.card import InputSpec
from bench.core.config import load_config
from bench.core.paths import CONFIGS
from transfer.adapters.detectron2_config import detectron2_config
from transfer.data.voc import read_voc
from transfer.engines.detectron2.loader import to_dicts, train_loader
from transfer.engines.detectron2.model import build_config, build_detector
from transfer.engines.detectron2.repairs import load_detectron2
from transfer.protocols.voc import VocProtocol

load_detectron2()

from detectron2.solver import build_optimizer  # noqa: E402
from detectron2.utils.events import EventStorage  # noqa: E402

FORMS = (("fp32", False), ("bf16", False), ("bf16", True))


def make_step(form: tuple[str, bool], cfg: Any, device: str) -> Any:
    """A training step in one precision and memory layout."""
    precision, channels_last = form
    fabric = Fabric(
        accelerator=device, devices=1, precision="bf16-mixed" if precision == "bf16" else "32-true"
    )
    model, _ = build_detector(cfg, None, seed=0)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    model.to(fabric.device)
    optimizer = build_optimizer(cfg, model)
    step_model, step_optimizer = fabric.setup(model, optimizer)
    step_model.train()

    def step(batch: list[Any]) -> None:
        loss = sum(step_model(batch).values())
        fabric.backward(loss)
        gradients = [item.grad for item in model.parameters() if item.grad is not None]
        bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients)))
        step_optimizer.step()
        step_optimizer.zero_grad()

    return step


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    folder = "smoke" if arguments.smoke else "transfer"
    protocol = load_config(VocProtocol, CONFIGS / folder / "voc0712-r50c4-24k.toml")
    data = read_voc(arguments.data, train=protocol.data.train, test=protocol.data.test)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    entries = detectron2_config(
        protocol,
        InputSpec(),
        num_classes=len(data.classes),
        train_names=("train",),
        test_name="test",
        weights_file="",
        seed=0,
    )
    cfg = build_config({**entries, "MODEL.RESNETS.NORM": "BN", "SOLVER.BASE_LR": 1e-4}, device)
    loader = train_loader(
        cfg, to_dicts(data.train, with_objects=True), seed=0, start=0, rank=0, num_processes=1, num_workers=0
    )
    batches = list(itertools.islice(loader, 4))
    steps = {form: make_step(form, cfg, device) for form in FORMS}
    seconds: dict[tuple[str, bool], list[float]] = {form: [] for form in FORMS}
    memory = dict.fromkeys(FORMS, 0)
    with EventStorage():
        for repeat in range(arguments.repeats + 1):
            for form, step in steps.items():
                if device == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                    torch.cuda.synchronize()
                begun = time.perf_counter()
                for index in range(arguments.iterations):
                    step(batches[index % len(batches)])
                if device == "cuda":
                    torch.cuda.synchronize()
                    memory[form] = torch.cuda.max_memory_allocated()
                if repeat:  # the first round warms up
                    seconds[form].append((time.perf_counter() - begun) / arguments.iterations)
    size = protocol.solver.images_per_batch
    base = statistics.median(seconds[FORMS[0]])
    for form, values in seconds.items():
        middle = statistics.median(values)
        name = f"{form[0]}{' channels_last' if form[1] else ''}"
        print(
            f"{name:20} {middle:7.3f} s an iteration of {size} images ({size / middle:6.1f} images/s), "
            f"{base / middle:4.2f}x fp32, peak memory {memory[form] / 2**30:5.1f} GiB with all three models"
        )


if __name__ == "__main__":
    main()
