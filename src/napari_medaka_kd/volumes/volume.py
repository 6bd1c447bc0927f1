"""Volume: a scan as everyone here sees it. Lazy, multiscale, z-y-x, with its voxel size."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pathlib import Path

    import dask.array

#: A box in a volume, (z, y, x); every slice has a start and a stop.
Region: TypeAlias = tuple[slice, slice, slice]
Triple: TypeAlias = tuple[float, float, float]
Shape: TypeAlias = tuple[int, int, int]
_BLOCK = (128, 512, 512)  # voxels of a block of dask's


class LazyArray(Protocol):
    """Anything that knows its shape and reads only what is asked of it."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, region: Any, /) -> Any: ...


@dataclass(frozen=True)
class Volume:
    """A scan, read lazily.

    Attributes
    ----------
    levels
        The same scan from fine to coarse, each (z, y, x); level 0 is the full resolution.
    voxel_size
        (z, y, x) of level 0, in µm.
    name
        What a person calls it.
    source
        Where it was opened from; ``None`` for a volume that lives in memory.
    """

    levels: tuple[LazyArray, ...]
    voxel_size: Triple
    name: str = ""
    source: Path | None = None

    @property
    def shape(self) -> Shape:
        """(z, y, x) of level 0."""
        z, y, x = self.levels[0].shape
        return z, y, x

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.levels[0].dtype

    def read(self, region: Region | None = None, level: int = 0) -> npt.NDArray[Any]:
        """The voxels of ``region`` (all of them when ``None``) at ``level``, as an array in memory."""
        array = self.levels[level]
        return np.asarray(array[region if region is not None else whole(array.shape)])

    def dask(self, level: int = 0) -> dask.array.Array:
        """``level`` as a dask array, (z, y, x), for computing; for looking at it dask is far too slow.

        Its blocks are large, so that a graph of a scan of 100 GB has some thousand of them.
        """
        import dask.array

        array = self.levels[level]
        block = tuple(min(most, size) for most, size in zip(_BLOCK, array.shape, strict=True))
        name = f"{self.name}-{level}-{uuid.uuid4()}"
        whole_level: dask.array.Array = dask.array.from_array(array, block, name=name, fancy=False)
        return whole_level

    def overview(self, most: int) -> int:
        """The finest level of at most ``most`` voxels, or the coarsest."""
        sizes = [math.prod(level.shape) for level in self.levels]
        return next((number for number, size in enumerate(sizes) if size <= most), len(sizes) - 1)

    def scale(self, level: int) -> Triple:
        """How many voxels of level 0 one voxel of ``level`` spans, (z, y, x)."""
        z, y, x = (fine / coarse for fine, coarse in zip(self.shape, self.levels[level].shape, strict=True))
        return z, y, x


def whole(shape: tuple[int, ...]) -> Region:
    """The region that covers an array of ``shape`` (z, y, x)."""
    z, y, x = (slice(0, size) for size in shape)
    return z, y, x


def shifted(part: Region, outer: Region) -> Region:
    """``part``, which is counted from where ``outer`` begins, counted as ``outer`` is."""
    z, y, x = (slice(o.start + p.start, o.start + p.stop) for p, o in zip(part, outer, strict=True))
    return z, y, x


def within(part: Region, outer: Region) -> Region:
    """``part``, which is counted as ``outer`` is, counted from where ``outer`` begins."""
    z, y, x = (slice(p.start - o.start, p.stop - o.start) for p, o in zip(part, outer, strict=True))
    return z, y, x


def common(one: Region, other: Region) -> Region | None:
    """The voxels of both, counted as both are; ``None``: there are none."""
    z, y, x = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return (z, y, x) if all(side.start < side.stop for side in (z, y, x)) else None


def hull(*regions: Region) -> Region:
    """The smallest region that holds all of ``regions``."""
    z, y, x = (slice(min(s.start for s in side), max(s.stop for s in side)) for side in zip(*regions, strict=True))
    return z, y, x


def extent(region: Region) -> Shape:
    """How many voxels ``region`` spans, (z, y, x)."""
    z, y, x = (side.stop - side.start for side in region)
    return z, y, x
