"""Pairs of views of which the mutual information is known, to try estimators on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor
from torch.nn import functional

from bench.core.errors import ConfigError

IMPOSSIBLE = -1e4
"""In place of -infinity, the score in nats of a pair that cannot be: e^-1e4 is 0 in float64."""


class Toy(Protocol):
    """A source of pairs with all that is known about it."""

    @property
    def name(self) -> str:
        """For tables."""

    @property
    def true_information(self) -> float:
        """Mutual information of the two views, in nats."""

    def draw(self, num: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Independent pairs: [num, dim 1] and [num, dim 2] float64."""

    def optimal_scores(self, first: Tensor, second: Tensor) -> Tensor:
        """The best critic, log p(y|x) / p(y) of every pair: [K, dim 1] and [K, dim 2] to [K, K], in nats."""


@dataclass(frozen=True)
class CorrelatedGaussians:
    """Two Gaussian vectors; each entry of one is correlated with the same entry of the other, and no more.

    Attributes:
        dim: Entries of a view, 1 or more; each is of mean 0 and variance 1.
        correlation: Of entries that belong together, above -1 and below 1.

    Raises:
        ConfigError: of a dim or a correlation outside that.

    Source:
        Poole et al. 2019, On Variational Bounds of Mutual Information; google-research/google-research
        `vbmi/vbmi_demo.ipynb`, section on the correlated Gaussian, also for the information.
    """

    dim: int
    correlation: float

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ConfigError(f"gaussians: dim is {self.dim}; expected 1 or more: ask for at least one entry")
        if not -1.0 < self.correlation < 1.0:
            raise ConfigError(
                f"gaussians: correlation is {self.correlation}; expected above -1 and below 1, where the "
                "information is finite: choose one between"
            )

    @property
    def name(self) -> str:
        """Its numbers."""
        return f"gaussians dim {self.dim} correlation {self.correlation:g}"

    @property
    def true_information(self) -> float:
        """-dim / 2 * log(1 - correlation^2), in nats."""
        return -0.5 * self.dim * math.log1p(-(self.correlation**2))

    def draw(self, num: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Independent pairs: [num, dim] and [num, dim] float64."""
        first, noise = torch.randn(2, num, self.dim, generator=generator, dtype=torch.float64)
        return first, self.correlation * first + math.sqrt(1.0 - self.correlation**2) * noise

    def optimal_scores(self, first: Tensor, second: Tensor) -> Tensor:
        """Log p(y|x) / p(y) of every pair: [K, dim] and [K, dim] to [K, K], in nats."""
        marginal = -0.5 * (second.square() + math.log(2.0 * math.pi)).sum(dim=1)
        return self.conditional_log_density(first, second) - marginal

    def conditional_log_density(self, first: Tensor, second: Tensor) -> Tensor:
        """Log p(y|x) of every pair, for `club_upper_bound`: [K, dim] and [K, dim] to [K, K], in nats."""
        variance = 1.0 - self.correlation**2
        distance = (
            second.square().sum(dim=1)
            + self.correlation**2 * first.square().sum(dim=1, keepdim=True)
            - 2.0 * self.correlation * first @ second.t()
        )
        return -0.5 * (distance / variance + self.dim * math.log(2.0 * math.pi * variance))


@dataclass(frozen=True)
class SharedFactors:
    """Views that show some of the factors of one draw, each as a one-hot vector, and noise of their own.

    Factors are drawn evenly and independently. What both views show is all that they have in common: the
    factors of `first` that are in `second`, too. There is no density for `club_upper_bound`: the logarithm of
    a true conditional is -infinity for most pairs, and that bound infinite.

    Attributes:
        num_values: Of each factor, 2 or more each.
        first, second: Which factors views 1 and 2 show, by their place in `num_values`; at least one, none
            twice.
        num_noise_values: Of each noise factor; both views have such ones, and draw them apart.

    Raises:
        ConfigError: of values outside that.
    """

    num_values: tuple[int, ...]
    first: tuple[int, ...]
    second: tuple[int, ...]
    num_noise_values: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if any(values < 2 for values in (*self.num_values, *self.num_noise_values)):
            raise ConfigError("factors: a factor has fewer than 2 values; expected 2 or more: leave it out")
        for name, shown in (("first", self.first), ("second", self.second)):
            known = set(shown) <= set(range(len(self.num_values)))
            if not shown or not known or len(set(shown)) < len(shown):
                raise ConfigError(
                    f"factors: {name} shows {list(shown)}; expected one or more of 0 to "
                    f"{len(self.num_values) - 1}, none twice: name the factors by their place"
                )

    @property
    def name(self) -> str:
        """The numbers of values that are shared, and those of each view."""
        shared = [self.num_values[factor] for factor in self._shared]
        shown = [[self.num_values[factor] for factor in view] for view in (self.first, self.second)]
        return f"factors shared {shared} of {shown[0]} and {shown[1]}"

    @property
    def true_information(self) -> float:
        """The sum of log(number of values) of the factors that both views show, in nats."""
        return information_between([self.num_values[factor] for factor in self._shared])

    def draw(self, num: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Independent pairs: [num, columns 1] and [num, columns 2] float64, one-hot vectors side by side.

        The factors stand in the order of `first` and `second`, noise after them.
        """

        def drawn(num_values: int) -> Tensor:
            values = torch.randint(num_values, (num,), generator=generator)
            return functional.one_hot(values, num_values).double()

        factors = [drawn(values) for values in self.num_values]
        first, second = (
            torch.cat([*(factors[factor] for factor in view), *map(drawn, self.num_noise_values)], dim=1)
            for view in (self.first, self.second)
        )
        return first, second

    def optimal_scores(self, first: Tensor, second: Tensor) -> Tensor:
        """Log p(y|x) / p(y) of every pair: [K, columns 1] and [K, columns 2] to [K, K], in nats.

        The information where all shared factors agree, and `IMPOSSIBLE` where one does not.
        """
        agreeing = first[:, self._columns(self.first)] @ second[:, self._columns(self.second)].t()
        scores = torch.full_like(agreeing, IMPOSSIBLE)
        return scores.masked_fill(agreeing > len(self._shared) - 0.5, self.true_information)

    @property
    def _shared(self) -> list[int]:
        return sorted(set(self.first) & set(self.second))

    def _columns(self, shown: tuple[int, ...]) -> list[int]:
        """Where the shared factors stand in a view, in the order of `_shared`."""
        starts: dict[int, int] = {}
        for factor in shown:
            starts[factor] = sum(self.num_values[other] for other in starts)
        return [starts[factor] + value for factor in self._shared for value in range(self.num_values[factor])]


def information_between(shared: Sequence[int]) -> float:
    """Mutual information of two views that have independent, evenly drawn factors in common, in nats.

    Args:
        shared: Of each factor that both views determine, the number of its values.

    Returns:
        The sum of log(number of values); 0 for none.
    """
    return math.fsum(math.log(num_values) for num_values in shared)
