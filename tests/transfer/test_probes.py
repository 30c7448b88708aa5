"""The tasks of classification from the command line: records, pictures, two processes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from bench.commands.transfer import command
from bench.core.errors import UsageError
from bench.core.store import Store
from tests.helpers.known_network import colour_set, known_file
from tests.helpers.pretraining import make_images
from tests.transfer.engines.test_classifiers import PROTOCOLS, checkpoint_of, make_job, run
from transfer.api import TASKS
from transfer.comparability import Devices, Wishes, fit

SMALL = ("--set", "input.resize_px=40", "--set", "input.crop_px=32")


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_set(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return known_file(tmp_path_factory.mktemp("known"))


def test_a_probe_from_the_command_line_is_a_record(tmp_path: Path, colours: Path, known: Path) -> None:
    places = ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    arguments = ["knn", "--checkpoint", str(known), "--data", str(colours), "--smoke", *SMALL, *places]
    dry = CliRunner().invoke(command, [*arguments, "--dry-run"], catch_exceptions=False)
    assert dry.exit_code == 0
    assert "20 nearest neighbours, temperature 0.07" in dry.stderr
    assert not (tmp_path / "runs").exists()

    done = CliRunner().invoke(command, [*arguments, "--show-predictions"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (record,) = Store(tmp_path / "results").scan().records
    assert record.engine == "torchvision"
    assert record.metrics["top1"].value == pytest.approx(90.0)
    assert record.protocol.status == "custom"
    assert record.details["num_neighbours"] == 20
    (sheet,) = (tmp_path / "runs").rglob("predictions.png")
    assert Image.open(sheet).size[0] > 600
    again = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False)
    assert json.loads(again.stdout)[0]["metrics"]["top1"]["value"] == pytest.approx(90.0)
    assert "recorded already" in again.stderr


def protocol(slug: str) -> Any:
    from bench.core.paths import CONFIGS

    return TASKS.get(PROTOCOLS[slug]).load_protocol(CONFIGS / "transfer" / f"{slug}.toml", ())


# Read from the scripts by hand: optimiser, epochs, batch, rate, that of the linear layer, momentum, decay,
# schedule, lower bound of the crop, RandAugment, start of the layer.
PINNED: dict[str, tuple[Any, ...]] = {
    "in1k-linear-100ep": ("sgd", 100, 256, 30.0, 30.0, 0.9, 0.0, ((60, 80), 0.1), 0.08, False, "normal"),
    "in1k-linear-60ep-pycontrast": (
        "sgd", 60, 256, 30.0, 30.0, 0.9, 0.0, ((30, 40, 50), 0.2), 0.2, True, "normal",
    ),
    "in1k-linear-60ep-pycontrast-plain": (
        "sgd", 60, 256, 30.0, 30.0, 0.9, 0.0, ((30, 40, 50), 0.2), 0.2, False, "normal",
    ),
    "in1k-linear-90ep-lars": ("larc", 90, 4096, 1.6, 1.6, 0.9, 0.0, "epoch", 0.08, False, "normal"),
    "linear-features": ("sgd", 100, 256, 30.0, 30.0, 0.9, 0.0, ((60, 80), 0.1), None, False, "normal"),
    "in1k-semi-1pct-swav": ("sgd", 20, 256, 0.02, 5.0, 0.9, 0.0, ((12, 16), 0.2), 0.08, False, "uniform"),
    "in1k-semi-10pct-swav": ("sgd", 20, 256, 0.01, 0.2, 0.9, 0.0, ((12, 16), 0.2), 0.08, False, "uniform"),
    "finetune-cls-50ep": ("sgd", 50, 64, 0.01, 0.01, 0.9, 0.0001, "iteration", 0.08, False, "uniform"),
}  # fmt: skip


@pytest.mark.parametrize("slug", PINNED)
def test_every_recipe_is_the_script_s(slug: str) -> None:
    from bench.core.config import read_toml
    from bench.core.paths import CONFIGS

    path = CONFIGS / "transfer" / f"{slug}.toml"
    found = TASKS.get(read_toml(path)["task"]).load_protocol(path, ())
    solver, view, test = found.solver, found.input.train_view, found.input.test  # type: ignore[attr-defined]
    schedule = solver.schedule
    falls = (schedule.epochs, schedule.gamma) if schedule.kind == "steps" else schedule.per
    assert PINNED[slug] == (
        solver.optimizer, solver.epochs, solver.images_per_batch, solver.learning_rate,
        pytest.approx(solver.learning_rate * solver.classifier_rate_ratio), solver.momentum,
        solver.weight_decay, falls, view.crop_area[0] if view else None, bool(view and view.randaugment),
        found.model.classifier_init,  # type: ignore[attr-defined]
    )  # fmt: skip
    crop = (224, 224, "bicubic") if slug.startswith("finetune") else (256, 224, "bilinear")
    assert (test.resize_px, test.crop_px, test.resample) == crop
    assert solver.nesterov is slug.startswith("finetune")
    assert view is None or (view.crop_px, view.flip_probability) == (224, 0.5)
    if view and view.randaugment:
        drawn = view.randaugment
        assert (drawn.operations, drawn.magnitude, drawn.magnitude_std) == (2, 10.0, 0.5)
        assert drawn.translate_fraction * 224 == pytest.approx(100.0)


def test_what_devices_and_wishes_make_of_a_protocol() -> None:
    eight, one, cpus = Devices(8, 8), Devices(1, 1), Devices(2, 0)
    assert fit(protocol("in1k-linear-100ep"), eight) == protocol("in1k-linear-100ep")
    assert fit(protocol("in1k-linear-100ep"), one) == protocol("in1k-linear-100ep"), "the norm is frozen"
    assert fit(protocol("in1k-semi-10pct-swav"), one).model.norm == "BN"
    assert fit(protocol("in1k-semi-10pct-swav"), cpus).model.norm == "naiveSyncBN"
    assert fit(protocol("in1k-knn-k20"), eight) == protocol("in1k-knn-k20")
    assert fit(protocol("in1k-knn-k20"), eight, Wishes("bf16")).features.precision == "bf16"
    larger = fit(protocol("in1k-linear-100ep"), one, Wishes(images_per_batch=1024)).solver
    assert (larger.images_per_batch, larger.learning_rate, larger.epochs) == (1024, 120.0, 100)
    with pytest.raises(UsageError, match="no batches"):
        fit(protocol("in1k-knn-k20"), one, Wishes(images_per_batch=64))


@pytest.mark.slow
@pytest.mark.parametrize(
    "slug", ["linear-features", "in1k-linear-100ep", "in1k-semi-10pct-swav", "in1k-knn-k20"]
)
def test_two_processes_give_what_one_gives(tmp_path: Path, checkpoint: Path, slug: str) -> None:
    """On pictures: of images of one colour, the variance of naiveSyncBN, a difference, is rounding."""
    colours = make_images(tmp_path)
    # One update: by a second one, the rounding of 53 norms has grown to another network.
    one_update = ("solver.epochs=1", "solver.images_per_batch=30", "solver.learning_rate=0.001")
    more = ("model.norm='SyncBN'", *one_update, "solver.schedule.epochs=[]") if "semi" in slug else ()
    one = make_job(tmp_path / "one", colours, slug, checkpoint, *more)
    alone = run(one)
    two = make_job(tmp_path / "two", colours, slug, checkpoint, *more)
    if more:
        norm = two.protocol.model.model_copy(update={"norm": "naiveSyncBN"})  # type: ignore[attr-defined]
        two = replace(two, protocol=two.protocol.model_copy(update={"model": norm}))
    together = run(replace(two, num_devices=2))
    assert together.details["num_devices"] == 2
    assert together.metrics["top1"] == pytest.approx(alone.metrics["top1"], abs=2 * 100 / 20 + 0.01)
    if slug != "in1k-knn-k20":
        ours, theirs = checkpoint_of(two), checkpoint_of(one)
        assert ours.keys() == theirs.keys()
        name = "model.classifier.weight" if more else "model.weight"
        assert ours[name].numpy() == pytest.approx(theirs[name].numpy(), abs=1e-3)
