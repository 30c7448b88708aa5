"""What published checkpoints are made of: encoders, heads, and what the training frameworks put around them.

A builder gets the tensors of the encoder that must be taken, those of any other encoder, which have other
values, and one small tensor for everything else. It gives the checkpoint as its authors' code writes it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from bench.core.tensor_ref import Storage, TensorRef, contiguous_strides

State = Mapping[str, Any]
Keys = dict[str, Any]


class Given(NamedTuple):
    """What a checkpoint is built from: torchvision's 320 names (`fc` and counters too) to tensors.

    Attributes:
        ours: The encoder that must be taken.
        theirs: Every other encoder. Where a file holds the encoder under a second name, it is this one, too:
            in a real file the two are equal, here a mix-up shows.
        head: Any tensor, for heads and queues.
    """

    ours: State
    theirs: State
    head: Any


class Row(NamedTuple):
    """A published kind of file: the layout it has, the place that must be taken as `str(Place)`, the file."""

    layout: str
    place: str
    checkpoint: Keys


Builder = Callable[[Given], Row]


def blank(*shape: int) -> TensorRef:
    """Zeros that take no memory, for files of which only the shapes are looked at."""
    storage = Storage("float32", int(np.prod(shape)), lambda start, count: bytes(count))
    return TensorRef(storage, shape, contiguous_strides(shape))


def encoder(state: State) -> Keys:
    """Without `fc`, with counters: 318 names."""
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


def without_counters(state: State) -> Keys:
    """As before torch 0.4.1."""
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


def under(prefix: str, names: State) -> Keys:
    return {f"{prefix}{name}": value for name, value in names.items()}


def linear(at: str, head: Any, *, bias: bool = True) -> Keys:
    return {f"{at}.weight": head} | ({f"{at}.bias": head} if bias else {})


def norm(at: str, head: Any, *, affine: bool = True) -> Keys:
    parts = ("weight", "bias") if affine else ()
    return {f"{at}.{part}": head for part in (*parts, "running_mean", "running_var", "num_batches_tracked")}


def conv_norm(conv: str, norm_at: str, head: Any) -> Keys:
    """A convolution, or a linear layer, without bias, and the norm behind it."""
    return linear(conv, head, bias=False) | norm(norm_at, head)


def mlp(at: str, head: Any) -> Keys:
    """Linear, ReLU, Linear: 0 and 2."""
    return linear(f"{at}.0", head) | linear(f"{at}.2", head)


def norm_mlp(at: str, head: Any) -> Keys:
    """Linear, norm, ReLU, Linear: 0, 1, 3."""
    return conv_norm(f"{at}.0", f"{at}.1", head) | linear(f"{at}.3", head)


def weight_norm(at: str, head: Any) -> Keys:
    return {f"{at}.weight_g": head, f"{at}.weight_v": head}


def optimizer(head: Any) -> Keys:
    return {
        "state": {0: {"momentum_buffer": head}},
        "param_groups": [{"lr": 0.1, "momentum": 0.9, "params": [0]}],
    }


def run(head: Any, **more: Any) -> Keys:
    """What a script of PyTorch's ImageNet example puts beside its weights."""
    return {"epoch": 200, "arch": "resnet50", "optimizer": optimizer(head), **more}


def pickled(model: Keys, author: str) -> Keys:
    """What Detectron2's converters write."""
    return {"model": model, "__author__": author, "matching_heuristics": True}


def lightning(keys: Keys, head: Any, hyper: Keys | None = None) -> Keys:
    """Source: Lightning-AI/pytorch-lightning checkpoint_connector.py, dump_checkpoint."""
    progress = {"total": {"ready": 1, "completed": 1}, "current": {"ready": 1, "completed": 1}}
    checkpoint: Keys = {
        "epoch": 99,
        "global_step": 500400,
        "pytorch-lightning_version": "2.0.4",
        "state_dict": OrderedDict(keys),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": progress}, "validate_loop": {}},
        "callbacks": {"ModelCheckpoint{'monitor': None, 'mode': 'min'}": {"best_model_path": "x.ckpt"}},
        "optimizer_states": [optimizer(head)],
        "lr_schedulers": [{"base_lrs": [0.1], "last_epoch": 500400, "lr_lambdas": [{}]}],
        "MixedPrecision": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 0},
    }
    if hyper is not None:
        checkpoint |= {"hparams_name": "kwargs", "hyper_parameters": hyper}
    return checkpoint


def mmcv(keys: Keys, head: Any) -> Keys:
    """What mmcv's save_checkpoint writes, for OpenMMLab's 0.x and MMDetection 2: no `module.` in front.

    A published file has no optimizer.
    """
    meta = {
        "mmcv_version": "1.4.6",
        "time": "Thu Mar 17 2022",
        "epoch": 200,
        "iter": 1000800,
        "hook_msgs": {},
    }
    return {"meta": meta, "state_dict": OrderedDict(keys), "optimizer": optimizer(head)}


def mmengine(keys: Keys, head: Any) -> Keys:
    """Source: open-mmlab/mmengine mmengine/runner/runner.py, save_checkpoint."""
    meta = {"epoch": 200, "cfg": "model = dict()", "seed": 0, "mmengine_version": "0.1.0"}
    hub = {
        "log_scalars": OrderedDict(),
        "runtime_info": OrderedDict(epoch=199),
        "resumed_keys": OrderedDict(),
    }
    return {
        "meta": meta,
        "state_dict": OrderedDict(keys),
        "message_hub": hub,
        "optimizer": optimizer(head),
        "param_schedulers": [{"begin": 0, "end": 200, "last_step": 200}],
    }
