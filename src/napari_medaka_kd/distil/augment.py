"""How a training patch is bent: everything is drawn first, from a seeded generator, then applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from .losses import IGNORE

if TYPE_CHECKING:
    from napari_medaka_kd.settings import AugmentSettings
    from napari_medaka_kd.volumes.volume import Shape


@dataclass(frozen=True)
class Bend:
    """What was drawn for the rows of one batch; every array has one entry a row.

    Attributes
    ----------
    matrices
        (B, 3, 3) float32, patch → source, in normalised coordinates x, y, z of ``grid_sample``.
    gamma, gain, offset, noise, blur
        (B,) float32.
    seed
        Of the noise itself.
    """

    matrices: Tensor
    gamma: Tensor
    gain: Tensor
    offset: Tensor
    noise: Tensor
    blur: Tensor
    seed: int


def draw(settings: AugmentSettings, rows: int, patch: Shape, rng: np.random.Generator) -> Bend:
    """Draw a bend for ``rows`` patches of shape ``patch`` (z, y, x)."""

    def spread(width: float) -> Tensor:
        return torch.from_numpy(rng.normal(0.0, 1.0, rows).astype(np.float32) * width)

    def up_to(most: float) -> Tensor:
        return torch.from_numpy((rng.random(rows) * most * (rng.random(rows) < 0.5)).astype(np.float32))

    matrices = np.stack([_matrix(settings, patch, rng) for _ in range(rows)])
    return Bend(
        matrices=torch.from_numpy(matrices.astype(np.float32)),
        gamma=spread(settings.gamma).clamp(-1, 1).exp(),
        gain=(1 + spread(settings.contrast)).clamp(0.2, 2),
        offset=spread(settings.brightness),
        noise=up_to(settings.noise),
        blur=up_to(settings.blur),
        seed=int(rng.integers(2**31)),
    )


def bend_space(image: Tensor, target: Tensor, weight: Tensor, bend: Bend) -> tuple[Tensor, Tensor, Tensor]:
    """Turn, scale and mirror: linear for the image (B, C, Z, Y, X), nearest for target and weight (B, Z, Y, X).

    Voxels from outside the patch are unknown: ``IGNORE``, weight 0.
    """
    matrices = torch.cat((bend.matrices, torch.zeros(len(image), 3, 1)), dim=2)
    grid = functional.affine_grid(matrices, [len(image), 1, *image.shape[2:]], align_corners=False)
    moved = functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    # Shifted by one so that the zero padding of grid_sample means "unknown".
    both = torch.stack((target.float() - IGNORE, weight), dim=1)
    carried = functional.grid_sample(both, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return moved, carried[:, 0].round().long() + IGNORE, carried[:, 1]


def bend_roots(roots: Tensor, bend: Bend, row: int) -> Tensor:
    """Turn, scale and mirror the roots of soft labels, or a scan, (C, Z, Y, X) as ``row`` of the batch; linearly.

    What comes from outside the patch is that of its edge; nothing is learned there.
    """
    matrix = torch.cat((bend.matrices[row : row + 1], torch.zeros(1, 3, 1)), dim=2)
    grid = functional.affine_grid(matrix, [1, 1, *roots.shape[1:]], align_corners=False)
    return functional.grid_sample(roots[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]


def bend_intensity(image: Tensor, bend: Bend) -> Tensor:
    """Blur, gamma, gain, offset and noise on channel 0 of (B, C, Z, Y, X); coordinates stay as they are.

    On the device of ``image``; the noise is drawn on the CPU, so that it is the same on all.
    """
    gamma, gain, offset, noise = (
        _per_row(each.to(image.device)) for each in (bend.gamma, bend.gain, bend.offset, bend.noise)
    )
    scan = _blurred(image[:, 0], bend.blur.to(image.device))
    low = scan.amin((1, 2, 3), keepdim=True)
    span = (scan.amax((1, 2, 3), keepdim=True) - low).clamp_min(1e-3)
    scan = ((scan - low) / span) ** gamma * span + low
    scan = scan * gain + offset
    generator = torch.Generator().manual_seed(bend.seed)
    scan = scan + torch.randn(scan.shape, generator=generator).to(scan.device) * noise
    return torch.cat((scan[:, None], image[:, 1:]), dim=1)


def draw_paste(rows: int, labelled: int, share: float, patch: Shape, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Which boxes are pasted from which row (CutMix, Yun et al. 2019): donors (B,) and masks (B, 1, Z, Y, X).

    The labelled rows exchange among themselves, and so do the others.
    """
    donor = np.arange(rows)
    for first, last in ((0, labelled), (labelled, rows)):
        donor[first:last] = first + rng.permutation(last - first)
    pasted = np.zeros((rows, 1, *patch), bool)
    for row in range(rows):
        cut = rng.random() < share
        side = [max(1, round(size * rng.uniform(0.35, 0.7))) if size > 1 else 1 for size in patch]
        start = [int(rng.integers(0, size - width + 1)) for size, width in zip(patch, side, strict=True)]
        if cut:
            z, y, x = (slice(first, first + width) for first, width in zip(start, side, strict=True))
            pasted[row, 0, z, y, x] = True
    return torch.from_numpy(donor), torch.from_numpy(pasted)


def _matrix(settings: AugmentSettings, patch: Shape, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Turn about each axis whose plane the patch spans, scale, mirror; corrected for the patch's proportions."""
    turns = np.deg2rad(rng.uniform(-settings.rotation, settings.rotation, 3))
    sides = np.array(patch[::-1], float)  # x, y, z
    matrix = np.eye(3)
    for axis, (a, b) in enumerate(((1, 2), (0, 2), (0, 1))):  # about x, y, z
        if min(sides[a], sides[b]) > 1:
            plane = np.eye(3)
            plane[[a, a, b, b], [a, b, a, b]] = _turn(turns[axis])
            matrix = matrix @ plane
    matrix *= 1 + rng.uniform(-settings.scaling, settings.scaling)
    mirrored = np.array([-1.0 if flip and rng.random() < 0.5 else 1.0 for flip in settings.flips[::-1]])
    matrix = matrix * mirrored
    if patch[0] == 1:
        matrix[2], matrix[:, 2] = (0, 0, 1), (0, 0, 1)
    corrected: npt.NDArray[np.float64] = matrix * sides[None, :] / sides[:, None]
    return corrected


def _turn(angle: float) -> tuple[float, float, float, float]:
    return np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)


def _blurred(scan: Tensor, sigma: Tensor) -> Tensor:
    """A Gaussian of its own sigma for each row of (B, Z, Y, X); axes of length 1 are left alone."""
    rows = len(scan)
    away = torch.arange(-3, 4, dtype=torch.float32, device=sigma.device)
    kernel = torch.exp(-0.5 * (away / sigma[:, None].clamp_min(1e-2)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).view(rows, 1, 7)
    for axis in (1, 2, 3):
        if scan.shape[axis] > 1:
            lines = scan.movedim(axis, -1)
            padded = functional.pad(lines.reshape(1, rows, -1, lines.shape[-1]), (3, 3, 0, 0), mode="replicate")
            smooth = functional.conv2d(padded, kernel[:, :, None], groups=rows)
            scan = smooth.view(lines.shape).movedim(-1, axis)
    return scan


def _per_row(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
