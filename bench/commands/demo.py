"""`bench demo`: the main job from nothing to a leaderboard, on generated data, on a laptop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from bench.commands._common import Seeds

METHODS = ("supervised", "infomin")
TRANSFERS = {
    "voc-det": "voc0712-r50c4-24k",
    "coco-instseg": "coco-r50fpn4conv-1x",
    "semseg": "voc12aug-fcn-moco",
}
"""Task to protocol; the lightest of those that published rows are of."""

FULL_TIME = "About 18 minutes on 2 cores with AVX-512; older ones have no fast bf16 and take longer"
FAST_TIME = "2 to 5 minutes on 2 cores; its numbers mean nothing, it only shows that all parts run"

# Of the toy recipes (configs/smoke), about half in detection and pretraining: with all of them it would take
# 32 minutes.
FULL = {
    "supervised": ("epochs=6", "monitor.every_epochs=3"),
    "infomin": ("epochs=3", "monitor.every_epochs=3"),
    "voc-det": ("solver.iterations=80", "solver.steps=[65]"),
    "coco-instseg": ("solver.iterations=80", "solver.steps=[65]"),
    # A higher rate, since so few iterations with that of the protocol find nothing but background.
    "semseg": (
        "solver.iterations=250",
        "solver.learning_rate=0.03",
        "solver.schedule.steps=[175, 225]",
    ),
}
_FAST_PRETRAINING = ("epochs=1", "batch_size=32", "monitor.every_epochs=1")
_FAST_DETECTION = ("solver.iterations=2", "solver.steps=[1]", "solver.precise_bn_iterations=1")
FAST = {
    "supervised": _FAST_PRETRAINING,
    "infomin": _FAST_PRETRAINING,
    "voc-det": _FAST_DETECTION,
    "coco-instseg": _FAST_DETECTION,
    "semseg": ("solver.iterations=2", "solver.schedule.steps=[1]"),
}


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
    """Generate data, pretrain, transfer to detection and both segmentations, print tables, write a page.

    One ResNet-50 learns the classes of the embedded data set at 64 px, another learns without them, by
    InfoMin; both and a random one are then fine-tuned in Detectron2, as Faster R-CNN and as Mask R-CNN, and
    in MMSegmentation, as an FCN, and tested. What is finished is not done again: after a stop the same
    command goes on.

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
        f"Demo in {out}: generates pictures, pretrains a ResNet-50 with their classes and one without, "
        "fine-tunes both and a random one to find boxes, masks and labels, prints the leaderboards. "
        f"{FAST_TIME if fast else FULL_TIME}."
    )
    counts, overrides = (Counts(24, 8, 16, 4), FAST) if fast else (Counts(), FULL)
    data = embedded_data(out / "data", counts=counts)
    weights = [_pretrain(method, data / "folder", out / "runs", overrides[method]) for method in METHODS]
    results = out / "results"
    for name in TRANSFERS:
        _transfer(name, data, weights, out, results, seeds, overrides[name])
    _report(out, "--format", "table")
    say(
        "The pretraining departs from the ImageNet recipes (64 px, a few hundred steps of AdamW) and the "
        "transfers from the published ones (configs/smoke): these numbers compare these weights here alone."
    )
    page = ("--format", "html", "--out", str(out / "leaderboard"), "--force")
    _report(out, *page, "--runs", str(out / "runs"), "--views", str(out / "views"))


def _pretrain(method: str, data: Path, out: Path, overrides: tuple[str, ...]) -> Path:
    """The folder of the run, whose weights another recipe or other data would have put elsewhere."""
    from bench.core.log import say
    from pretrain.plan import Options, make_plan
    from pretrain.run import execute

    plan = make_plan(
        Options(
            what=method,
            data=data,
            out=out,
            seeds=(0,),
            name=f"resnet50.{method}_embedded",
            smoke=True,
            overrides=overrides,
        )
    )
    if (plan.run_dir(0) / "checkpoints").exists():
        plan = replace(plan, options=replace(plan.options, resume=True))
    for line in plan.lines():
        say(line)
    (result,) = execute(plan)
    return result.path.parent


def _transfer(
    name: str,
    data: Path,
    weights: list[Path],
    out: Path,
    results: Path,
    seeds: tuple[int, ...],
    overrides: tuple[str, ...],
) -> None:
    from bench.core.log import say
    from transfer.api import TASKS
    from transfer.run import RANDOM, Options, execute, make_plan
    from transfer.show import show

    task = TASKS.get(name)
    for checkpoint in (RANDOM, *map(str, weights)):
        options = Options(
            checkpoint=checkpoint,
            data=task.embedded_data(data),
            protocol=TRANSFERS[name],
            out=out / "runs",
            results=results,
            seeds=seeds,
            smoke=True,
            overrides=overrides,
            resume=True,
        )
        plan = make_plan(task, options)
        for line in plan.lines():
            say(line)
        first, *_ = execute(plan)
        show(plan, first)


def _report(out: Path, *options: str) -> None:
    from bench.commands.report import command as report

    report.main(["--results", str(out / "results"), *options], standalone_mode=False)
