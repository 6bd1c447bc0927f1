"""Registrar: two small volumes → the smooth displacement that lays one onto the other; and how volumes are sampled.

VoxelMorph-like (Balakrishnan et al. 2019) with one encoder for both images, so that their features can be compared, and
a velocity at half resolution that is integrated, so that nothing folds. Our own hundred lines rather than MONAI's
VoxelMorph, which sees both images as channels of one and takes half a minute to import.

Places in a volume are in its normalised coordinates (z, y, x): −1 and 1 are the outer faces of its first and last
voxels.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTHS = (8, 16, 32, 32)  # channels at 1/2, 1/4, 1/8 and 1/16 of the grid
_SLOW = 0.03  # of a half of the cube, per unit of the last layer: about one voxel of 64
_SQUARINGS = 5  # the velocity is followed in 2⁵ steps
STRIDE = 16  # of which the grid's side must be a multiple


class Registrar(nn.Module):
    """(moving, fixed), each (B, 1, S, S, S) → displacement (B, 3, S, S, S) and the features of both."""

    def __init__(self) -> None:
        super().__init__()
        inputs = (1, *_WIDTHS[:-1])
        self.down = nn.ModuleList(_layer(i, o, stride=2) for i, o in zip(inputs, _WIDTHS, strict=True))
        outputs = _WIDTHS[::-1]
        wide = (2 * outputs[0], *(before + 2 * own for before, own in itertools.pairwise(outputs)))
        self.up = nn.ModuleList(_layer(i, o, stride=1) for i, o in zip(wide, outputs, strict=True))
        self.velocity = nn.Conv3d(_WIDTHS[0], 3, 3, padding=1, bias=False)
        nn.init.normal_(self.velocity.weight, std=1e-3)  # begins as almost no displacement

    def forward(self, moving: Tensor, fixed: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Displacement and features.

        Returns
        -------
        displacement
            (B, 3, S, S, S), (z, y, x) in normalised coordinates: what lies at p of ``fixed`` is at p + u(p) of
            ``moving``.
        features
            Of ``moving`` and of ``fixed``, each (B, 32, S / 16, S / 16, S / 16).
        """
        ours, theirs = self.encode(moving), self.encode(fixed)
        image = torch.cat((ours[-1], theirs[-1]), dim=1)
        for level, layer in enumerate(self.up):
            if level:
                grown = functional.interpolate(image, scale_factor=2, mode="nearest")
                image = torch.cat((grown, ours[-1 - level], theirs[-1 - level]), dim=1)
            image = layer(image)
        field = integrate(_SLOW * self.velocity(image))
        return functional.interpolate(field, scale_factor=2, mode="trilinear"), (ours[-1], theirs[-1])

    def encode(self, image: Tensor) -> list[Tensor]:
        """The features of each level, fine to coarse."""
        levels = []
        for layer in self.down:
            image = layer(image)
            levels.append(image)
        return levels


def integrate(velocity: Tensor, squarings: int = _SQUARINGS) -> Tensor:
    """The displacement after following a steady velocity (B, 3, Z, Y, X) for one unit of time, by squaring."""
    field: Tensor = velocity / 2**squarings
    for _ in range(squarings):
        field = field + warp(field, field)
    return field


def warp(image: Tensor, displacement: Tensor) -> Tensor:
    """``image`` (B, C, Z, Y, X) as seen at p + u(p), u = ``displacement`` (B, 3, Z, Y, X); its edge goes on."""
    places = lattice(displacement.shape[2:], displacement) + displacement.movedim(1, -1)
    return sample(image, places, "border")


def affine(image: Tensor, matrices: Tensor, side: Sequence[int]) -> Tensor:
    """``image`` (B, C, Z, Y, X) as seen at A·(p, 1) for a lattice of ``side`` places; 0 beyond it.

    Parameters
    ----------
    matrices
        (B, 3, 4), on (z, y, x, 1).
    """
    places = lattice(side, matrices) @ matrices[:, None, None, :, :3].transpose(-1, -2)
    return sample(image, places + matrices[:, None, None, None, :, 3], "zeros")


def lattice(side: Sequence[int], like: Tensor) -> Tensor:
    """The middles of the voxels of a volume of shape ``side``, (Z, Y, X, 3), of the kind and place of ``like``."""
    axes = [(2 * torch.arange(size, dtype=like.dtype, device=like.device) + 1) / size - 1 for size in side]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def sample(image: Tensor, places: Tensor, beyond: Literal["zeros", "border"]) -> Tensor:
    """``image`` (B, C, Z, Y, X) at ``places`` (B, …, 3), three axes between, trilinear."""
    grid = places.flip(-1).to(image.dtype)  # grid_sample speaks of x, y, z
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode=beyond, align_corners=False)


def local_correlation(one: Tensor, other: Tensor, width: int = 7) -> Tensor:
    """Mean of the squared local correlation (LNCC, Avants et al. 2008), 0 … 1, where ``other`` is not flat.

    Parameters
    ----------
    one, other
        (B, 1, Z, Y, X).
    width
        Voxels of the window.
    """
    mean_1, mean_2, square_1, square_2, product = _means((one, other, one * one, other * other, one * other), width)
    spread_1, spread_2 = square_1 - mean_1 * mean_1, square_2 - mean_2 * mean_2
    common = product - mean_1 * mean_2
    correlation = common * common / (spread_1.clamp_min(0) * spread_2.clamp_min(0) + 2e-6)
    there = spread_2 > 1e-3  # in air and even tissue there is but noise to be compared
    return (correlation * there).sum() / there.sum().clamp_min(1)


def bending(displacement: Tensor) -> Tensor:
    """Mean squared gradient of ``displacement`` (B, 3, Z, Y, X), a number without unit."""
    total = displacement.new_zeros(())
    for axis in (2, 3, 4):
        step = torch.diff(displacement, dim=axis) * (displacement.shape[axis] / 2)
        total = total + step.square().mean() if step.numel() else total
    return total / 3


def contrast(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """InfoNCE over places: a feature resembles the other image's at the same place more than at any other one.

    Parameters
    ----------
    one, other
        (B, C, Z, Y, X).
    temperature
        τ.
    """
    ours, theirs = (functional.normalize(each.movedim(1, -1).flatten(0, -2), dim=1) for each in (one, other))
    alike = ours @ theirs.T / temperature
    return functional.cross_entropy(alike, torch.arange(len(alike), device=alike.device))


def _layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Normalised, so that a few hundred steps suffice: without, three hundred moved the atlas by half a voxel."""
    convolution = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(1, outputs), nn.LeakyReLU(0.2))


def _means(volumes: Sequence[Tensor], width: int) -> list[Tensor]:
    stacked = torch.cat(list(volumes), dim=1)
    for axis in (2, 3, 4):  # one axis after the other: three passes of 7 rather than one of 343
        window = [1, 1, 1]
        window[axis - 2] = width
        stacked = functional.avg_pool3d(stacked, window, stride=1, padding=[side // 2 for side in window])
    return [stacked[:, channel : channel + 1] for channel in range(stacked.shape[1])]
