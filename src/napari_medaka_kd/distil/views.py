"""Perturbed views of a patch: other intensities, and mirrored where animals may be; a function of (seed, step).

A mirrored view is mirrored coordinates and all, so that each voxel still says truly where in the body it lies, and the
answer to it is mirrored back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import augment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from napari_medaka_kd.settings import AugmentSettings

_SALT = 41  # other random numbers than those of the batches, which are drawn by (seed, step)


@dataclass(frozen=True)
class View:
    """One view of a batch: the image (B, C, Z, Y, X), and the axes of it that are mirrored."""

    image: Tensor
    mirrored: tuple[int, ...] = ()

    def undone(self, answer: Tensor) -> Tensor:
        """``answer`` to this view, (B, …, Z, Y, X), as it lies in the batch."""
        return answer.flip([axis - 5 for axis in self.mirrored]) if self.mirrored else answer


@dataclass(frozen=True)
class Views:
    """``count`` views of a batch, as far from it as ``settings`` lets a training patch be bent in its intensities.

    Where mirrors are allowed, every second view is the former one mirrored along one allowed axis (two changes of
    intensity × flip); else each has intensities of its own.
    """

    settings: AugmentSettings
    count: int
    seed: int

    def of(self, clean: Tensor, step: int) -> Iterator[View]:
        """The views of ``clean`` (B, C, Z, Y, X) at ``step``, always the same ones."""
        rng = np.random.default_rng((self.seed, step, _SALT))
        patch = (clean.shape[2], clean.shape[3], clean.shape[4])
        allowed = [axis + 2 for axis, flip in enumerate(self.settings.flips) if flip and patch[axis] > 1]
        bent = clean
        for number in range(self.count):
            if allowed and number % 2:
                axis = int(rng.choice(allowed))
                yield View(bent.flip(axis), (axis,))
            else:
                bend = augment.draw(self.settings, len(clean), patch, rng)
                bent = augment.bend_intensity(clean, bend)
                yield View(bent)
