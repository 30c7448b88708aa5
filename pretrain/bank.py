"""The memory bank: one entry for each image, which is both what its view must find and others' negative."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.core import rng
from pretrain.distributed import Place

NegativesDraw = Literal["each", "shared"]


class MemoryBank(nn.Module):
    """A slow mean of the projections of every image.

    Attributes:
        entries: [branches, images, dim], each of length 1; random directions at first.

    Source:
        Wu et al. 2018, Unsupervised Feature Learning via Non-Parametric Instance Discrimination, section 3;
        HobbitLong/PyContrast `memory/mem_bank.py`.
        Differs: entries are replaced after the update of the weights and not before it, which changes no
        number: they are the projections of the step, and its loss is taken against the bank as it was.
    """

    entries: Tensor

    def __init__(self, branches: int, num_images: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("entries", functional.normalize(torch.randn(branches, num_images, dim), dim=2))

    @torch.no_grad()
    def update(self, index: Tensor, projections: Tensor, bank_momentum: float) -> None:
        """Entry = m * entry + (1 - m) * projection, brought to length 1.

        Args:
            index: [batch] int64, the images; none twice.
            projections: [batch, branches, dim], each of length 1.
            bank_momentum: m, 0 to 1; .5 in PyContrast.
        """
        for entries, new in zip(
            self.entries, projections.detach().to(self.entries.dtype).unbind(1), strict=True
        ):
            mixed = bank_momentum * entries[index] + (1.0 - bank_momentum) * new
            entries.index_copy_(0, index, functional.normalize(mixed, dim=1))


def draw_negatives(
    index: Tensor, num_images: int, num_negatives: int, draw: NegativesDraw, place: Place
) -> Tensor:
    """Which entries are the negatives of each image, with replacement; its own may be among them.

    Args:
        index: [batch] int64, the images.
        num_images: Entries to draw from.
        num_negatives: For each image.
        draw: "each" draws for every image, "shared" once for all images of a step.
        place: What is drawn is a function of its seed and step, and of the image.

    Returns:
        [batch, num_negatives] int64, or [num_negatives] of a shared draw.

    Source:
        HobbitLong/PyContrast `memory/mem_bank.py` and `memory/alias_multinomial.py`.
        Differs: all weights of its alias method are equal, so that it draws evenly, as is done here without
        the tables; it draws one more number for each image and puts the image in its place. The draw of an
        image does not depend on the process that it is in. A shared draw is no part of any publication.
    """
    generator = torch.Generator(device=index.device)

    def drawn(*key: int) -> Tensor:
        generator.manual_seed(rng.derive(place.seed, "negatives", place.step, *key))
        return torch.randint(num_images, (num_negatives,), generator=generator, device=index.device)

    if draw == "shared":
        return drawn()
    return torch.stack([drawn(image) for image in index.tolist()])


def bank_nce(
    query: Tensor, entries: Tensor, index: Tensor, negatives: Tensor, *, temperature: float
) -> Tensor:
    """Cross entropy of picking each query's own entry among its negatives.

    Args:
        query: [batch, dim], unit length, with gradient.
        entries: [images, dim], unit length, no gradient.
        index: [batch] int64, the entry that belongs to each query.
        negatives: [batch, negatives] or, shared, [negatives] int64: entries; repeated ones count as often.
        temperature: Divides the cosine similarity; no unit, above 0.

    Returns:
        [] mean over the batch, in nats.

    Source:
        HobbitLong/PyContrast `memory/mem_bank.py`, which puts the entries of every query side by side,
        [batch, 1 + negatives, dim], and multiplies.
        Differs: none in value. Each query meets every entry once, [batch, images], and of these products the
        drawn ones are picked: a product of two matrices is faster than moving 65,537 rows for each query,
        and holds fewer numbers as long as there are fewer images than negatives times `dim`. Similarities
        are float32 under mixed precision, too.
    """
    with torch.autocast(query.device.type, enabled=False):
        positive = (query * entries[index]).sum(dim=1) / temperature
        if negatives.ndim == 1:
            others = query @ entries[negatives].t() / temperature
        else:
            others = (entries @ query.t()).t().gather(1, negatives) / temperature
        total = torch.logaddexp(positive, others.logsumexp(dim=1))
        return (total - positive).mean()
