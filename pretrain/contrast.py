"""Contrastive learning as a combination of parts: modality, memory, jigsaw branch, head, temperature.

InstDis, PIRL, CMC, MoCo and InfoMin are this, with other parts and other views.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from lightly.loss import NTXentLoss
from torch import Tensor, nn

from pretrain.api import Method, MethodModel, Preset, Sizes
from pretrain.bank import MemoryBank, bank_nce, draw_negatives
from pretrain.config import PretrainConfig
from pretrain.contrast_parts import ContrastParts, contrast_problems, generator_of, given
from pretrain.data.batch import Batch
from pretrain.distributed import Place, shuffled_keys
from pretrain.encoder import Encoder
from pretrain.losses import info_nce, mutual_information, without_autocast
from pretrain.momentum import momentum_copy, update_momentum
from pretrain.queue import KeyQueue

Compare = Callable[[Tensor, int], Tensor]
"""Projections [batch, dim] of one branch, and the branch that they must find, to their loss, []."""


class Contrast(MethodModel):
    """Each projection of a view must find what the memory holds for its image among what it holds for others.

    With two branches, that of lightness must find that of colour and the other way round; the two losses are
    added. With a jigsaw branch, the patches of an image must find the same; the losses of views and patches
    are weighted by 1 - beta and beta.

    Attributes:
        query: The encoder that is trained and transferred.

    Source:
        HobbitLong/PyContrast `learning/contrast_trainer.py`.
        Differs: what is left over of a batch at the end of an epoch is dropped (at batch 256 of ImageNet, one
        step of 5,005). With two branches and patches, its trainer hands the two projections of the patches
        over in the wrong order, so that each is compared with its own kind; here, as those of the views are,
        with the other kind.
    """

    def __init__(self, config: PretrainConfig[ContrastParts]) -> None:
        super().__init__()
        self.parts = config.parts
        self.modality = config.parts.modality
        generator = generator_of(config.parts)
        # A part of the model: it is saved with it, and computed where and as exactly as it is.
        self.flow = generator.flow if generator else None
        self._generator = generator
        self.query = Encoder(config)
        has_patches = config.jigsaw is not None
        self.columns = ("loss", "i_nce", *(("loss_views", "loss_jigsaw") if has_patches else ()))

    @property
    def backbone(self) -> nn.Module:
        """The query's, as PyContrast and MoCo evaluate it."""
        return self.query.backbone

    def channels(self, images: Tensor) -> Tensor:
        """Those of the generator, where views are learned."""
        if self._generator is None:
            return super().channels(images)
        with torch.no_grad():
            return self._generator(images.to(self.dtype).div(255.0))

    @abstractmethod
    def remember(self, batch: Batch, place: Place) -> Compare:
        """What the memory holds for a batch, as a loss of projections."""

    def forward(self, batch: Batch, place: Place) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the view, or its mean with that of the patches, weighted by beta."""
        compare = self.remember(batch, place)
        query = self.query(self.normalise(batch.views[0]))
        self.keep(batch, query)
        loss = self._directions(query, compare)
        candidates = self.parts.num_candidates or 2 * len(query) * self.world.size - 1
        i_nce = mutual_information(loss / self.query.branches, candidates)
        scalars = {"i_nce": i_nce}
        beta = self.parts.jigsaw_weight
        if beta is not None and batch.patches is not None:
            patches = self.query.project_patches(self.normalise(batch.patches.flatten(0, 1)))
            jigsaw_loss = self._directions(patches, compare)
            scalars |= {"loss_views": loss.detach(), "loss_jigsaw": jigsaw_loss.detach()}
            loss = (1.0 - beta) * loss + beta * jigsaw_loss
        return loss, {"loss": loss.detach(), **scalars}

    def keep(self, batch: Batch, query: Tensor) -> None:
        """Note what `after_step` needs of a batch and its projections."""

    def _directions(self, query: Tensor, compare: Compare) -> Tensor:
        last = self.query.branches - 1
        return torch.stack([compare(own, last - at) for at, own in enumerate(query.unbind(dim=1))]).sum()


class QueueContrast(Contrast):
    """A query encoder learns to find, among a queue of keys, the key of another view of the same image.

    Attributes:
        key: The momentum copy of the query encoder.
        queues: The negatives, for each branch.

    Source:
        He et al. 2020, Momentum Contrast; Tian et al. 2020, InfoMin; HobbitLong/PyContrast
        `memory/mem_moco.py`.
        Differs: keys are put in the queue after the update and not before it, which changes no number: the
        loss is taken against the queue as it was.
    """

    def __init__(self, config: PretrainConfig[ContrastParts]) -> None:
        super().__init__(config)
        self.key = momentum_copy(self.query)
        size = given(config.parts.queue_size)
        self.queues = nn.ModuleList(
            KeyQueue(size, config.parts.projection_dim) for _ in range(self.query.branches)
        )
        self._new_keys: list[Tensor] = []

    def remember(self, batch: Batch, place: Place) -> Compare:
        """The keys of the second view, and the queue."""
        keys, all_keys = shuffled_keys(
            lambda images: self.key(self.normalise(images)),
            batch.views[1],
            self.world,
            given(self.parts.shuffle_bn),
            place,
        )
        self._new_keys.append(all_keys)

        def compare(query: Tensor, branch: int) -> Tensor:
            negatives: Any = self.queues[branch]
            return info_nce(query, keys[:, branch], negatives.keys, temperature=self.parts.temperature)

        return compare

    def after_step(self) -> None:
        """Momentum update with the new weights; the keys of this batch go to the queue."""
        update_momentum(self.key, self.query, given(self.parts.ema_momentum))
        keys = torch.cat(self._new_keys)
        for branch, queue in enumerate(self.queues):
            queue.enqueue(keys[:, branch])  # type: ignore[operator]
        self._new_keys.clear()


class BankContrast(Contrast):
    """A projection must find the entry of its image in a memory bank among entries drawn at random.

    Attributes:
        bank: An entry for each training image, the same in every process.

    Source:
        Wu et al. 2018, Instance Discrimination; see `pretrain/bank.py`.
        Differs: see there.
    """

    def __init__(self, config: PretrainConfig[ContrastParts], sizes: Sizes) -> None:
        super().__init__(config)
        self.bank = MemoryBank(self.query.branches, sizes.num_images, config.parts.projection_dim)
        self._new: list[tuple[Tensor, Tensor]] = []

    def remember(self, batch: Batch, place: Place) -> Compare:
        """The entries of the images and of what is drawn for them."""
        parts, entries = self.parts, self.bank.entries
        negatives = draw_negatives(
            batch.index, entries.shape[1], given(parts.num_negatives), given(parts.negatives_draw), place
        )

        def compare(query: Tensor, branch: int) -> Tensor:
            return bank_nce(query, entries[branch], batch.index, negatives, temperature=parts.temperature)

        return compare

    def keep(self, batch: Batch, query: Tensor) -> None:
        """The projections become entries after the step."""
        self._new.append((self.world.gather(batch.index), self.world.gather(query)))

    def after_step(self) -> None:
        """The entries of this batch are mixed with its projections."""
        for index, projections in self._new:
            self.bank.update(index, projections, given(self.parts.bank_momentum))
        self._new.clear()


class BatchContrast(Contrast):
    """A projection must find that of another view of its image among all of the batch, of all processes.

    The loss is lightly's NT-Xent: both views look for each other, and both get gradients.

    Source:
        Chen et al. 2020, SimCLR, eq. 1, between the two projections that `Contrast` compares.
    """

    def __init__(self, config: PretrainConfig[ContrastParts]) -> None:
        super().__init__(config)
        self.criterion = NTXentLoss(temperature=config.parts.temperature, gather_distributed=True)

    def remember(self, batch: Batch, place: Place) -> Compare:
        """The projections of the second view."""
        others = self.query(self.normalise(batch.views[1]))

        def compare(query: Tensor, branch: int) -> Tensor:
            loss: Tensor = without_autocast(self.criterion, query, others[:, branch])
            return loss

        return compare


def build_contrast(config: PretrainConfig[Any], sizes: Sizes) -> MethodModel:
    """The method of a config whose parts are `ContrastParts`."""
    memory = config.parts.memory
    if memory == "bank":
        return BankContrast(config, sizes)
    return QueueContrast(config) if memory == "queue" else BatchContrast(config)


def contrast_method(
    name: str,
    summary: str,
    preset: Preset,
    *,
    source: str,
    published_as: tuple[str, ...],
    default_config: str,
) -> Method:
    """The entry of a method that is one combination of `ContrastParts`.

    Its name stands for modality, memory and jigsaw branch of `preset`: a config with others is refused, since
    its numbers would stand under a wrong name. Head, temperature and views may be changed.
    """

    def problems(config: PretrainConfig[Any]) -> list[str]:
        parts, slug = config.parts, name.replace("-", "_")
        asked = {"modality": parts.modality, "memory": parts.memory, "jigsaw": config.jigsaw is not None}
        changed = [key for key, value in asked.items() if value != getattr(preset, key)]
        wrong = [
            f'parts: {key} is not that of {slug}; method = "contrast" takes any combination'
            for key in changed
        ]
        return wrong + contrast_problems(config)

    takes = set() if preset.memory == "bank" else {"second_view"}
    if preset.jigsaw:
        takes.add("jigsaw")
    return Method(
        name=name,
        version=1,
        summary=summary,
        with_labels=False,
        parts=ContrastParts,
        build=build_contrast,
        problems=problems,
        default_config=default_config,
        preset=preset,
        source=source,
        published_as=published_as,
        takes=frozenset(takes),
    )
