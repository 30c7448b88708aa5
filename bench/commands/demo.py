"""`bench demo`: the main job from nothing to a leaderboard, on generated data, on a laptop."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands._common import Seeds

SUPERVISED = "resnet50.supervised_embedded"

FULL_TIME = "about 10 minutes on 2 cores"
FAST_TIME = "under 3 minutes on 2 cores; its numbers mean nothing, it only shows that all parts run"

FAST_PRETRAINING = {"steps": 12, "batch_size": 16, "warmup_steps": 2}
FAST_TRANSFER = ("solver.iterations=6", "solver.steps=[5]", "solver.precise_bn_iterations=2")


@click.command("demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    help="Everything goes there.",
)
@click.option("--seeds", type=Seeds(), default="0", show_default=True, help="Trials, as in 0 or 0,1.")
@click.option("--fast", is_flag=True, help="Toy counts everywhere: does it run at all?")
def command(out: Path, seeds: tuple[int, ...], fast: bool) -> None:
    """Generate data, pretrain, transfer to VOC detection, print the table.

    A ResNet-50 learns the classes of the embedded data set at 64 px; it and a random one are then
    fine-tuned as Faster R-CNN in Detectron2 and tested. What is finished is not done again: after a stop the
    same command goes on.

    \b
    Examples:
      bench demo
      bench demo --seeds 0,1
      bench demo --fast --out /tmp/demo
    """
    from bench.core.log import say
    from bench.synth.embedded import embedded_data
    from bench.synth.generate import Counts

    say(
        f"Demo in {out}: generates pictures, pretrains a ResNet-50 on their classes, fine-tunes it and a "
        f"random one as detectors, prints the leaderboard. {FAST_TIME if fast else FULL_TIME}."
    )
    counts = Counts(24, 8, 16, 4) if fast else Counts()
    data = embedded_data(out / "data", counts=counts)
    weights = _pretrain(data / "folder", out / "weights", fast=fast)
    results = _transfer(data, weights, out, seeds, fast=fast)
    _print_table(results)
    say(
        "The pretraining departs from the ImageNet recipe (64 px, a few hundred steps of AdamW) and the "
        "transfer from the VOC one (configs/smoke): these numbers compare these two weights here, no others."
    )


def _pretrain(data: Path, out: Path, *, fast: bool) -> Path:
    from bench.core.config import load_config
    from bench.core.log import say
    from bench.core.paths import CONFIGS
    from bench.core.protocol import digest, number_changing
    from bench.core.safe_json import read_json
    from bench.core.weights import write_weights
    from bench.synth.generate import MARKER
    from pretrain.supervised import SupervisedConfig, pretrain_supervised

    overrides = [f"{key}={value}" for key, value in FAST_PRETRAINING.items()] if fast else []
    config = load_config(SupervisedConfig, CONFIGS / "smoke" / "supervised.toml", overrides)
    # Weights of another recipe have another name, so that they are never taken for these.
    recipe = digest({**number_changing(config), "data": read_json(data.parent / MARKER)})
    path = out / f"{SUPERVISED}-{recipe[:8]}.safetensors"
    if path.exists():
        say(f"Weights of an earlier demo are used: {path}")
        return path
    weights, accuracy = pretrain_supervised(config, data / "train", data / "val", seed=0, name=SUPERVISED)
    write_weights(path, weights)
    say(f"Pretrained: {accuracy:.1f} % of held-out images right; weights in {path}")
    return path


def _transfer(data: Path, weights: Path, out: Path, seeds: tuple[int, ...], *, fast: bool) -> Path:
    from bench.core.log import say
    from transfer.api import TASKS
    from transfer.run import RANDOM, Options, execute, make_plan

    results = out / "results"
    task = TASKS.get("voc-det")
    for checkpoint in (RANDOM, str(weights)):
        options = Options(
            checkpoint=checkpoint,
            data=task.embedded_data(data),
            protocol=task.spec.default_protocol,
            out=out / "runs",
            results=results,
            seeds=seeds,
            smoke=True,
            overrides=FAST_TRANSFER if fast else (),
            resume=True,
        )
        plan = make_plan(task, options)
        for line in plan.lines():
            say(line)
        execute(plan)
    return results


def _print_table(results: Path) -> None:
    from bench.commands.report import command as report

    report.main(["--results", str(results)], standalone_mode=False)
