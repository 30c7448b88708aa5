"""How much faster is the memory bank's loss than the published one, on the same negatives? Run by hand.

    python -m tests.benchmarks.bench_bank --images 1281167 --batch 64 --negatives 65536

Published: the entries of every query put side by side, [batch, 1 + negatives, dim] in float32, and a product
for each (HobbitLong/PyContrast `memory/mem_bank.py`). Ours: `pretrain.bank.bank_nce`. Both forward and
backward, in turn, in one process; the fastest of each counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from pretrain.bank import bank_nce

DIM, TEMPERATURE = 128, 0.07


def side_by_side(query: Tensor, entries: Tensor, index: Tensor, negatives: Tensor) -> Tensor:
    """The published loss."""
    rows = torch.cat([index[:, None], negatives], dim=1)
    gathered = entries.index_select(0, rows.flatten()).view(*rows.shape, DIM)
    logits = torch.bmm(gathered, query[:, :, None]).squeeze(2) / TEMPERATURE
    return cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64, device=query.device))


def seconds_of(loss: Callable[[Tensor], Tensor], query: Tensor) -> tuple[float, float, Tensor]:
    """Seconds of loss and gradient, the loss, the gradient."""
    asked = query.clone().requires_grad_()
    started = time.monotonic()
    value = loss(asked)
    value.backward()
    found = float(value.detach())  # waits for a GPU
    assert asked.grad is not None
    return time.monotonic() - started, found, asked.grad


@click.command()
@click.option("--images", type=int, default=1_281_167, help="Entries; of ImageNet by default.")
@click.option("--batch", type=int, default=64)
@click.option("--negatives", type=int, default=65_536)
@click.option("--repeats", type=int, default=3)
def main(images: int, batch: int, negatives: int, repeats: int) -> None:
    """Print seconds of both, their ratio, and how far apart their results are."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    draw = torch.Generator(device).manual_seed(0)
    entries = normalize(torch.randn(images, DIM, generator=draw, device=device), dim=1)
    query = normalize(torch.randn(batch, DIM, generator=draw, device=device), dim=1)
    index = torch.randint(images, (batch,), generator=draw, device=device)
    drawn = torch.randint(images, (batch, negatives), generator=draw, device=device)
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "side by side": lambda asked: side_by_side(asked, entries, index, drawn),
        "ours": lambda asked: bank_nce(asked, entries, index, drawn, temperature=TEMPERATURE),
    }
    best = dict.fromkeys(ways, float("inf"))
    found: dict[str, tuple[float, Tensor]] = {}
    for _ in range(repeats):
        for name, loss in ways.items():
            spent, value, gradient = seconds_of(loss, query)
            best[name], found[name] = min(best[name], spent), (value, gradient)
    (theirs, their_gradient), (ours, our_gradient) = found.values()
    far = float((our_gradient - their_gradient).abs().max() / their_gradient.abs().max())
    click.echo(
        f"{device.type}, {images:,} entries, batch {batch}, {negatives:,} negatives, {DIM} numbers each"
    )
    for name, spent in best.items():
        click.echo(f"{name:12} {spent:8.3f} s")
    click.echo(f"ratio {best['side by side'] / best['ours']:.1f}; losses {theirs:.6f} and {ours:.6f}")
    click.echo(f"largest difference of the gradients, as a share of the largest: {far:.1e}")


if __name__ == "__main__":
    main()
