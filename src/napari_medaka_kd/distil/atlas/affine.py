"""Affine alignment of animals in any pose: many starts by principal axes and by turns, the best of them refined.

A matrix A (3, 4) says where in the moving image lies what is at p of the fixed one: A · (p, 1), in normalised
coordinates (z, y, x) of both.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from napari_medaka_kd.networks.warp import affine, lattice

if TYPE_CHECKING:
    from collections.abc import Sequence

_TURNS = 96  # random turns that are tried beside those of the principal axes
_COARSE, _FINE = 20, 40  # voxels a side, at most, of the cubes on which starts are compared and refined
_KEPT, _FINALISTS = 8, 3  # starts that are refined, and of these those that are refined in all twelve numbers
_ALIKE = 0.9  # (1 + 2 cos angle) / 3 of two turns: 32°
_SHEAR = 0.05  # price of what is neither turn nor size


def align(moving: Tensor, fixed: Tensor, mirror: bool = False) -> Tensor:
    """The affine matrix (3, 4) that lays ``moving`` onto ``fixed``; the same for the same images.

    Parameters
    ----------
    moving, fixed
        (1, 1, S, S, S) of any S, not negative, 0 where nothing is.
    mirror
        Whether one may be the mirror image of the other.
    """
    small = _resized(moving, _COARSE), _resized(fixed, _COARSE)
    large = _resized(moving, _FINE), _resized(fixed, _FINE)
    matrices = starts(*large, mirror)
    matrices = _spread(matrices, correlations(matrices, *small), 2 * _KEPT if mirror else _KEPT)
    matrices = _refined(matrices, *small, free=False, steps=30)
    matrices = _best(matrices, correlations(matrices, *large), _FINALISTS)
    matrices = _refined(matrices, *large, free=True, steps=40)
    return _best(matrices, correlations(matrices, *large), 1)[0]


def correlations(matrices: Tensor, moving: Tensor, fixed: Tensor) -> Tensor:
    """How alike the images are under each of ``matrices`` (N, 3, 4): (N,), 1 where they differ by gain and offset."""
    found = [_correlation(affine(moving, each[None], fixed.shape[2:]), fixed) for each in matrices]
    return torch.cat(found)


def starts(moving: Tensor, fixed: Tensor, mirror: bool) -> Tensor:
    """(N, 3, 4): principal axes laid onto principal axes in each of 24 ways, and random turns; 48 if mirrored."""
    (middle_m, axes_m, size_m), (middle_f, axes_f, size_f) = _moments(moving), _moments(fixed)
    turns = [axes_m @ swap @ axes_f.T for swap in _signed_swaps()] + list(_random_turns(_TURNS))
    turns = [turn for turn in turns if torch.det(turn) > 0]
    if mirror:
        turns += [turn @ torch.diag(turn.new_tensor([1.0, 1.0, -1.0])) for turn in turns]
    linear = torch.stack(turns) * (size_m / size_f)
    return torch.cat((linear, (middle_m - linear @ middle_f)[:, :, None]), dim=2)


def _refined(matrices: Tensor, moving: Tensor, fixed: Tensor, free: bool, steps: int) -> Tensor:
    """Each of ``matrices`` moved uphill: in turn, size and place, or in all twelve numbers where ``free``."""
    middle = _moments(fixed)[0]
    rows = len(matrices)
    many, ones = moving.expand(rows, -1, -1, -1, -1), fixed.expand(rows, -1, -1, -1, -1)
    change = torch.zeros(rows, 3, 4, requires_grad=True)
    optimizer = torch.optim.Adam([change], lr=0.02)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.03 * (1 - step / steps) + 0.002
        optimizer.zero_grad()
        alike = _correlation(affine(many, _changed(matrices, change, middle, free), fixed.shape[2:]), ones)
        (_SHEAR * _sheared(change).sum() - alike.sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return _changed(matrices, change.detach(), middle, free)


def _changed(matrices: Tensor, change: Tensor, middle: Tensor, free: bool) -> Tensor:
    """``matrices`` after a change about the ``middle`` of the fixed image: a generator (3, 3) and a shift."""
    generator, shift = change[:, :, :3], change[:, :, 3]
    if not free:
        spread = generator.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(3)
        generator = (generator - generator.transpose(1, 2)) / 2 + spread
    linear = matrices[:, :, :3] @ torch.matrix_exp(generator)
    carried = matrices[:, :, :3] @ middle + matrices[:, :, 3] + shift
    return torch.cat((linear, (carried - linear @ middle)[:, :, None]), dim=2)


def _sheared(change: Tensor) -> Tensor:
    generator = change[:, :, :3]
    symmetric = (generator + generator.transpose(1, 2)) / 2
    spread = symmetric.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(3)
    price: Tensor = (symmetric - spread).square().sum((1, 2))
    return price


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    """Correlation over the whole cube, row by row."""
    ours, theirs = (each.flatten(1) - each.flatten(1).mean(1, keepdim=True) for each in (one, other))
    found: Tensor = (ours * theirs).sum(1) / (ours.norm(dim=1) * theirs.norm(dim=1)).clamp_min(1e-9)
    return found


def _moments(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Middle (3,), principal axes as columns (3, 3), and root of the mean squared distance from the middle."""
    mass = image.flatten().double() + 1e-12
    mass = mass / mass.sum()
    places = lattice(image.shape[2:], mass).reshape(-1, 3)
    middle = mass @ places
    away = places - middle
    spread = (away * mass[:, None]).T @ away
    axes = torch.linalg.eigh(spread).eigenvectors
    return middle.float(), axes.float(), spread.trace().sqrt().float()


def _signed_swaps() -> list[Tensor]:
    """The 48 matrices that exchange and mirror axes."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = torch.zeros(3, 3)
            matrix[range(3), list(order)] = torch.tensor(signs)
            found.append(matrix)
    return found


def _random_turns(count: int) -> Tensor:
    """(count, 3, 3): turns that are spread evenly; always the same."""
    numbers = torch.randn(count, 4, generator=torch.Generator().manual_seed(0))
    w, x, y, z = functional.normalize(numbers, dim=1).T
    rows: Sequence[Tensor] = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return torch.stack(tuple(rows), dim=1).reshape(count, 3, 3)


def _best(matrices: Tensor, scores: Tensor, count: int) -> Tensor:
    return matrices[scores.argsort(descending=True, stable=True)[:count]]


def _spread(matrices: Tensor, scores: Tensor, count: int) -> Tensor:
    """The best ``count`` of which no two are turned alike: else all would be near one, perhaps wrong, turn."""
    ranked = _best(matrices, scores, len(matrices))
    turns = ranked[:, :, :3] / ranked[:, :, :3].norm(dim=(1, 2), keepdim=True)
    alike = (turns.flatten(1) @ turns.flatten(1).T) > _ALIKE
    kept: list[int] = []
    for number in range(len(ranked)):
        if len(kept) < count and not alike[number, kept].any():
            kept.append(number)
    return ranked[kept]


def _resized(image: Tensor, side: int) -> Tensor:
    return functional.interpolate(image, (side,) * 3, mode="area") if image.shape[-1] > side else image
