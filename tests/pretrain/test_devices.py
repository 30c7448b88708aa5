"""Who computes: as the command says, as torchrun says, as Slurm says; and what a machine cannot do."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from bench.core.errors import ConfigError, EngineError
from bench.core.paths import CONFIGS
from bench.images.view_config import JigsawConfig
from pretrain.config import PretrainConfig
from pretrain.devices import Devices, check_devices, make_fabric
from pretrain.plan import read_config

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "RANK": "5",
    "LOCAL_RANK": "1",
    "GROUP_RANK": "1",
    "WORLD_SIZE": "8",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29511",
}
SLURM = {
    "SLURM_JOB_ID": "1",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "16",
    "SLURM_NTASKS_PER_NODE": "8",
    "SLURM_NNODES": "2",
    "SLURM_PROCID": "9",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_NODELIST": "n[1-2]",
}


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*TORCHRUN, *SLURM):
        monkeypatch.delenv(name, raising=False)


def config(**changes: Any) -> PretrainConfig[Any]:
    _, found = read_config(CONFIGS / "smoke" / "moco_v2.toml")
    sections = {
        key: getattr(found, key).model_copy(update=value) if isinstance(value, dict) else value
        for key, value in changes.items()
    }
    return found.model_copy(update=sections)


def test_alone_the_command_says_how_many() -> None:
    assert Devices.here(3) == Devices(3, 1, "us", 0)
    assert Devices.here(3).total == 3


def test_torchrun_says_it_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert Devices.here(1) == Devices(4, 2, "torchrun", 5)
    fabric = make_fabric(config(), Devices.here(1))
    assert (fabric.strategy.num_nodes, fabric.strategy.num_processes) == (2, 4)


def test_slurm_says_it_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert Devices.here(1) == Devices(8, 2, "Slurm", 9)
    fabric = make_fabric(config(), Devices.here(1))
    assert (fabric.strategy.num_nodes, fabric.strategy.num_processes) == (2, 8)


def test_one_task_of_slurm_is_a_command_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SLURM, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    assert Devices.here(2) == Devices(2, 1, "us", 0)
    # Else every process of ours would be that task: the first of one.
    fabric = make_fabric(config(), Devices.here(2))
    assert isinstance(fabric.strategy, DDPStrategy)
    assert isinstance(fabric.strategy.cluster_environment, LightningEnvironment)


def test_tasks_of_slurm_that_no_node_is_said_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    check_devices(config(), Devices.here(1))
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    with pytest.raises(EngineError, match="--ntasks-per-node"):
        check_devices(config(), Devices.here(1))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can do it")
def test_fp16_without_a_gpu_is_refused() -> None:
    with pytest.raises(EngineError, match="fp16"):
        check_devices(config(loop={"precision": "fp16"}), Devices(1, 1, "us", 0))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can do it")
def test_bf16_of_tiny_images_on_a_cpu_is_refused() -> None:
    """Their last stage halves a map of one pixel, of which torch gives garbage for a gradient."""
    alone = Devices(1, 1, "us", 0)
    for side, refused in ((16, True), (17, False)):
        for changes in ({"view": {"crop_px": side}}, {"jigsaw": JigsawConfig(crop_px=60, patch_px=side)}):
            check_devices(config(**changes, loop={"precision": "fp32"}), alone)
            with pytest.raises(EngineError, match="bf16") if refused else nullcontext():
                check_devices(config(**changes, loop={"precision": "bf16"}), alone)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can do it")
def test_syncbn_of_several_processes_without_gpus_is_refused() -> None:
    synced = config(backbone={"norm": "sync_batch"})
    check_devices(synced, Devices(1, 1, "us", 0))
    with pytest.raises(EngineError, match="SyncBN"):
        check_devices(synced, Devices(2, 1, "us", 0))


@pytest.mark.parametrize(("batch", "parts", "devices"), [(10, 1, 4), (8, 3, 1), (8, 2, 4), (4, 4, 1)])
def test_a_batch_that_does_not_divide_into_parts_of_two_is_refused(
    batch: int, parts: int, devices: int
) -> None:
    with pytest.raises(ConfigError, match="batch_size"):
        check_devices(
            config(batch_size=batch, loop={"accumulation_steps": parts}), Devices(devices, 1, "us", 0)
        )


def test_group_norm_takes_single_images() -> None:
    single = config(batch_size=4, backbone={"norm": "group", "zero_init_residual": False})
    check_devices(single, Devices(4, 1, "us", 0))
