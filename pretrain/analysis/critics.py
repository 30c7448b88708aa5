"""A small critic that is trained on pairs of a toy."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bench.core import rng
from bench.core.errors import DivergedError, UsageError, did_you_mean
from pretrain.analysis.mutual_information import Bound, info_nce_bound, js_objective, nwj_bound
from pretrain.analysis.toys import Toy

OBJECTIVES: Mapping[str, Bound] = {"info_nce": info_nce_bound, "nwj": nwj_bound, "js": js_objective}
"""What a critic can be trained to maximise."""

HIDDEN, DIM = 64, 32
"""Units between the two layers of each side, and entries of its output: ours, enough for a few nats."""
BATCH_SIZE = 128
"""Pairs of a step, each with as many candidates; that of google-research `vbmi/vbmi_demo.ipynb`."""
LEARNING_RATE = 2e-3
"""Of Adam; ours, for few hundred steps."""


class SeparableCritic(nn.Module):
    """Scores as the inner products of two networks' outputs, one network for each view.

    Args:
        dim_first, dim_second: Entries of the two views.

    Source:
        google-research/google-research `vbmi/vbmi_demo.ipynb`, `SeparableCritic`.
        Differs: sizes, see `HIDDEN`; and rows are view 1.
    """

    def __init__(self, dim_first: int, dim_second: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Sequential(nn.Linear(dim_in, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, DIM))
            for dim_in in (dim_first, dim_second)
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """[K, dim_first] and [K, dim_second] to scores [K, K], float32."""
        scores: Tensor = self.first(first.float()) @ self.second(second.float()).t()
        return scores


def train_critic(toy: Toy, *, objective: str, seed: int, num_steps: int = 400) -> SeparableCritic:
    """A critic that has seen `num_steps` batches of new pairs, by Adam.

    Its weights and the pairs are a function of the seed, and no global random state is touched.

    Args:
        toy: Where pairs come from.
        objective: One of `OBJECTIVES`.
        seed: Of weights and pairs.
        num_steps: Of Adam, `BATCH_SIZE` pairs each.

    Returns:
        The critic, which takes no gradients any more.

    Raises:
        UsageError: an unknown objective.
        DivergedError: the objective is not finite.
    """
    if objective not in OBJECTIVES:
        raise UsageError(
            f'critic: no objective "{objective}"; expected one of {", ".join(OBJECTIVES)}.'
            f"{did_you_mean(objective, list(OBJECTIVES))}"
        )
    pairs = torch.Generator().manual_seed(rng.derive(seed, "step"))
    first, second = toy.draw(1, pairs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.derive(seed, "init"))
        critic = SeparableCritic(first.shape[1], second.shape[1])
    adam = torch.optim.Adam(critic.parameters(), lr=LEARNING_RATE)
    for step in range(num_steps):
        value = OBJECTIVES[objective](critic(*toy.draw(BATCH_SIZE, pairs)))
        if not torch.isfinite(value):
            raise DivergedError(
                f"critic of {toy.name}, step {step}: {objective} is not finite; expected a finite value: try "
                "another seed, or a toy with less information"
            )
        adam.zero_grad()
        (-value).backward()  # type: ignore[no-untyped-call]
        adam.step()
    return critic.requires_grad_(False)
