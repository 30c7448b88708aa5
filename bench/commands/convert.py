"""`bench convert`: a backbone for another tool, proven in that tool."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from bench.commands._common import weights_options
from bench.core.errors import Stopped, UsageError

if TYPE_CHECKING:
    from bench.core.weights import Weights
    from transfer.engines.proof import Proof


@click.command("convert")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "target",
    type=click.Choice(("torchvision", "detectron2", "mmseg", "timm")),
    required=True,
    help="The tool that will load the file.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write; its ending says the kind.",
)
@weights_options
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Load the file in the tool and compare every tensor and the features C2 to C5.",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option("--dry-run", is_flag=True, help="Read and check the checkpoint, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    checkpoint: Path,
    target: str,
    out: Path,
    name: str | None,
    encoder: str | None,
    input_spec: Path | None,
    verify: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write a checkpoint's backbone as a file that another tool loads, with its card beside it.

    \b
    --to torchvision   .pth or .safetensors, 265 tensors without fc
    --to timm          .safetensors or .pth, the same names
    --to detectron2    .pkl for MODEL.WEIGHTS, and a .yaml with the input that the weights expect
    --to mmseg         .pth for init_cfg of the plain ResNet, and a .py with the same

    The file is loaded in the tool before it gets its name: every tensor must be equal to its source, and C2
    to C5 of the tool's own backbone within 1e-5 of the source network's.

    \b
    Examples:
      bench convert moco_v2_800ep_pretrain.pth.tar --to detectron2 -o moco_v2.pkl
      bench convert moco_v2_800ep_pretrain.pth.tar --to mmseg -o moco_v2.pth --dry-run
      bench convert R-50.pkl --to mmseg -o msra.pth --name resnet50.msra
    """
    from bench.commands._text import printable
    from bench.core import atomic
    from bench.core.card import InputSpec
    from bench.core.card_file import card_path, card_text
    from bench.core.config import load_config
    from bench.core.log import say
    from transfer.adapters.convert import config_text, file_bytes
    from transfer.adapters.load import load_backbone

    _check_name(out, target)
    _check_places([card_path(out), out], checkpoint, force=force)
    spec = load_config(InputSpec, input_spec) if input_spec else None
    weights = load_backbone(checkpoint, name=name, encoder=encoder, input_spec=spec)
    for note in weights.card.notes:
        say(f"Note      {printable(note)}")
    if (target, out.suffix) in _WITHOUT_CARD and weights.card.input != InputSpec():
        say(
            f"Note      {printable(card_path(out).name)} must stay beside {printable(out.name)}: a plain "
            "state dict cannot hold its card, and without it these weights would be given wrong images"
        )
    content = file_bytes(weights, target, out.suffix)
    config = config_text(weights.card, target, out.name)
    # The weights come last: without their card they would be taken for what their layout says.
    files = {card_path(out): card_text(weights.card).encode()}
    if config:
        files[out.with_suffix(config[0])] = config[1].encode()
    files[out] = content
    _check_places(list(files), checkpoint, force=force)
    with _ended_by_signals():
        proofs = _prove(weights, target, content, out.suffix) if verify and not dry_run else ()
        if not dry_run:
            atomic.write_files(files)
    _print(weights, target, list(reversed(files)), proofs, dry_run=dry_run, as_json=as_json)


_WITHOUT_CARD = (("torchvision", ".pth"), ("timm", ".pth"))
"""Targets whose file, with that ending, has no place for the card."""


def _check_name(out: Path, target: str) -> None:
    """Refuse, before anything is read, an output file that the target does not take or nobody can name."""
    from bench.commands._text import printable
    from transfer.adapters.convert import check_suffix

    try:
        str(out).encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"--out {printable(str(out))}: is not UTF-8; no card or config can name it. Give another name."
        ) from None
    check_suffix(target, out.suffix)


def _check_places(files: list[Path], checkpoint: Path, *, force: bool) -> None:
    """Refuse to replace what is there, unless asked to, and the checkpoint itself in any case."""
    from bench.core import atomic

    for file in files:
        with atomic.disk_errors(file):
            if file.is_dir():
                raise UsageError(f"{file}: is a folder; expected the name of a file")
            if _is_same(file, checkpoint):
                raise UsageError(f"{file}: is the checkpoint itself; give another name")
            if file.exists() and not force:
                raise UsageError(f"{file}: exists already; --force replaces it")


def _is_same(file: Path, checkpoint: Path) -> bool:
    try:
        return file.samefile(checkpoint)
    except OSError:
        return False  # one is not there; why the checkpoint cannot be read is told by who reads it


class _SignalError(BaseException):
    """A signal has come; no Exception, since engines catch those."""


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise inside, so that no temporary file of a hundred megabytes is left.

    The proof is one long call into an engine, where nobody could ask whether a signal has been noted.

    Raises:
        Stopped: one has come.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # a second one must not cut the cleaning short
        raise _SignalError(signal.Signals(number).name)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    # One that is ignored, as SIGHUP is below nohup, stays so.
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    except _SignalError as error:
        raise Stopped(f"{error}: stopped; nothing was written") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _prove(weights: Weights, target: str, content: bytes, suffix: str) -> tuple[Proof, ...]:
    """Write the very bytes into a folder of their own, and have the tool load them there."""
    import tempfile

    from bench.core import atomic
    from bench.core.log import say
    from transfer.engines.proof import prove

    say(f"Loading the file in {target} and comparing it with its source, a few seconds.")
    with tempfile.TemporaryDirectory(prefix="bench-convert-") as folder:
        file = Path(folder) / f"weights{suffix}"
        atomic.write_bytes(file, content)
        return prove(target, file, weights)


def _print(
    weights: Weights,
    target: str,
    files: list[Path],
    proofs: tuple[Proof, ...],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    from dataclasses import asdict

    from bench.commands._text import echo_json, printable

    if as_json:
        result = {
            "target": target,
            "files": [str(file) for file in files],
            "dry_run": dry_run,
            "card": weights.card.model_dump(mode="json"),
            "proofs": [asdict(proof) for proof in proofs],
        }
        echo_json(result)
        return
    lines = []
    for proof in proofs:
        difference = f"largest difference of C2 to C5 {proof.largest_difference:.3g}"
        note = f" ({proof.note})" if proof.note else ""
        lines.append(f"{proof.target}: {proof.num_tensors} of 265 tensors equal, {difference}{note}")
    if not proofs and not dry_run:
        lines.append(f"not proven: {target} was not asked to load the file")
    card = weights.card
    lines.append(f"{card.name}: layout {card.layout}, tensors sha256 {card.tensors_sha256}")
    lines += [f"{'would write' if dry_run else 'wrote'} {file}" for file in files]
    for line in lines:
        click.echo(printable(line))
