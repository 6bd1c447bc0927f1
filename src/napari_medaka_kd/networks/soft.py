"""Soft labels in a few bytes: how probable each class is against the most probable one, and back to logits.

Kept is ``round(16·(p / max p)^¼)``, 0 … 16. An error of this root weighs alike in KL(T = 2) wherever it is made: there
a class's share is its square. Equal steps of the logit take as many bytes for as much KL, but have to end somewhere,
and what lies below adds up over classes. 16 steps: KL(T = 2) 1.2e-3 nat, KL(T = 4) 4e-4 (docs/benchmarks.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

STEPS = 16
ROOT = 4
CODE = f"{STEPS} steps of root {ROOT}"  # as the facts beside soft labels have it
_NEVER = 1 / (4 * STEPS)  # the root for which 0 stands: it was below half a step


def pack(probabilities: Tensor, largest: Tensor) -> Tensor:
    """(classes, z, y, x) float32 and its maximum over the classes → (classes, z, y, x) uint8."""
    return ((probabilities / largest).sqrt().sqrt() * STEPS).round().to(torch.uint8)


def unpack(packed: Tensor) -> Tensor:
    """(…, classes, z, y, x) uint8 → the roots, float32 in 0 … 1; background alone wherever nothing was kept.

    Roots, and not logits, are what can be interpolated: half-way between two sure voxels both classes are as likely.
    """
    roots = packed.float() / STEPS
    background = torch.where((packed == 0).all(dim=-4), 1.0, roots[..., 0, :, :, :])
    return torch.cat((background.unsqueeze(-4), roots[..., 1:, :, :, :]), dim=-4)


def logits(roots: Tensor) -> Tensor:
    """Roots → logits, 0 for the most probable class."""
    return ROOT * roots.clamp_min(_NEVER).log()
