"""`bench transfer TASK`: one subcommand for each task in the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.commands._common import training_options, weights_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.core.records import Record
    from transfer.api import Estimate, Task
    from transfer.run import Plan


class TaskGroup(click.Group):
    """Subcommands from the folder of tasks; a task is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the tasks, from the names of their files."""
        return [path.stem.replace("_", "-") for path in _task_files()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand of a task; an unknown name is an error that suggests the nearest."""
        return _task_command(cmd_name)


def _task_files() -> list[Path]:
    # Listed without importing `transfer`, so that help stays fast.
    folder = Path(__file__).parents[2] / "transfer" / "tasks"
    return sorted(path for path in folder.glob("*.py") if not path.stem.startswith("_"))


def _task_command(name: str) -> click.Command:
    from transfer.api import TASKS

    task = TASKS.get(name)
    spec = task.spec

    @training_options(results=True)
    @click.option(
        "--protocol",
        default=spec.default_protocol,
        show_default=True,
        help="Protocol slug; bench ls protocols lists them.",
    )
    @click.option("--checkpoint", required=True, metavar="CKPT|random", help="Weights file, or 'random'.")
    @weights_options
    @click.option(
        "--batch-size",
        type=click.IntRange(1, 4096),
        metavar="N",
        help="Images an update, instead of the protocol's; learning rate and iterations follow (marked).",
    )
    @click.option(
        "--accumulate",
        type=click.IntRange(1, 4096),
        metavar="N",
        help="Take the batch in N parts, for less memory; batch norm sees a part at a time (marked).",
    )
    @click.option(
        "--show-predictions",
        is_flag=True,
        help="Draw what was found beside what is there, on sample images, into the run folder.",
    )
    def run(**values: Any) -> None:
        run_task(task, **values)

    parts = " --accumulate 2" if _trains(task) else ""
    metrics = ", ".join(f"{metric.name} ({metric.meaning})" for metric in spec.metrics)
    examples = "\n".join(
        [
            "\b",
            "Examples:",
            f"  bench transfer {name} --checkpoint random --smoke --dry-run",
            f"  bench transfer {name} --checkpoint moco_v2.pth.tar --data DIR --seeds 0-4 --devices 8",
            f"  bench transfer {name} --checkpoint net.pth --data DIR{parts} --precision bf16",
        ]
    )
    unpublished = (
        f"No published row is of its default protocol: {spec.unpublished}." if spec.unpublished else ""
    )
    remark = "".join(f"{text}\n\n" for text in (spec.remark, unpublished) if text)
    text = f"{spec.summary}\n\nMetrics: {metrics}.\n\n{remark}{examples}"
    return click.Command(name, callback=run, params=_params(run), help=text, short_help=spec.summary)


def _trains(task: Task) -> bool:
    """Whether there is a batch, which can be taken in parts."""
    from bench.core.config import find_config
    from bench.core.paths import CONFIGS
    from transfer.protocols.transfer import TrainedProtocol

    path = find_config(CONFIGS / "transfer", task.spec.default_protocol)
    return isinstance(task.load_protocol(path, ()), TrainedProtocol)


def _params(function: Any) -> list[click.Parameter]:
    # Decorators of a plain function leave their parameters on it, last one first.
    return list(reversed(function.__click_params__))


def run_task(
    task: Task, *, dry_run: bool, as_json: bool, show_predictions: bool, data: Path | None, **values: Any
) -> None:
    """Plan, say the plan, execute it, print what came out."""
    from bench.core.log import say
    from transfer.run import Options, execute, make_plan, pending

    if data is None:
        from bench.synth.embedded import DEFAULT_ROOT, embedded_data

        if dry_run and not DEFAULT_ROOT.exists():
            say(f"Dry run: would first generate data in {DEFAULT_ROOT}; nothing was written.")
            return
        data = task.embedded_data(embedded_data())
    plan = make_plan(task, Options(data=data, **values))
    for line in plan.lines():
        say(line)
    todo = pending(plan)
    for line in _estimate(plan, todo[0]) if todo else []:
        say(line)
    if dry_run and not todo:
        say("Dry run: every seed is recorded already; nothing would be trained.")
        return
    if dry_run:
        say(f"Dry run: would write {plan.run_dir(plan.options.seeds[0]).parent}; nothing was written.")
        return
    records = execute(plan)
    _print(task, records, as_json=as_json)
    if show_predictions:
        _draw(plan, records)


def _print(task: Task, records: Sequence[Record], *, as_json: bool) -> None:
    from bench.core import atomic

    if as_json:
        dumped = [record.model_dump(mode="json") for record in records]
        click.echo(atomic.json_text(dumped), nl=False)
        return
    names = [metric.name for metric in task.spec.metrics]
    for record in records:
        numbers = "  ".join(
            f"{name} {record.metrics[name].value:.2f}" for name in names if name in record.metrics
        )
        click.echo(f"{record.weights.name}  seed {record.seed}  {numbers}  [{record.protocol.status}]")


def _draw(plan: Plan, records: Sequence[Record]) -> None:
    """A sheet for each record; what cannot be drawn is said when the others are."""
    from bench.core.errors import BenchError
    from bench.core.log import say
    from transfer.show import show

    failed: list[BenchError] = []
    for record in records:
        try:
            say(f"Predictions drawn in {show(plan, record)}")
        except BenchError as error:
            failed.append(error)
    if failed:
        problems = [problem for error in failed for problem in error.problems]
        raise type(failed[0]).of(
            problems, hint="The results are recorded; their pictures could not be drawn."
        )


def _estimate(plan: Plan, seed: int) -> list[str]:
    """What a trial will take, from a step on this machine."""
    from bench.commands._text import bytes_text, duration_text
    from transfer.engines import load_engine

    found = load_engine(plan.task.spec.engine).estimate_job(plan.job(seed))
    train, test = duration_text(found.train_seconds), duration_text(found.test_seconds)
    return [
        f"Memory    about {bytes_text(found.memory_bytes)} a device, counted{_fits(found)}",
        f"Time      about {train} to train and {test} to test a seed, if the input keeps up: {found.basis}",
        f"Disk      {bytes_text(found.disk_bytes)} a seed in {plan.options.out}",
    ]


def _fits(found: Estimate) -> str:
    """Whether a device has that much, and by which --accumulate it would be enough."""
    from bench.commands._text import bytes_text

    if found.device_bytes is None or found.memory_bytes < found.device_bytes:
        return ""
    parts = [count for count, need in found.memory_by_accumulation.items() if need < found.device_bytes]
    mend = f"--accumulate {parts[0]} needs less" if parts else "no --accumulate makes it fit"
    return f"; it has {bytes_text(found.device_bytes)}: {mend}"


HELP = """Fine-tune and test weights in a real engine; keep a record of each trial.

\b
Examples:
  bench transfer voc-det --checkpoint random --smoke --dry-run
  bench transfer voc-det --checkpoint moco_v2.pth.tar --data VOCdevkit --seeds 0-4
"""

command = TaskGroup("transfer", help=HELP, short_help="Fine-tune and test weights in a real engine.")
