"""Averages of a run's weights over its steps, which it ends with in place of the last ones."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from longclip.training.config import TrainConfig


class WeightAverage:
    """Moving (EMA) or equal (SWA) average of the weights that learn.

    EMA (Polyak and Juditsky 1992) forgets: a ← d·a + (1 − d)·w after each step, beginning with the
    weights that training starts from. So that a short run does not end with those, the decay grows
    with the steps n, min(d, (1 + n) / (10 + n)), as is usual.

    SWA (Izmailov et al. 2018) counts the weights after each step of the end of a run alike.

    Weights that do not change have the average that they are, to the bit. Low-rank changes are
    averaged as the two factors that learn. Statistics of batches, which only other libraries' image
    towers have, stay those of the last step.

    Args:
        module: whose parameters learn; whole or sharded.
        config: of the run, with `ema_decay` or `swa_share`.
    """

    def __init__(self, module: nn.Module, config: TrainConfig) -> None:
        self._learned = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self._average = {n: p.detach().clone() for n, p in self._learned.items()}
        self._config = config
        # A tensor, to be saved in checkpoints with the others.
        self._count = torch.zeros((), dtype=torch.float32)

    @torch.no_grad()
    def update(self, step: int, total: int) -> None:
        """Take in the weights after step number `step` of `total`, counted from 0."""
        config = self._config
        if config.swa_share and step < total - max(1, round(config.swa_share * total)):
            return
        self._count += 1
        count = float(self._count)
        if config.swa_share:
            share = 1 / count
        else:
            share = 1 - min(config.ema_decay, (1 + count) / (10 + count))
        for name, parameter in self._learned.items():
            self._average[name].lerp_(parameter.detach(), share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average into the module meanwhile, where there is one yet."""
        if not self._count:
            yield
            return
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        # One after the other: there need not be memory for a third copy of all.
        for name, parameter in self._learned.items():
            weight = parameter.detach().clone()
            parameter.copy_(self._average[name])
            self._average[name].copy_(weight)

    def tensors(self) -> dict[str, Tensor]:
        """Return all it consists of, by name: the tensors themselves, to be saved or filled."""
        named = {f"average.{name}": value for name, value in self._average.items()}
        return named | {"average_steps": self._count}
