"""How much faster is a MoCo v2 step than its plain form: fp32, NCHW, loops over tensors? Run by hand.

    python -m tests.benchmarks.bench_step --data DIR [--batch 8] [--repeats 5]

Plain: PyContrast's and MoCo's way to write it: a loop for the momentum copy, SGD tensor by tensor, the queue
copied and put beside the positive, cross entropy over all of it. Ours: the product's step. Both at 224 px
with a queue of 65,536, on batches in memory, taking turns; the median of each counts.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import click
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torchvision.models import resnet50

from bench.core.log import quiet_fabric
from pretrain.data.batch import Batch
from pretrain.data.order import Order
from pretrain.devices import make_fabric
from pretrain.estimate import random_sent, wait_for
from pretrain.guard import is_finite
from pretrain.modality import feed
from pretrain.plan import Options, make_plan
from pretrain.run import job_of, prepare
from pretrain.samples import make_views
from pretrain.step import gradients, update
from pretrain.training import Progress

WAYS = {
    "ours, fp32, NCHW": ("fp32", "false"),
    "ours, fp32, channels last": ("fp32", "true"),
    "ours, bf16, NCHW": ("bf16", "false"),
    "ours, bf16, channels last": ("bf16", "true"),
}


class PlainMoCo:
    """MoCo v2 as it is often written."""

    def __init__(self, device: torch.device) -> None:
        self.query = resnet50(weights=None)
        self.query.fc = nn.Sequential(nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 128))
        self.query.to(device)
        self.key = copy.deepcopy(self.query)
        self.queue = normalize(torch.randn(65_536, 128, device=device), dim=1)
        self.place = 0
        self.optimizer = torch.optim.SGD(
            self.query.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-4, foreach=False
        )

    def step(self, batch: Batch) -> Tensor:
        query_images, key_images = (feed(view, "rgb", torch.float32).contiguous() for view in batch.views)
        query = normalize(self.query(query_images), dim=1)
        with torch.no_grad():
            for slow, fast in zip(self.key.parameters(), self.query.parameters(), strict=True):
                slow.data.mul_(0.999).add_(fast.data, alpha=0.001)
            key = normalize(self.key(key_images), dim=1)
        positive = (query * key).sum(dim=1, keepdim=True)
        logits = torch.cat([positive, query @ self.queue.clone().t()], dim=1) / 0.2
        loss = cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64, device=query.device))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.queue[self.place : self.place + len(key)] = key
        self.place = (self.place + len(key)) % len(self.queue)
        return loss.detach()


def ours(data: Path, out: Path, batch_size: int, precision: str, channels_last: str) -> Callable[[], object]:
    """A step of the product; the guard looks at it as in a run."""
    options = Options(
        what="moco_v2",
        data=data,
        out=out,
        seeds=(0,),
        precision=precision,
        overrides=(f"batch_size={batch_size}", f"loop.channels_last={channels_last}"),
        dry_run=True,
    )
    plan = make_plan(options)
    fabric = make_fabric(plan.config, plan.devices)
    order = Order(len(plan.train), batch_size, 0)
    training = prepare(fabric, job_of(plan, 0), plan.method, plan.config, order)
    sent, state = (
        random_sent(make_views(plan.config, 0, fabric.device), fabric.device, batch_size),
        Progress(),
    )
    batch = sent()

    def step() -> None:
        _, scalars, norm = gradients(training, [batch], state.step)
        is_finite(training, scalars["loss"], norm)
        update(training, state, norm)
        state.step += 1

    return step


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Any images.")
@click.option("--batch", type=int, default=8)
@click.option("--repeats", type=int, default=5)
@click.option("--threads", type=int, default=1, help="Of torch, on a CPU.")
def main(data: Path, batch: int, repeats: int, threads: int) -> None:
    """Print seconds a step and the ratio to the plain form."""
    torch.set_num_threads(threads)
    quiet_fabric()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    draw = torch.Generator().manual_seed(0)
    views = tuple(
        torch.randint(0, 256, (batch, 3, 224, 224), generator=draw, dtype=torch.uint8).to(device)
        for _ in range(2)
    )
    given = Batch(views, None, None, torch.arange(batch, device=device))
    plain = PlainMoCo(device)
    with TemporaryDirectory() as out:
        steps: dict[str, Callable[[], object]] = {"plain, fp32, NCHW, loops": lambda: plain.step(given)}
        steps |= {name: ours(data, Path(out), batch, *way) for name, way in WAYS.items()}
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for repeat in range(repeats + 1):  # the first one prepares
            for name, step in steps.items():
                wait_for(device)
                started = time.perf_counter()
                step()
                wait_for(device)
                if repeat:
                    seconds[name].append(time.perf_counter() - started)
    first = median(next(iter(seconds.values())))
    for name, values in seconds.items():
        click.echo(f"{name:28} {median(values):8.3f} s a step of {batch}  x{first / median(values):.2f}")


if __name__ == "__main__":
    main()
