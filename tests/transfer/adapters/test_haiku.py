"""DeepMind's experiment state: made flat, its names, its axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from bench.core.pickle_values import Inert
from bench.core.tensor_ref import TensorRef
from tests.helpers.layout_files.image_methods import byol_fields
from tests.helpers.layout_files.pieces import Given, blank
from tests.helpers.layout_files.renames import in_haiku, to_haiku
from tests.transfer.adapters.conftest import reference
from transfer.adapters.haiku import arrange, rename, unfold
from transfer.adapters.keymap import COUNTERS, SHAPES

State = Mapping[str, TensorRef]


@pytest.fixture
def fields(references: State) -> dict[str, Any]:
    return byol_fields(Given(references, references, references["fc.bias"]))


def test_every_array_gets_a_flat_name(references: State, fields: dict[str, Any]) -> None:
    flat = unfold({"experiment_state": fields, "step": 3})
    assert flat["step"] == 3
    state = flat["experiment_state"]
    for name in SHAPES:
        for side in ("online", "target"):
            assert state[f"{side}.{rename(name)}"] is in_haiku(references[name]), name
    nested = (leaves for kind in list(fields.values())[:4] for leaves in kind.values())
    assert len(state) == sum(map(len, nested))
    assert all(key.startswith(("online.", "target.")) and key.count(".") == 1 for key in state)


@pytest.mark.parametrize(
    "state",
    [None, 3, [], [{}] * 5, {}, {"online_params": {}}, {"a": {"b": {"c": 1}}}, Inert("x.State", ())],
    ids=("none", "number", "list", "tuple_of_five", "empty", "one_field", "others", "object"),
)
def test_anything_else_stays_as_it_is(state: Any) -> None:
    checkpoint = {"experiment_state": state, "step": 3}
    assert unfold(checkpoint) is checkpoint
    assert unfold({"state_dict": state}) == {"state_dict": state}


def test_the_names_are_those_of_a_walk_through_the_network() -> None:
    names = (*SHAPES, *COUNTERS)
    numbers = {name: reference(np.array(count)) for count, name in enumerate(names)}
    params, state = to_haiku(numbers)
    flat = {
        f"params/{path}/{leaf}": value for path, leaves in params.items() for leaf, value in leaves.items()
    }
    flat |= {
        f"state/{path}/{leaf}": value for path, leaves in state.items() for leaf, value in leaves.items()
    }
    assert {rename(name) for name in names} <= set(flat)
    assert all(flat[rename(name)] is numbers[name] for name in names)


def test_names_by_hand() -> None:
    known = {
        "conv1.weight": "params/res_net50/~/initial_conv/w",
        "bn1.bias": "params/res_net50/~/initial_batchnorm/offset",
        "layer1.0.downsample.1.running_mean": (
            "state/res_net50/~/block_group_0/~/block_0/~/shortcut_batchnorm/~/mean_ema/average"
        ),
        "layer4.2.conv3.weight": "params/res_net50/~/block_group_3/~/block_2/~/conv_2/w",
    }
    assert {name: rename(name) for name in known} == known


@pytest.mark.parametrize("shape", [(64, 3, 7, 7), (256, 64, 1, 1), (512, 512, 3, 3), (64,), (2048,)])
def test_arrays_arrive_in_torchs_axes(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    arranged = arrange(in_haiku(reference(array)))
    assert arranged.shape == shape
    assert np.array_equal(arranged.read(), array)


@pytest.mark.parametrize("shape", [(), (10,), (3, 4), (1, 1, 1, 1, 5)])
def test_other_shapes_are_left_for_the_audit(shape: tuple[int, ...]) -> None:
    assert arrange(blank(*shape)).shape == shape
