"""Learned colour spaces: invertible maps of the three channels, the same one at every pixel.

A map is a chain of couplings. Each leaves some channels as they are and changes the others by what a small
network of 1x1 convolutions makes of the first, so that it can be undone whatever that network is.

Source:
    Tian et al. 2020, What Makes for Good Views, learned views: flows that see one pixel at a time, with and
    without a change of volume.
    Differs: how many couplings, which channels each changes, the layers of the networks, the bound on scales
    and the beginning at the identity are ours; the paper's are unconfirmed.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from bench.core.errors import ConfigError
from pretrain.losses import without_autocast

FlowKind = Literal["volume_preserving", "real_nvp"]

_CHANGED = ((0,), (1, 2), (1,), (0, 2), (2,), (0, 1))
"""Channels that one coupling after another changes: all three in two, all alike in six."""

MAX_LOG_SCALE = 1.0
"""No coupling multiplies by more than e to this, or by less than its inverse: the map back stays exact."""


class Coupling(nn.Module):
    """One step of a flow: the identity at first, as the last convolution begins at zero.

    Args:
        changed: Numbers of the channels that are changed; the others decide how.
        hidden: Channels of both hidden layers.
        scales: Whether channels are multiplied too, or shifted only.

    Source:
        Dinh et al. 2015, NICE, the additive coupling layer: shift(kept) is added; Dinh et al. 2017, Real NVP,
        the affine coupling layer: changed * exp(log_scale(kept)) + shift(kept).
        Differs: log scales are a tanh times `MAX_LOG_SCALE`.
    """

    def __init__(self, changed: tuple[int, ...], hidden: int, *, scales: bool) -> None:
        super().__init__()
        self.changed, self.scales = list(changed), scales
        self.kept = [channel for channel in range(3) if channel not in changed]
        last = nn.Conv2d(hidden, len(changed) * (2 if scales else 1), 1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.layers = nn.Sequential(
            nn.Conv2d(len(self.kept), hidden, 1), nn.ReLU(), nn.Conv2d(hidden, hidden, 1), nn.ReLU(), last
        )

    def forward(self, values: Tensor, *, undo: bool = False) -> tuple[Tensor, Tensor]:
        """The step or the step back of [batch, 3, height, width]; and [batch], the step's log-determinant."""
        terms: Tensor = self.layers(values[:, self.kept])
        parts = values[:, self.changed]
        if self.scales:
            shift, raw = terms.chunk(2, dim=1)
            log_scale = MAX_LOG_SCALE * torch.tanh(raw)
            parts = (parts - shift) * torch.exp(-log_scale) if undo else parts * torch.exp(log_scale) + shift
            log_det = log_scale.flatten(1).sum(dim=1)
        else:
            parts = parts - terms if undo else parts + terms
            log_det = values.new_zeros(len(values))
        channels = list(values.unbind(dim=1))
        for channel, part in zip(self.changed, parts.unbind(dim=1), strict=True):
            channels[channel] = part
        return torch.stack(channels, dim=1), log_det


class PixelFlow(nn.Module):
    """A chain of couplings, in float32 or better; the identity at first.

    Args:
        num_layers: Couplings, 1 or more; the first alone changes one channel only.
        hidden: Channels of the hidden layers of each, 1 or more.
        scales: As in `Coupling`.

    Raises:
        ConfigError: one of the counts is below 1.
    """

    def __init__(self, num_layers: int, hidden: int, *, scales: bool) -> None:
        super().__init__()
        for name, count in (("num_layers", num_layers), ("hidden", hidden)):
            if count < 1:
                raise ConfigError(f"flow: {name}: expected 1 or more, found {count}; give at least 1")
        self.couplings = nn.ModuleList(
            Coupling(_CHANGED[layer % len(_CHANGED)], hidden, scales=scales) for layer in range(num_layers)
        )

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Images to their new channels.

        Args:
            values: [batch, 3, height, width], float32 or float64, of any scale.

        Returns:
            [batch, 3, height, width], and [batch]: log of the determinant of the map, summed over pixels.
        """
        mapped: tuple[Tensor, Tensor] = without_autocast(self._chain, values)
        return mapped

    def _chain(self, values: Tensor) -> tuple[Tensor, Tensor]:
        log_det = values.new_zeros(len(values))
        for coupling in self.couplings:
            values, added = coupling(values)
            log_det = log_det + added
        return values, log_det

    def inverse(self, out: Tensor) -> Tensor:
        """New channels back to images.

        As exact as the convolutions: those of float32 round to TF32 on a GPU, as long as torch is left to its
        default there.

        Args:
            out: [batch, 3, height, width], as from `forward`.
        """
        values: Tensor = without_autocast(self._chain_back, out)
        return values

    def _chain_back(self, out: Tensor) -> Tensor:
        for coupling in self.couplings[::-1]:
            out, _ = coupling(out, undo=True)
        return out


class VolumePreservingFlow(PixelFlow):
    """Shifts only, as in NICE: the log-determinant is 0 for any parameters.

    Args:
        num_layers: As in `PixelFlow`.
        hidden: As in `PixelFlow`.
    """

    def __init__(self, num_layers: int, hidden: int) -> None:
        super().__init__(num_layers, hidden, scales=False)


class RealNVPFlow(PixelFlow):
    """Shifts and scales, as in Real NVP: volume changes, and may do so otherwise at each colour.

    Args:
        num_layers: As in `PixelFlow`.
        hidden: As in `PixelFlow`.
    """

    def __init__(self, num_layers: int, hidden: int) -> None:
        super().__init__(num_layers, hidden, scales=True)


_KINDS: dict[FlowKind, type[VolumePreservingFlow] | type[RealNVPFlow]] = {
    "volume_preserving": VolumePreservingFlow,
    "real_nvp": RealNVPFlow,
}


def build_flow(kind: FlowKind, num_layers: int, hidden: int) -> PixelFlow:
    """A flow by its name; parameters are drawn from torch's generator, and all begin as the identity.

    Args:
        kind: Without a change of volume, or with.
        num_layers: Couplings; a multiple of six treats the channels alike.
        hidden: Channels of their hidden layers.

    Raises:
        ConfigError: as `PixelFlow`.
    """
    return _KINDS[kind](num_layers, hidden)
