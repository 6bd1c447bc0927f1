"""Losses over voxels. Each is 0 where nothing is wrong or nothing is weighed, and never negative.

Shapes: logits (B, C, Z, Y, X); target (B, Z, Y, X) int64 with :data:`IGNORE` where nothing is known;
weight (B, Z, Y, X) ≥ 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

IGNORE = -1


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor, balance: Tensor | None = None) -> Tensor:
    """Weighted mean of −log p(target) over the voxels whose target is known.

    Parameters
    ----------
    logits, target, weight
        See the head of the file.
    balance
        A factor for each class, (C,).
    """
    losses = functional.cross_entropy(logits.float(), target, weight=balance, reduction="none", ignore_index=IGNORE)
    known = target != IGNORE
    shares = torch.where(known, weight, 0)
    if balance is not None:
        shares = shares * balance[target.clamp_min(0)]
    return (losses * torch.where(known, weight, 0)).sum() / shares.sum().clamp_min(1e-6)


def soft_dice(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """1 − mean over the organs present in the batch of the soft Dice, ``2Σw·p·y / Σw·(p + y)`` (Milletari 2016)."""
    known = torch.where(target != IGNORE, weight, 0)[:, None]
    probabilities = logits.float().softmax(dim=1)
    truth = functional.one_hot(target.clamp_min(0), logits.shape[1]).movedim(-1, 1)
    over = (0, 2, 3, 4)
    together = (known * probabilities * truth).sum(over)[1:]
    total = (known * (probabilities + truth)).sum(over)[1:]
    present = (known * truth).sum(over)[1:] > 0
    dice = (2 * together + 1e-5) / (total + 1e-5)
    return ((1 - dice) * present).sum() / present.sum().clamp_min(1)


def dice_ce(logits: Tensor, target: Tensor, weight: Tensor, balance: Tensor) -> dict[str, Tensor]:
    """:func:`cross_entropy` and :func:`soft_dice` as two terms; ``balance``, (C,), may lie on another device."""
    return {
        "cross-entropy": cross_entropy(logits, target, weight, balance.to(logits.device)),
        "Dice": soft_dice(logits, target, weight),
    }


def distillation(student: Tensor, probabilities: Tensor, temperature: float, weight: Tensor) -> Tensor:
    """T² · weighted mean of KL(teacher^T ‖ student^T) (Hinton et al. 2015, eq. 4; per voxel as in 2302.12562).

    Parameters
    ----------
    student
        Logits.
    probabilities
        The teacher's answer *at this temperature*, (B, C, Z, Y, X); no gradient flows into it.
    temperature
        T.
    weight
        See the head of the file.
    """
    teacher = probabilities.detach().float()
    divergence = functional.kl_div(
        functional.log_softmax(student.float() / temperature, dim=1), teacher, reduction="none"
    ).sum(dim=1)
    return temperature**2 * (weight * divergence).sum() / weight.sum().clamp_min(1e-6)


def soften(logits: Tensor, temperature: float) -> Tensor:
    """softmax(logits / T)."""
    return (logits.float() / temperature).softmax(dim=1)
