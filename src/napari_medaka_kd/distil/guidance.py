"""How a mean teacher guides: when its say counts, and how features are held against its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Adapter(nn.Module):
    """The 1×1 convolution through which a student's features (B, F, Z, Y, X) are compared; at first the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv3d(width, width, 1)
        self.mix.load_state_dict({"weight": torch.eye(width)[..., None, None, None], "bias": torch.zeros(width)})

    def forward(self, features: Tensor) -> Tensor:
        """Of the same shape."""
        adapted: Tensor = self.mix(features)
        return adapted


def ramp(along: float, rise: float, fall: float) -> float:
    """What the teacher's say counts at ``along`` (0 … 1) of a training: 0 … 1.

    ``exp(−5·(1 − along/rise)²)`` over the first share ``rise`` of the steps, ``exp(−12.5·(1 − left/fall)²)`` over the
    last share ``fall``, 1 in between (Laine & Aila 2017); the smaller where the two meet.
    """
    up = math.exp(-5 * (1 - along / rise) ** 2) if along < rise else 1.0
    down = math.exp(-12.5 * (1 - (1 - along) / fall) ** 2) if 1 - along < fall else 1.0
    return min(up, down)


def distance(one: Tensor, other: Tensor, inside: Tensor) -> Tensor:
    """Mean squared distance of features (B, F, Z, Y, X) over the voxels of ``inside`` (B, Z, Y, X); 0 where none is."""
    squares = (one.float() - other.float()).square() * inside[:, None]
    return squares.sum() / (inside.sum() * one.shape[1]).clamp_min(1)
