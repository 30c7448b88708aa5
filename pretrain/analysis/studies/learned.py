"""Views that are learnt: a generator of colours plays against the encoders, with labels or without.

Source: Tian et al. 2020, What Makes for Good Views for Contrastive Learning?, section 4: a flow g makes X
into g(X), split into its first channel and the other two; the encoders raise I_NCE between them and g lowers
it. With labels, classifiers of either view must stay right, too. Then g is fixed, and new encoders are
trained on its views.
Differs: all sizes are ours, since no code of it exists and its own are unconfirmed; classifiers are networks
of their own; one update of each side a step, by Adam.
"""

from __future__ import annotations

import io
import math
from typing import Annotated, Any, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from bench.core import rng
from bench.core.errors import DataError
from pretrain.analysis.api import Cell, Setting, Study
from pretrain.analysis.config import NetworkConfig, StudyConfig, ViewsConfig
from pretrain.analysis.image_pairs import SplitTrainer, crops
from pretrain.analysis.networks import build_encoders, build_trunk
from pretrain.losses import symmetric_nce
from pretrain.views.colour_spaces import SPACES
from pretrain.views.flows import FlowKind
from pretrain.views.learned import Generator, GeneratorCard

Mode = Literal["raw", "unsupervised", "semi-supervised"]
SHEET_IMAGES, SHEET_SCALE = 8, 3


class LearnedViews(ViewsConfig):
    """`[views]` of the study.

    Attributes:
        spaces: Colour spaces that generators start from.
        modes: raw: the colour space itself; unsupervised; semi-supervised.
        flows: Kinds of generators.
        num_layers: Couplings of a generator.
        hidden: Channels of their hidden layers.
        learning_epochs: Passes over the images to learn views in.
        generator_rate: Learning rate of the generator.
        num_labelled: Images whose labels semi-supervised views are learnt with, some of those of the probe.
        label_weight: Of the cross entropy beside I_NCE.
        crop_px: Side of the crop that is split.
    """

    spaces: Annotated[tuple[str, ...], Field(min_length=1)]
    modes: Annotated[tuple[Mode, ...], Field(min_length=1)]
    flows: Annotated[tuple[FlowKind, ...], Field(min_length=1)]
    num_layers: Annotated[int, Field(ge=1, le=64)] = 6
    hidden: Annotated[int, Field(ge=1, le=1024)] = 16
    learning_epochs: Annotated[int, Field(ge=1)]
    generator_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-3
    num_labelled: Annotated[int, Field(ge=1)]
    label_weight: Annotated[float, Field(ge=0.0)] = 1.0
    crop_px: Annotated[int, Field(ge=16, le=512)]

    @field_validator("spaces")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in SPACES]
        if unknown:
            raise ValueError(f"no colour space {unknown[0]!r}. Known: {', '.join(SPACES)}")
        return names


class Classifier(nn.Module):
    """A view to class scores, [batch, classes]."""

    def __init__(self, config: NetworkConfig, channels: int, num_classes: int) -> None:
        super().__init__()
        self.trunk, dim = build_trunk(config, channels)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, view: Tensor) -> Tensor:
        """See the class."""
        scores: Tensor = self.head(self.trunk(view).mean(dim=(2, 3)))
        return scores


class LearnedTrainer(SplitTrainer):
    """First the generator against encoders (and with classifiers), then new encoders on its views.

    Attributes:
        generator: g; the identity where views are raw.
        mode: How it is learnt.

    Raises:
        DataError: as `PairTrainer`, or fewer images have labels than views are to be learnt with.
    """

    def __init__(self, cell: Cell) -> None:
        views = cell.config.views
        space, self.mode, kind = _parts(cell.setting)
        torch.manual_seed(rng.derive(cell.seed, "init", 1))
        card = GeneratorCard(
            space=space,
            kind=kind,
            num_layers=views.num_layers,
            hidden=views.hidden,
            note=f"{self.mode}, seed {cell.seed}",
        )
        self.generator = Generator.of(card)
        self.players = build_encoders(cell.config.network, (1, 2), shared=False)
        num_classes = len(cell.data.classes)
        self.classifiers = nn.ModuleList(
            Classifier(cell.config.network, channels, num_classes) for channels in (1, 2)
        )
        super().__init__(cell, self._fixed, (1, 2), views.crop_px)
        if views.num_labelled > len(self.data.probe):
            raise DataError(
                f"views.num_labelled is {views.num_labelled:,}, but the probe has "
                f"{len(self.data.probe):,} images (images.num_probe); lower it, or give more"
            )
        self.num_learning = 0 if self.mode == "raw" else views.learning_epochs * self.steps_per_epoch
        self.num_steps += self.num_learning
        self.module = nn.ModuleDict(
            {
                "encoders": self.encoders,
                "generator": self.generator.flow,
                "players": self.players,
                "classifiers": self.classifiers,
            }
        ).to(cell.device)
        training, labels = self.config.training, self.mode == "semi-supervised"
        rate, decay = training.learning_rate, training.weight_decay
        self.optimizers |= {
            "players": torch.optim.AdamW(self.players.parameters(), lr=rate, weight_decay=decay),
            "generator": torch.optim.Adam(self.generator.flow.parameters(), lr=views.generator_rate),
        }
        if labels:
            self.optimizers["classifiers"] = torch.optim.AdamW(
                self.classifiers.parameters(), lr=rate, weight_decay=decay
            )

    def step(self, number: int) -> dict[str, float]:
        """Of learning the views at first, then of the contrast."""
        if number >= self.num_learning:
            return super().step(number)
        rows, draw = self.rows(number)
        values = crops(self.data.train, rows, self.crop_px, draw).to(self.cell.device)
        self.module.train()
        first, second = _channels(self.generator(values))
        loss = self._contrast(first.detach(), second.detach())
        self._take("players", loss, number)
        # The players have moved: what g lowers is the information that they see now.
        objective = math.log(len(values)) - self._contrast(first, second)
        told = {"I_NCE of players": float(objective.detach())}
        if self.mode == "semi-supervised":
            error = self._label_loss(number)
            told["label loss"] = float(error.detach())
            objective = objective + self.config.views.label_weight * error
            self._take("generator", objective, number, "classifiers")
        else:
            self._take("generator", objective, number)
        return told

    def share_done(self, number: int) -> float:
        """Of the contrast alone."""
        return (number - self.num_learning) / (self.num_steps - self.num_learning)

    def files(self) -> dict[str, bytes]:
        """The generator, and a sheet of its views."""
        if self.mode == "raw":
            return {"views.png": self._sheet()}
        return {"generator.safetensors": self.generator.to_bytes(), "views.png": self._sheet()}

    def _fixed(self, values: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return _channels(self.generator(values.to(self.cell.device)))

    def _contrast(self, first: Tensor, second: Tensor) -> Tensor:
        queries, keys = self.players[0](first), self.players[1](second)
        return symmetric_nce(queries, keys, temperature=self.config.training.temperature)

    def _label_loss(self, number: int) -> Tensor:
        """Cross entropy of both classifiers on labelled images, with gradient to the generator."""
        probe, views = self.data.probe, self.config.views
        draw = rng.generator(self.cell.seed, "view", number, 1)
        rows = draw.integers(views.num_labelled, size=self.config.training.batch_size)
        values = crops(probe, rows, self.crop_px, draw).to(self.cell.device)
        labels = torch.from_numpy(probe.known_labels[rows]).to(self.cell.device)
        scores = (
            classify(view)
            for classify, view in zip(self.classifiers, _channels(self.generator(values)), strict=True)
        )
        return torch.stack([functional.cross_entropy(one, labels) for one in scores]).sum()

    def _take(self, name: str, loss: Tensor, number: int, *more: str) -> None:
        """An update of what these optimisers hold; what else got a gradient is left alone."""
        self.refuse_non_finite(loss, number)
        optimizers = [self.optimizers[key] for key in (name, *more)]
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()

    def _sheet(self) -> bytes:
        """Images, and below them the channels of g(X), gray, each from its least to its most."""
        pixels = self.data.test.pixels[:SHEET_IMAGES]
        values = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float().div(255.0)
        with torch.no_grad():
            mapped = self.generator(values.to(self.cell.device)).cpu().numpy()
        low, high = (extreme(mapped, axis=(0, 2, 3), keepdims=True) for extreme in (np.min, np.max))
        levels = (255.0 * (mapped - low) / np.maximum(high - low, 1e-6)).astype(np.uint8)
        rows = [np.concatenate(list(pixels), axis=1)]
        for channel in range(3):
            row = np.concatenate(list(levels[:, channel]), axis=1)
            rows.append(np.repeat(row[..., None], 3, axis=2))
        sheet = Image.fromarray(np.concatenate(rows))
        scaled = sheet.resize(
            (sheet.width * SHEET_SCALE, sheet.height * SHEET_SCALE), Image.Resampling.NEAREST
        )
        buffer = io.BytesIO()
        scaled.save(buffer, "PNG")
        return buffer.getvalue()


def _channels(mapped: Tensor) -> tuple[Tensor, Tensor]:
    return mapped[:, :1], mapped[:, 1:]


def _parts(setting: Setting) -> tuple[str, Mode, FlowKind]:
    space, mode, kind = setting.name.split(" ") if " " in setting.name else (setting.name, "raw", "")
    return space, mode, kind or "volume_preserving"  # type: ignore[return-value]


def _settings(config: StudyConfig[Any]) -> tuple[Setting, ...]:
    views, found = config.views, []
    for space in views.spaces:
        if "raw" in views.modes:
            found.append(Setting(space, "raw"))
        found += [
            Setting(f"{space} {mode} {kind}", f"{mode}, {kind}")
            for mode in views.modes
            if mode != "raw"
            for kind in views.flows
        ]
    return tuple(found)


ENTRY = Study(
    name="learned",
    version=1,
    summary="views of a generator of colours that plays against the encoders, with labels or without",
    source="Tian et al. 2020, section 4; its accuracies are not confirmed by a source that we could read",
    views=LearnedViews,
    knob_name="",
    scores={"top1": "linear probe, top-1 (%)", "miou": "linear segmentation, mIoU (%)"},
    settings=_settings,
    trainer=LearnedTrainer,
)
