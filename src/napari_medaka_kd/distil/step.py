"""One step of a learner: a batch in parts, perhaps on several processes, and a move by the mean of their gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.device import choose_precision

from . import together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medaka_kd.settings import FitSettings

    from .stage import Batch, Learner


@dataclass(frozen=True)
class Stepper:
    """Takes the steps of the learners of one stage.

    A step's loss is the mean over its parts of each part's own: every part counts the same, whatever its terms were
    divided by. So it is the undivided batch's loss where a term is a plain mean, and an estimate of it where a term is
    a ratio over the batch (Dice, weighted means). What batch norm remembers is likewise the mean of what the parts
    leave of it, each begun from the same. It does not matter on how many processes the parts are.

    Attributes
    ----------
    networks
        All of the stage: what they remember of a batch is taken care of.
    """

    networks: tuple[nn.Module, ...]
    device: torch.device
    settings: FitSettings
    seed: int

    def take(
        self, learner: Learner, parts: Sequence[Batch], optimizer: torch.optim.Optimizer, rate: float
    ) -> dict[str, float]:
        """Move ``learner`` by the ``parts`` of a step that this process has; its terms' means over all parts.

        Raises
        ------
        UserError
            If a term is not finite; nothing was moved.
        """
        optimizer.zero_grad(set_to_none=True)
        learner.network.train()
        memory = _Memory(self.networks) if self.settings.accumulate > 1 else None
        names: tuple[str, ...] = ()
        values = torch.zeros(0)
        for part in parts:
            torch.manual_seed(self.seed * 1_000_003 + part.number)  # dropout and its like: of the batch, too
            with self.autocast():
                losses = learner.losses(part.to(self.device))
            names, terms = tuple(losses), torch.stack(list(losses.values())) / self.settings.accumulate
            terms.sum().backward()  # type: ignore[no-untyped-call]
            values = terms.detach().float() + (values if len(values) else 0)
            if memory is not None:
                memory.take()
        together.add_up_gradients(learner.network, [values, *(memory.sums if memory is not None else ())])
        if memory is not None:
            memory.put_back(self.settings.accumulate)
        told = {f"{learner.name} {name}": value for name, value in zip(names, values.tolist(), strict=True)}
        _require_finite(told, rate)
        nn.utils.clip_grad_norm_(learner.network.parameters(), self.settings.clip)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        return told

    def autocast(self) -> torch.autocast:
        """The precision that the settings ask for."""
        precision = choose_precision(self.settings.precision, self.device)
        return torch.autocast(self.device.type, precision, enabled=precision != torch.float32)


def one_cycle(step: int, steps: int, peak: float) -> float:
    """The learning rate: up linearly over a tenth of the steps, then down a cosine to a hundredth of ``peak``."""
    warm = max(1, steps // 10)
    if step < warm:
        return peak * (step + 1) / warm
    along = (step - warm) / max(1, steps - warm)
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * along)) / 2)


def constant(step: int, steps: int, peak: float) -> float:
    """The learning rate: up linearly over a tenth of the steps, then ``peak``."""
    return peak * min(1.0, (step + 1) / max(1, steps // 10))


class _Memory:
    """What ``networks`` remember of the batches they saw: each part of a step begins from the same."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        found = {id(buffer): buffer for network in networks for buffer in network.buffers()}
        self._buffers = list(found.values())
        self._start = [buffer.clone() for buffer in self._buffers]
        self.sums = [torch.zeros_like(buffer, dtype=torch.float32) for buffer in self._buffers]

    @torch.no_grad()
    def take(self) -> None:
        """Note what a part left, and forget it."""
        for buffer, start, total in zip(self._buffers, self._start, self.sums, strict=True):
            total += buffer
            buffer.copy_(start)

    @torch.no_grad()
    def put_back(self, parts: int) -> None:
        """Remember the mean over ``parts``; a counter goes on by what one part adds to it."""
        for buffer, total in zip(self._buffers, self.sums, strict=True):
            buffer.copy_(total / parts)


def _require_finite(told: dict[str, float], rate: float) -> None:
    for name, value in told.items():
        if not math.isfinite(value):
            raise UserError(f"The loss {name!r} became {value}.", f"Train with a lower rate than {rate:.2g}.")
