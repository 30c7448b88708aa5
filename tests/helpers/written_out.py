"""The loss of every method, written out over copies that share a batch.

Networks and heads are the method's own; nothing else is: no loss of a library, no gathering, no momentum
copy, no queue or bank of the product. With one copy this is the method in one process; with two, each having
half of the batch, it is what two processes should come to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.core import rng
from pretrain.config import PretrainConfig
from pretrain.data.batch import Batch


@dataclass
class Run:
    """Copies of a method and the run they are in.

    Attributes:
        order: Images of all copies in the order in which keys are computed.
        new: What the memory gets after the update, of each part.
    """

    copies: list[Any]
    config: PretrainConfig[Any]
    seed: int
    step: int
    steps_per_epoch: int
    order: Tensor
    new: list[Any]

    @property
    def parts(self) -> Any:
        return self.config.parts

    def views(self, batches: list[Batch], number: int) -> list[Tensor]:
        """A view of every copy's images, as its networks are fed."""
        pairs = zip(self.copies, batches, strict=True)
        return [copied.normalise(batch.views[number]) for copied, batch in pairs]

    def each(self, network: Callable[[Any], Any], inputs: list[Tensor]) -> list[Any]:
        """Of every copy a network's output."""
        return [network(copied)(values) for copied, values in zip(self.copies, inputs, strict=True)]


def unit(rows: Tensor) -> Tensor:
    return rows / rows.pow(2).sum(dim=-1, keepdim=True).sqrt()


def picked(query: Tensor, positive: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Mean of -log softmax at the positive; negatives are [n, dim], or of each query, [batch, n, dim]."""
    losses = []
    for row, own in enumerate(query):
        others = negatives if negatives.ndim == 2 else negatives[row]
        logits = torch.cat([positive[row][None], others]) @ own / temperature
        losses.append(torch.log(torch.exp(logits).sum()) - logits[0])
    return torch.stack(losses).mean()


def nt_xent(first: list[Tensor], second: list[Tensor], temperature: float) -> Tensor:
    views = unit(torch.cat([*first, *second]))
    count, losses = len(views), []
    for row in range(count):
        others = [other for other in range(count) if other != row]
        logits = views[others] @ views[row] / temperature
        partner = others.index((row + count // 2) % count)
        losses.append(torch.log(torch.exp(logits).sum()) - logits[partner])
    return torch.stack(losses).mean()


def cosine(first: Tensor, second: Tensor) -> Tensor:
    return (unit(first) * unit(second)).sum(dim=1).mean()


def supervised(run: Run, batches: list[Batch]) -> Tensor:
    scores = run.each(lambda m: lambda x: m.classifier(m.network(x)), run.views(batches, 0))
    labels = torch.cat([batch.labels for batch in batches if batch.labels is not None])
    logs, smoothing = torch.cat(scores).log_softmax(dim=1), run.parts.label_smoothing
    own = torch.stack([row[label] for row, label in zip(logs, labels, strict=True)])
    return -((1 - smoothing) * own + smoothing * logs.mean(dim=1)).mean()


def simclr(run: Run, batches: list[Batch]) -> Tensor:
    both = [torch.cat(pair) for pair in zip(run.views(batches, 0), run.views(batches, 1), strict=True)]
    outputs = [found.chunk(2) for found in run.each(lambda m: lambda x: m.head(m.network(x)), both)]
    return nt_xent([one for one, _ in outputs], [two for _, two in outputs], run.parts.temperature)


def contrast(run: Run, batches: list[Batch]) -> Tensor:
    """The methods of `ContrastParts`."""
    compare = {"queue": _queue, "bank": _bank, "batch": _batch}[run.parts.memory](run, batches)
    views = run.each(lambda m: m.query, run.views(batches, 0))
    if run.parts.memory == "bank":
        index = torch.cat([batch.index for batch in batches])
        run.new.append((index, torch.cat(views).detach()))
    loss = _directions(views, compare)
    beta = run.parts.jigsaw_weight
    if beta is None:
        return loss
    patches = [
        copied.query.project_patches(copied.normalise(batch.patches.flatten(0, 1)))
        for copied, batch in zip(run.copies, batches, strict=True)
        if batch.patches is not None
    ]
    return (1 - beta) * loss + beta * _directions(patches, compare)


Compare = Callable[[list[Tensor], int], Tensor]


def _directions(projections: list[Tensor], compare: Compare) -> Tensor:
    """Lightness finds colour and colour lightness; RGB finds itself."""
    branches = projections[0].shape[1]
    total = torch.zeros(())
    for branch in range(branches):
        total = total + compare([own[:, branch] for own in projections], branches - 1 - branch)
    return total


def _queue(run: Run, batches: list[Batch]) -> Compare:
    keys, shuffled = _keys(run, batches, lambda m: m.key)
    run.new.append(shuffled)

    def compare(queries: list[Tensor], branch: int) -> Tensor:
        queue = run.copies[0].queues[branch].keys
        return picked(torch.cat(queries), keys[:, branch], queue, run.parts.temperature)

    return compare


def _keys(run: Run, batches: list[Batch], network: Callable[[Any], Any]) -> tuple[Tensor, Tensor]:
    """Keys in the order of the images, and in that of computing; each copy's norms see its share of them."""
    pool = torch.cat([batch.views[1] for batch in batches])[run.order].chunk(len(run.copies))
    with torch.no_grad():
        shuffled = torch.cat(
            run.each(network, [m.normalise(x) for m, x in zip(run.copies, pool, strict=True)])
        )
    return shuffled[torch.argsort(run.order)], shuffled


def _bank(run: Run, batches: list[Batch]) -> Compare:
    index = torch.cat([batch.index for batch in batches])
    entries = run.copies[0].bank.entries.clone()
    drawn = []
    for image in index.tolist():
        place = () if run.parts.negatives_draw == "shared" else (image,)
        draw = torch.Generator().manual_seed(rng.derive(run.seed, "negatives", run.step, *place))
        drawn.append(torch.randint(entries.shape[1], (run.parts.num_negatives,), generator=draw))

    def compare(queries: list[Tensor], branch: int) -> Tensor:
        negatives = torch.stack([entries[branch][rows] for rows in drawn])
        return picked(torch.cat(queries), entries[branch][index], negatives, run.parts.temperature)

    return compare


def _batch(run: Run, batches: list[Batch]) -> Compare:
    others = run.each(lambda m: m.query, run.views(batches, 1))
    return lambda queries, branch: nt_xent(queries, [own[:, branch] for own in others], run.parts.temperature)


def byol(run: Run, batches: list[Batch]) -> Tensor:
    views = [run.views(batches, number) for number in (0, 1)]
    online = [torch.cat(run.each(lambda m: lambda x: m.predictor(m.online(x)), view)) for view in views]
    with torch.no_grad():
        target = [torch.cat(run.each(lambda m: m.target, view)) for view in views]
    return 4 - 2 * cosine(online[0], target[1]) - 2 * cosine(online[1], target[0])


def simsiam(run: Run, batches: list[Batch]) -> Tensor:
    views = [run.views(batches, number) for number in (0, 1)]
    projected = [run.each(lambda m: lambda x: m.projector(m.network(x)), view) for view in views]
    first, second = (torch.cat(run.each(lambda m: m.predictor, own)) for own in projected)
    fixed = [torch.cat(own).detach() for own in projected]
    return -0.5 * cosine(first, fixed[1]) - 0.5 * cosine(second, fixed[0])


def _projected(run: Run, batches: list[Batch]) -> list[Tensor]:
    views = [run.views(batches, number) for number in (0, 1)]
    return [torch.cat(run.each(lambda m: lambda x: m.head(m.network(x)), view)) for view in views]


def barlow_twins(run: Run, batches: list[Batch]) -> Tensor:
    def even(rows: Tensor) -> Tensor:
        centred = rows - rows.mean(dim=0)
        return centred / (centred.pow(2).mean(dim=0) + 1e-5).sqrt()

    first, second = (even(rows) for rows in _projected(run, batches))
    correlation = first.T @ second / len(first)
    squares = (correlation - torch.eye(len(correlation))).pow(2)
    on = squares.diagonal().sum()
    return on + run.parts.redundancy_weight * (squares.sum() - on)


def vicreg(run: Run, batches: list[Batch]) -> Tensor:
    first, second = _projected(run, batches)
    loss = run.parts.invariance_weight * (first - second).pow(2).mean()
    for rows in (first, second):
        centred, count = rows - rows.mean(dim=0), len(rows)
        deviation = (centred.pow(2).sum(dim=0) / (count - 1) + 1e-4).sqrt()
        loss = loss + run.parts.variance_weight * torch.relu(1 - deviation).mean() / 2
        covariance = centred.T @ centred / (count - 1)
        off = covariance - torch.diag(covariance.diagonal())
        loss = loss + run.parts.covariance_weight * off.pow(2).sum() / rows.shape[1]
    return loss


def moco_v3(run: Run, batches: list[Batch]) -> Tensor:
    views = [run.views(batches, number) for number in (0, 1)]
    query = [unit(torch.cat(run.each(lambda m: lambda x: m.predictor(m.online(x)), view))) for view in views]
    with torch.no_grad():
        keys = [unit(torch.cat(run.each(lambda m: m.target, view))) for view in views]
    temperature, losses = run.parts.temperature, []
    for own, others in ((query[0], keys[1]), (query[1], keys[0])):
        rows = [
            picked(own[i : i + 1], others[i : i + 1], others[torch.arange(len(others)) != i], temperature)
            for i in range(len(own))
        ]
        losses.append(torch.stack(rows).mean())
    return 2 * temperature * (losses[0] + losses[1])


def _crops(
    run: Run, batches: list[Batch], count: int, network: Callable[[Any], tuple[Any, Any]]
) -> list[list[Tensor]]:
    """Of each view each copy's output; those of one size together through its backbone, all through its
    head."""
    views = [run.views(batches, number) for number in range(count)]
    found = []
    for place, copied in enumerate(run.copies):
        backbone, head = network(copied)
        whole, local = [view[place] for view in views[:2]], [view[place] for view in views[2:]]
        features = [backbone(torch.cat(same)) for same in (whole, local) if same]
        found.append(head(torch.cat(features)).chunk(count))
    return [[own[number] for own in found] for number in range(count)]


def swav(run: Run, batches: list[Batch]) -> Tensor:
    parts, count = run.parts, len(batches[0].views)
    views = [unit(torch.cat(own)) for own in _crops(run, batches, count, lambda m: (m.network, m.head))]
    prototypes = run.copies[0].prototypes.heads[0].weight
    # Its gradient is shared out over the copies as those of the networks are.
    each = [copied.prototypes.heads[0].weight for copied in run.copies]
    share = len(views[0]) // len(each)
    scores = [
        torch.cat([rows @ weight.T for rows, weight in zip(view.split(share), each, strict=True)])
        for view in views
    ]
    run.new.append([view.detach() for view in views[:2]])
    loss = torch.zeros(())
    for whole in (0, 1):
        given = scores[whole].detach()
        start = parts.queue_start_epoch * run.steps_per_epoch
        if (run.step - start) * run.config.batch_size >= parts.queue_size:
            given = torch.cat([given, run.copies[0].queues[whole].keys @ prototypes.detach().T])
        wanted = _sinkhorn(given, parts)[: len(scores[whole])]
        for other, own in enumerate(scores):
            if other != whole:
                logs = (own / parts.temperature).log_softmax(dim=1)
                loss = loss - (wanted * logs).sum(dim=1).mean() / (count - 1) / 2
    return loss


def _sinkhorn(scores: Tensor, parts: Any) -> Tensor:
    even = torch.exp(scores / parts.sinkhorn_epsilon)
    even = even / even.sum()
    for _ in range(parts.sinkhorn_iterations):
        even = even / even.sum(dim=0, keepdim=True) / even.shape[1]
        even = even / even.sum(dim=1, keepdim=True) / even.shape[0]
    return even * even.shape[0]


def dino(run: Run, batches: list[Batch]) -> Tensor:
    parts, count = run.parts, len(batches[0].views)
    with torch.no_grad():
        whole = [
            torch.cat(own) for own in _crops(run, batches, 2, lambda m: (m.teacher.backbone, m.teacher.head))
        ]
    every = [
        torch.cat(own) for own in _crops(run, batches, count, lambda m: (m.student.backbone, m.student.head))
    ]
    centre = run.copies[0].criterion.center.flatten().clone()
    losses = []
    for number, output in enumerate(whole):
        wanted = ((output - centre) / parts.teacher_temperature).softmax(dim=1)
        for other, own in enumerate(every):
            if other != number:
                losses.append(-(wanted * (own / parts.temperature).log_softmax(dim=1)).sum(dim=1).mean())
    mean = torch.cat(whole).mean(dim=0)
    for copied in run.copies:
        mixed = parts.center_momentum * centre + (1 - parts.center_momentum) * mean
        copied.criterion.center.copy_(mixed.view(1, 1, -1))
    return torch.stack(losses).mean()


def densecl(run: Run, batches: list[Batch]) -> Tensor:
    def outputs(encoder: Any) -> Callable[[Tensor], Tensor]:
        def found(images: Tensor) -> Tensor:
            features = images
            for name, stage in encoder.backbone.named_children():
                features = features if name in ("avgpool", "flatten", "fc") else stage(features)
            places = encoder.dense_head(features)
            view = unit(encoder.head.layers(features.flatten(2).mean(dim=2)))
            mean = unit(places.flatten(2).mean(dim=2))
            by_place = unit(places.flatten(2).transpose(1, 2)).flatten(1)
            return torch.cat(
                [view, mean, by_place, unit(features.flatten(2).transpose(1, 2)).flatten(1)], dim=1
            )

        return found

    length, temperature = run.parts.projection_dim, run.parts.temperature
    query = torch.cat(run.each(lambda m: outputs(m.query), run.views(batches, 0)))
    keys, shuffled = _keys(run, batches, lambda m: outputs(m.key))
    run.new.append([shuffled[:, :length], shuffled[:, length : 2 * length]])
    views = picked(query[:, :length], keys[:, :length], run.copies[0].queue.keys, temperature)
    channels = run.copies[0].query.dense_head[0].in_channels
    count = (query.shape[1] - 2 * length) // (length + channels)
    losses = []
    for own, other in zip(query, keys, strict=True):
        places, wanted = (row[2 * length :][: count * length].view(count, length) for row in (own, other))
        features, theirs = (row[2 * length + count * length :].view(count, channels) for row in (own, other))
        for place in range(count):
            match = int((theirs @ features[place].detach()).argmax())
            dense = run.copies[0].dense_queue.keys
            losses.append(picked(places[place][None], wanted[match][None], dense, temperature))
    weight = run.parts.dense_weight
    return (1 - weight) * views + weight * torch.stack(losses).mean()


CONTRASTS = ("instdis", "pirl", "cmc", "cmc_v2", "moco_v1", "moco_v2", "infomin", "contrast")
LOSSES: dict[str, Callable[[Run, list[Batch]], Tensor]] = {
    **dict.fromkeys(CONTRASTS, contrast),
    "supervised": supervised,
    "simclr": simclr,
    "byol": byol,
    "simsiam": simsiam,
    "barlow_twins": barlow_twins,
    "vicreg": vicreg,
    "moco_v3": moco_v3,
    "swav": swav,
    "dino": dino,
    "densecl": densecl,
}
