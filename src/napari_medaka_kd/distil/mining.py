"""Which voxels a student learns from its mean teacher: the organs, and the background that is most easily perturbed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor

from .losses import soften

if TYPE_CHECKING:
    from collections.abc import Iterable

Mining: TypeAlias = Literal["sensitive", "random", "all"]
_SALT = 43


@dataclass(frozen=True)
class Opinion:
    """What a teacher says over several views.

    Attributes
    ----------
    logits, features
        Means over the views, (B, classes, Z, Y, X) and (B, F, Z, Y, X) float32.
    sensitivity
        (B, 1, Z, Y, X) float32: Σ over the classes of the standard deviation of their probability over the views.
    """

    logits: Tensor
    features: Tensor
    sensitivity: Tensor


def opinion(answers: Iterable[tuple[Tensor, Tensor]]) -> Opinion:
    """The mean and the spread of ``answers``, (logits, features) of each view, one after the other (Welford 1962).

    As the spread is summed from differences to the mean so far, it is 0 to the last bit where all views agree.
    """
    rest = iter(answers)
    logits, features = (each.float() for each in next(rest))
    middle, seen = logits.softmax(dim=1), 1
    squares = torch.zeros_like(middle)
    for seen, (given, felt) in enumerate(rest, start=2):
        logits = logits + (given.float() - logits) / seen
        features = features + (felt.float() - features) / seen
        share = given.float().softmax(dim=1)
        before, middle = middle, middle + (share - middle) / seen
        squares = squares + (share - before) * (share - middle)
    spread = (squares.clamp_min(0) / seen).sqrt().sum(dim=1, keepdim=True)
    return Opinion(logits, features, spread)


def hard_negatives(score: Tensor, negative: Tensor, count: int) -> Tensor:
    """Mask of the ``count`` voxels of ``negative`` with the highest ``score``; all of them where there are fewer."""
    ranked = torch.where(negative, score.float(), -torch.inf).flatten()
    kept = ranked.topk(min(count, int(negative.sum()))).indices
    return torch.zeros_like(negative).flatten().index_fill(0, kept, value=True).view(negative.shape)


def sample_weights(
    positive: Tensor, known: Tensor, sensitivity: Tensor, mining: Mining, seed: tuple[int, int]
) -> Tensor:
    """What each voxel of a batch counts, float32, 0 where it is not learned from.

    All ``positive`` voxels count 1, and N_pos/2 of the other ``known`` ones (rounded down) count 1.5: the most
    sensitive, or as many random ones. With ``all``, every known voxel counts 1: the plain mean teacher.

    Parameters
    ----------
    positive, known, sensitivity
        (B, Z, Y, X) bool, bool, float32: what the teacher calls an organ; what lies in the scan; how shaky it is.
    seed
        (seed, step), of the random ones.
    """
    if mining == "all":
        return known.float()
    kept, negative = positive & known, known & ~positive
    score = sensitivity if mining == "sensitive" else _noise(sensitivity, seed)
    return kept.float() + 1.5 * hard_negatives(score, negative, int(kept.sum()) // 2).float()


def mined(logits: Tensor, said: Opinion, temperature: float, weight: Tensor) -> Tensor:
    """``Σ_v w_v·CE(sharpen(softmax(z)), softmax(logits)) / Σ_v w_v``, z what was said; ``weight`` (B, Z, Y, X)."""
    wanted = soften(said.logits, temperature)  # sharpening softmax(z) by T is softmax(z/T)
    losses = -(wanted * logits.float().log_softmax(dim=1)).sum(dim=1)
    return (weight * losses).sum() / weight.sum().clamp_min(1e-6)


def _noise(like: Tensor, seed: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed((seed[0] * 1_000_003 + seed[1]) * 64 + _SALT)
    return torch.rand(like.shape, generator=generator).to(like.device)
