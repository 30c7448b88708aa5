"""How far above random initialisation does each method bring k-NN? Run by hand.

    python -m tests.benchmarks.bench_pretrain --data DIR --out DIR --methods moco_v2,infomin --seeds 0-2

Pretrains every method at toy size with each seed and prints k-NN accuracy before and after, in percent. What
is finished is not done again.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

import click

from bench.commands._common import Seeds
from pretrain.plan import Options, make_plan
from pretrain.run import execute


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--methods", default="supervised,moco_v1,moco_v2,simclr,infomin")
@click.option("--seeds", type=Seeds(), default="0-2")
@click.option("--set", "overrides", multiple=True)
def main(data: Path, out: Path, methods: str, seeds: tuple[int, ...], overrides: tuple[str, ...]) -> None:
    """Print one row a method and seed, and the mean over the seeds."""
    click.echo(f"{'method':12} {'seed':>4} {'random':>7} {'after':>7} {'gain':>7} {'minutes':>8}")
    for method in methods.split(","):
        plan = make_plan(
            Options(
                what=method, data=data, out=out, seeds=seeds, smoke=True, overrides=overrides, resume=True
            )
        )
        rows = []
        for result in execute(plan):
            facts = json.loads((result.path.parent / "result.json").read_text())
            first, last = facts["monitor"][0]["knn"], facts["monitor"][-1]["knn"]
            rows.append((first, last, last - first))
            minutes = facts["provenance"]["wall_seconds"] / 60
            numbers = " ".join(f"{value:7.1f}" for value in rows[-1])
            click.echo(f"{method:12} {result.seed:4} {numbers} {minutes:8.1f}")
        numbers = " ".join(f"{mean(values):7.1f}" for values in zip(*rows, strict=True))
        click.echo(f"{method:12} mean {numbers}")


if __name__ == "__main__":
    main()
