"""The BYOL checkpoints of DeepMind: a haiku experiment state as one flat dict, its names and its axes.

The flat key of an array is `side.kind/module path/leaf`: `online.params/res_net50/~/initial_conv/w`. It has
one dot, behind the side (online or target), so that the side is a prefix like any other.

Source: google-deepmind/deepmind-research byol/byol_experiment.py (_ByolExperimentState),
byol/utils/networks.py; google-deepmind/dm-haiku haiku/_src/nets/resnet.py (BlockV1), batch_norm.py,
moving_averages.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.core.tensor_ref import TensorRef

SOURCE = "google-deepmind/dm-haiku haiku/_src/nets/resnet.py"
STATE = "experiment_state"

_FIELDS = ("online_params", "target_params", "online_state", "target_state")  # and opt_state, not looked at

# A norm's parts: kind, module below the norm, leaf. `average` is what the norm uses, `hidden` the sum before
# its bias is corrected, `counter` the number of its steps.
_NORM_PARTS = {
    "weight": ("params", "", "scale"),
    "bias": ("params", "", "offset"),
    "running_mean": ("state", "/~/mean_ema", "average"),
    "running_var": ("state", "/~/var_ema", "average"),
    "num_batches_tracked": ("state", "/~/mean_ema", "counter"),
}


def unfold(checkpoint: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """A checkpoint whose experiment state, if it has one, is a flat dict; any other as it is."""
    fields = checkpoint.get(STATE)
    if not isinstance(fields, Mapping) or not set(_FIELDS) <= set(fields):
        return checkpoint
    flat: dict[str, Any] = {}
    for field in _FIELDS:
        side, kind = field.split("_")
        modules = fields[field]
        for path, leaves in modules.items() if isinstance(modules, Mapping) else ():
            if isinstance(leaves, Mapping):
                flat |= {f"{side}.{kind}/{path}/{leaf}": value for leaf, value in leaves.items()}
    return {**checkpoint, STATE: flat}


def rename(name: str) -> str:
    """The flat key of a torchvision name, without the side."""
    *at, module, part = name.split(".")
    down = at[-1:] == ["downsample"]
    if module.startswith("conv") or (down and module == "0"):
        kind, inner, leaf, what = "params", "", "w", "conv"
    else:
        kind, inner, leaf = _NORM_PARTS[part]
        what = "batchnorm"
    if at:
        block = f"block_group_{int(at[0].removeprefix('layer')) - 1}/~/block_{at[1]}"
        path = f"{block}/~/{f'shortcut_{what}' if down else f'{what}_{int(module[-1]) - 1}'}"
    else:
        path = f"initial_{what}"
    return f"{kind}/res_net50/~/{path}{inner}/{leaf}"


def arrange(reference: TensorRef) -> TensorRef:
    """A kernel of [height, width, in, out] as [out, in, height, width]; a norm's [1, 1, 1, C] as [C]."""
    if len(reference.shape) != 4:
        return reference
    if reference.shape[:3] == (1, 1, 1):
        return reference.squeezed()
    return reference.transposed((3, 2, 0, 1))
