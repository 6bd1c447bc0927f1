"""Coarser levels for volumes that have too few of them: every second voxel, and so on, picked as they are read."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .lazy import DiskArray

if TYPE_CHECKING:
    import numpy.typing as npt

    from .volume import LazyArray, Region, Shape, Volume

_DRAWABLE = 384  # voxels along the longest axis that a graphics card draws in three dimensions at once
_SLAB = 32 * 2**20  # voxels that are read at once to pick some of them


def deepen(volume: Volume, scan: Volume | None) -> Volume:
    """``volume`` with coarser levels where it has fewer than ``scan``, or just one, which napari takes for no pyramid.

    They are strided as they are read, so that they are right as soon as the finer level is.
    """
    shapes = [] if scan is None else [as_shape(level.shape) for level in scan.levels]
    if len(shapes) < 2:
        shapes = [volume.shape, _halve(volume.shape)]
    missing = shapes[len(volume.levels) :]
    return replace(volume, levels=(*volume.levels, *(_stride(volume.levels[0], shape) for shape in missing)))


def suit_view(volume: Volume) -> Volume:
    """``volume`` with levels down to one of at most 384 voxels along its longest axis, and at least two.

    Coarser ones are left out, since napari draws the last one in three dimensions; missing ones are strided.
    """
    levels, last = list(volume.levels), volume.levels[-1]
    shape = as_shape(last.shape)
    while len(levels) < 2 or max(shape) > _DRAWABLE:
        shape = _halve(shape)
        levels.append(_stride(last, shape))
    enough = next(number for number, level in enumerate(levels) if max(level.shape) <= _DRAWABLE)
    return replace(volume, levels=tuple(levels[: max(enough + 1, 2)]))


def strides(fine: Shape, coarse: Shape) -> Shape:
    """Fine voxels from one coarse voxel to the next: our pyramids halve, and round their shapes up."""
    z, y, x = (1 << math.ceil(math.log2(size / fewer)) for size, fewer in zip(fine, coarse, strict=True))
    return z, y, x


def as_shape(shape: tuple[int, ...]) -> Shape:
    z, y, x = shape
    return z, y, x


def _stride(array: LazyArray, shape: Shape) -> DiskArray:
    """Every so many voxels of ``array``; at most 32 M of its voxels are in memory at once, or one slice."""
    steps = strides(as_shape(array.shape), shape)

    def read_box(box: Region) -> npt.NDArray[Any]:
        out = np.empty([side.stop - side.start for side in box], array.dtype)
        deep = max(1, _SLAB // (math.prod(out.shape[1:]) * math.prod(steps)))
        for start in range(box[0].start, box[0].stop, deep):
            slab = (slice(start, min(start + deep, box[0].stop)), box[1], box[2])
            every = tuple(slice(at.start * by, (at.stop - 1) * by + 1, by) for at, by in zip(slab, steps, strict=True))
            out[start - box[0].start : slab[0].stop - box[0].start] = array[every]
        return out

    return DiskArray(shape, array.dtype, read_box)


def _halve(shape: Shape) -> Shape:
    z, y, x = (-(-size // 2) for size in shape)
    return z, y, x
