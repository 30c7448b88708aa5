"""Two encoders learn to find, for one view, the other view of the same thing among a batch of others."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.core import rng
from bench.core.errors import DataError, DivergedError
from pretrain.analysis.api import Cell, Measured, Trainer
from pretrain.analysis.config import StudyConfig
from pretrain.analysis.mutual_information import Estimate, estimate, info_nce_bound
from pretrain.analysis.networks import ViewEncoder, build_encoders
from pretrain.losses import symmetric_nce

Rows = npt.NDArray[np.int64]

HELD_OUT = 1_000_000_000
"""The epoch whose draws make the pairs that I_NCE is measured on; no training comes so far."""


class Pairs(ABC):
    """Pairs of views of one part of the data.

    Attributes:
        channels: Of the first and of the second view.
    """

    channels: tuple[int, int]

    @abstractmethod
    def __len__(self) -> int:
        """Things that pairs are made of."""

    @abstractmethod
    def views(self, rows: Rows, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Both views of these things, [batch, channels, height, width] float32 each, about from -1 to 1."""


class PairTrainer(Trainer):
    """Symmetric InfoNCE of two encoders.

    Attributes:
        encoders: Of the first and of the second view; the same one twice where they share it.

    Raises:
        DataError: a part has fewer images than one batch of it.

    Source:
        Tian et al. 2020, Contrastive Multiview Coding, eq. 2-4: both directions, the other views of the batch
        as negatives.
        Differs: a batch instead of a memory bank, the mean of the directions instead of their sum; I_NCE is
        measured on pairs that were not trained on.
    """

    def __init__(self, cell: Cell, train: Pairs, test: Pairs, *, shared: bool) -> None:
        self.cell, self.config = cell, cell.config
        self.train, self.test = train, test
        training = self.config.training
        for part, pairs, least in (
            ("train", train, training.batch_size),
            ("held_out", test, training.num_candidates),
        ):
            if len(pairs) < least:
                raise DataError(
                    f"{len(pairs):,} images of the part {part}; one batch has {least:,}. Give more images, "
                    "or lower training.batch_size or training.num_candidates"
                )
        torch.manual_seed(rng.derive(cell.seed, "init"))
        self.encoders = build_encoders(self.config.network, train.channels, shared=shared)
        self.module: nn.Module = self.encoders.to(cell.device)
        self.optimizers = {
            "encoders": torch.optim.AdamW(
                self.encoders.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
            )
        }
        self.steps_per_epoch = len(train) // training.batch_size
        self.num_steps = training.epochs * self.steps_per_epoch

    def step(self, number: int) -> dict[str, float]:
        """See `Trainer`."""
        first, second = self._views(self.train, *self.rows(number))
        self.module.train()
        loss = self.loss(first, second)
        self.update(self.optimizers["encoders"], loss, number)
        return {"I_NCE": math.log(len(first)) - float(loss.detach())}

    def rows(self, number: int) -> tuple[Rows, np.random.Generator]:
        """Which things a step sees, and what draws their views."""
        epoch, at = divmod(number, self.steps_per_epoch)
        size, seed = self.config.training.batch_size, self.cell.seed
        order = rng.permutation(seed, epoch, len(self.train))
        return order[at * size : (at + 1) * size], rng.generator(seed, "view", epoch, at)

    def loss(self, first: Tensor, second: Tensor) -> Tensor:
        """[] in nats: the mean over both directions."""
        return symmetric_nce(*self.projections(first, second), temperature=self.config.training.temperature)

    def projections(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Of both views, [batch, dim], unit length."""
        return self.encoders[0](first), self.encoders[1](second)

    def update(self, optimizer: torch.optim.Optimizer, loss: Tensor, number: int) -> None:
        """One update of what an optimiser holds; the rate falls along half a cosine."""
        self.refuse_non_finite(loss, number)
        share = 0.5 * (1.0 + math.cos(math.pi * self.share_done(number)))
        for group in optimizer.param_groups:
            group["lr"] = self.config.training.learning_rate * share
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def share_done(self, number: int) -> float:
        """How much of the contrast is behind a step, from 0 to 1."""
        return number / self.num_steps

    def refuse_non_finite(self, loss: Tensor, number: int) -> None:
        """Raises DivergedError before any weight moves."""
        if not torch.isfinite(loss):
            where = f"{self.cell.setting.name}, seed {self.cell.seed}: step {number:,}"
            raise DivergedError(f"{where}: loss is {float(loss.detach())}")

    @torch.no_grad()
    def information(self) -> Estimate:
        """I_NCE on held-out pairs.

        No other bound: theirs are of critics that were trained for them, and this one is right for each view
        1 up to a number that I_NCE alone does not see.
        """
        self.module.eval()
        size = self.config.training.num_candidates
        scores = []
        for at in range(len(self.test) // size):
            rows = np.arange(at * size, (at + 1) * size)
            first, second = self._views(self.test, rows, rng.generator(self.cell.seed, "view", HELD_OUT, at))
            queries, keys = self.projections(first, second)
            scores.append(queries @ keys.t() / self.config.training.temperature)
        return estimate(scores, lambda batch: info_nce_bound(batch, symmetric=True))

    def measured(self, scores: dict[str, float], **details: Any) -> Measured:
        """What a cell gives, with the information between its views."""
        found = self.information()
        return Measured(
            i_nce=found.mean,
            num_candidates=found.num_candidates,
            critic=critic(self.config),
            scores=scores,
            details={**details, "i_nce_standard_error_over_batches": found.standard_error},
        )

    def _views(self, pairs: Pairs, rows: Rows, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
        first, second = pairs.views(rows, draw)
        return first.to(self.cell.device), second.to(self.cell.device)


def critic(config: StudyConfig[Any]) -> str:
    """What scores a pair, in words."""
    network, training = config.network, config.training
    arch = network.arch + (f", width {network.width}" if network.arch == "four_convolutions" else "")
    return f"cosine / {training.temperature:g} of {network.projection_dim} dimensions ({arch})"


def view_encoder(encoders: nn.ModuleList, number: int) -> ViewEncoder:
    """One of the encoders, by its type."""
    encoder = encoders[number]
    if not isinstance(encoder, ViewEncoder):
        raise TypeError(type(encoder).__name__)
    return encoder
