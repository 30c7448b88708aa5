"""Ways to spoil a checkpoint of any layout, each with what the refusal must say.

A mutation gets a copy of the file and where in it the tensors of the encoder are that must be taken, by
torchvision's names. It knows nothing of prefixes and namings: a tensor is found by being the very object that
the builder put there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tests.helpers.layout_files.pieces import Given, Keys, Row, blank, encoder
from tests.helpers.layout_files.renames import in_haiku
from tests.transfer.adapters.conftest import reference

Spot = tuple[Keys, str]
"""A dict and the key in it."""


class Opened(NamedTuple):
    """A copy of a file that may be changed.

    Attributes:
        checkpoint: The whole file.
        container: The dict with the encoder, or below which it is.
        spots: torchvision's name to every place of that tensor in the container.
        head: A small tensor.
    """

    checkpoint: Keys
    container: Keys
    spots: Mapping[str, list[Spot]]
    head: Any

    def each(self, names: list[str]) -> list[Spot]:
        return [spot for name in names for spot in self.spots[name]]

    def tensors(self) -> list[str]:
        """The 265."""
        return [name for name in self.spots if not name.endswith("num_batches_tracked")]


def opened(row: Row, given: Given) -> Opened:
    checkpoint = _copied(row.checkpoint)
    container = checkpoint
    names = row.place.rpartition(":")[0]
    for name in names.split("/") if names else ():
        container = container[name]
    ours = encoder(given.ours)
    known = {id(value): name for name, value in ours.items()}
    known |= {id(in_haiku(value)): name for name, value in ours.items()}
    spots: dict[str, list[Spot]] = {name: [] for name in ours}
    for keys in _dicts(container):
        for key, value in keys.items():
            if id(value) in known:
                spots[known[id(value)]].append((keys, key))
    return Opened(checkpoint, container, {name: at for name, at in spots.items() if at}, given.head)


def _copied(value: Any) -> Any:
    return {key: _copied(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value


def _dicts(value: Any) -> list[Keys]:
    inner = value.values() if isinstance(value, dict) else ()
    return [value, *(found for child in inner for found in _dicts(child))] if isinstance(value, dict) else []


def _moved(spots: list[Spot], rename: Callable[[str], str]) -> None:
    for keys, key in spots:
        keys[rename(key)] = keys.pop(key)


def one_missing(file: Opened) -> None:
    for keys, key in file.each(["layer2.0.conv2.weight"]):
        del keys[key]


def one_renamed(file: Opened) -> None:
    _moved(file.each(["layer3.5.bn3.running_var"]), lambda key: f"{key}iance")


def wrong_shape(file: Opened) -> None:
    """A vector of 64 where one of 128 belongs."""
    ((keys, key), *_) = file.spots["layer1.0.bn1.weight"]
    for target, name in file.each(["layer2.0.bn2.weight"]):
        target[name] = keys[key]


def nan_and_constants(file: Opened) -> None:
    """One nan; zeros, as a hole in a half-written file reads; a mean as of a norm that was never trained."""
    for keys, key in file.each(["layer3.1.bn2.weight"]):
        values = keys[key].read()
        values[..., 3] = np.nan
        keys[key] = reference(values)
    for keys, key in file.each(["bn1.running_mean", "layer4.1.conv1.weight"]):
        keys[key] = blank(*keys[key].shape)


def integers(file: Opened) -> None:
    for keys, key in file.each(["layer1.2.bn1.bias"]):
        keys[key] = reference(np.arange(64).reshape(keys[key].shape))


def prefixes_mixed(file: Opened) -> None:
    _moved(file.each(file.tensors()[1::2]), lambda key: f"mixed.{key}")


def no_statistics(file: Opened) -> None:
    for keys, key in file.each([name for name in file.tensors() if "running_" in name]):
        del keys[key]


def last_stage_missing(file: Opened) -> None:
    for keys, key in file.each([name for name in file.tensors() if name.startswith("layer4.")]):
        del keys[key]


def one_key_more(file: Opened) -> None:
    """Right beside the first tensor, behind the same prefix."""
    ((keys, key), *_) = file.spots["conv1.weight"]
    keys[f"{key}.adapter"] = file.head


def a_second_encoder_inside(file: Opened) -> None:
    for keys, key in file.each(file.tensors()):
        keys[f"student.{key}"] = keys[key]


def one_level_more(file: Opened) -> Keys:
    return {"wrapped": file.checkpoint}


def encoder_gone(file: Opened) -> None:
    """What is left are heads, and perhaps another encoder."""
    for keys, key in file.each(list(file.spots)):
        del keys[key]


def half_width(file: Opened) -> None:
    for keys, key in file.each(file.tensors()):
        keys[key] = blank(*(length // 2 if length > 7 else length for length in keys[key].shape))


Mutation = Callable[[Opened], Keys | None]

MUTATIONS: dict[Mutation, str] = {
    one_missing: r"1 of 265 backbone tensors are missing \(first: layer2\.0\.conv2\.weight\)",
    one_renamed: r"(?s)1 of 265 .* missing \(first: layer3\.5\.bn3\.running_var\).*[12] keys are not exp",
    wrong_shape: r"1 of 265 backbone tensors have another shape \(first: layer2\.0\.bn2\.weight",
    nan_and_constants: (
        r"(?s)1 of 265 .* nan or infinite values \(first: layer3\.1\.bn2\.weight\).*"
        r"2 of 265 .* constant \(first: bn1\.running_mean, layer4\.1\.conv1\.weight\)"
    ),
    integers: r"1 of 265 backbone tensors are not of floating point \(first: layer1\.2\.bn1\.bias \(int64\)",
    prefixes_mixed: r"Name the one to take with --encoder|132 of 265 backbone tensors are missing",
    no_statistics: r"106 of 265 backbone tensors are missing \(first: bn1\.running_mean",
    last_stage_missing: r"50 of 265 backbone tensors are missing \(first: layer4\.0\.|Name the one to take",
    one_key_more: r"1 keys are not explained .*\.adapter\)",
    a_second_encoder_inside: r"Name the one to take with --encoder|\d+ keys are not explained",
    one_level_more: r"no ResNet-50 under any known names|no documented layout fits",
    encoder_gone: r"no ResNet-50 under any known names|no documented layout fits",
    half_width: r"a ResNet-50 has 64 \(half-width or wide ResNet\)",
}
"""Mutation to the pattern of its refusal; one that returns a file replaces the whole."""
