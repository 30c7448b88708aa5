"""The weighted k-NN classifier on frozen features.

Source:
    Wu et al. 2018, Unsupervised Feature Learning via Non-Parametric Instance Discrimination, section 3.4: k =
    200, weights exp(similarity / .07). The same numbers in facebookresearch/dino `eval_knn.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from bench.core.errors import DataError

CHUNK = 1024
"""Images at a time."""


def knn_predict(
    features: Tensor,
    train_features: Tensor,
    train_labels: Tensor,
    *,
    neighbours: int,
    temperature: float,
    num_classes: int,
) -> Tensor:
    """The class that the nearest training images vote for, [images] int64; see `knn_votes`."""
    found = [
        votes.argmax(dim=1)
        for votes in knn_votes(
            features,
            train_features,
            train_labels,
            neighbours=neighbours,
            temperature=temperature,
            num_classes=num_classes,
        )
    ]
    return torch.cat(found) if found else torch.empty(0, dtype=torch.int64, device=features.device)


def knn_votes(
    features: Tensor,
    train_features: Tensor,
    train_labels: Tensor,
    *,
    neighbours: int,
    temperature: float,
    num_classes: int,
) -> Iterator[Tensor]:
    """The votes of the nearest training images for each class, some images at a time.

    Args:
        features: [images, dim], any length; compared by the cosine.
        train_features: [train, dim].
        train_labels: [train] int64.
        neighbours: That vote; all where there are fewer.
        temperature: A vote weighs exp(cosine / temperature).
        num_classes: More than the highest label.

    Yields:
        [some images, classes], in the order of the images; as a share of the largest weight of the image.

    Raises:
        DataError: no training image.
    """
    if len(train_features) == 0:
        raise DataError("k-NN: no training image to vote; expected at least one")
    bank = functional.normalize(train_features, dim=1).t()
    queries = functional.normalize(features, dim=1)
    for first in range(0, len(queries), CHUNK):
        chunk = queries[first : first + CHUNK]
        similarity, index = (chunk @ bank).topk(min(neighbours, bank.shape[1]), dim=1)
        votes = torch.zeros(len(chunk), num_classes, dtype=similarity.dtype, device=chunk.device)
        # Less the largest, so that a low temperature does not overflow; the same factor for all classes.
        weights = ((similarity - similarity[:, :1]) / temperature).exp()
        yield votes.scatter_add_(1, train_labels[index], weights)


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Percent of [images] that are right."""
    return 100.0 * float((predicted == labels).double().mean())
