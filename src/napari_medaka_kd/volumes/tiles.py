"""Tiles: how a volume is cut into windows that a network can take. Geometry only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError

from .volume import within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .volume import Region, Shape


@dataclass(frozen=True)
class Tile:
    """One inference window; all in voxels, (z, y, x).

    Attributes
    ----------
    read
        What the network is shown: the core with a halo around it, clipped to the volume.
    core
        The voxels that this tile, and no other, answers for.
    inner
        ``core`` relative to ``read``: ``answer[tile.inner]`` belongs at ``tile.core``.
    """

    read: Region
    core: Region
    inner: Region


def tile_grid(
    region: Region | Shape, tile: Shape, halo: Shape, align: Shape = (1, 1, 1), within: Shape | None = None
) -> tuple[Tile, ...]:
    """Cut ``region`` (or a whole volume of that shape) into tiles, z slowest.

    Parameters
    ----------
    tile
        The largest window that may be read, halo included.
    halo
        How much is read around a core; rounded up to a multiple of ``align``.
    align
        The network's total stride: every ``read`` begins at a multiple of it, counted from the volume's origin,
        so that an answer does not depend on the cut.
    within
        Shape of the volume; reads may leave ``region`` up to there. Without it they stop where ``region`` stops.

    Raises
    ------
    UserError
        If the halos leave no core in ``tile``.
    """
    box = _as_region(region)
    limits = within or tuple(side.stop for side in box)
    axes = [
        _cut((side.start, side.stop, limit), window, rim, step)
        for side, limit, window, rim, step in zip(box, limits, tile, halo, align, strict=True)
    ]
    return tuple(_tile(sides) for sides in product(*axes))


def nearest_first(tiles: Sequence[Tile], point: tuple[float, float, float]) -> tuple[Tile, ...]:
    """``tiles`` by the distance of their cores from ``point`` (voxels, z-y-x), the nearest first."""
    return tuple(sorted(tiles, key=lambda tile: distance(tile.core, point)))


def distance(region: Region, point: tuple[float, float, float]) -> tuple[float, float]:
    """How far ``point`` is from ``region``, then from the middle of it; voxels."""
    outside = [max(side.start - at, at - (side.stop - 1), 0.0) for side, at in zip(region, point, strict=True)]
    middle = [(side.start + side.stop) / 2 - at for side, at in zip(region, point, strict=True)]
    return math.hypot(*outside), math.hypot(*middle)


def block_grid(shape: Shape, block: Shape) -> tuple[Region, ...]:
    """Cut a volume of ``shape`` into boxes of ``block``, z slowest; the last ones are smaller."""
    axes = [
        [slice(start, min(start + step, size)) for start in range(0, size, step)]
        for size, step in zip(shape, block, strict=True)
    ]
    return tuple((z, y, x) for z, y, x in product(*axes))


def _as_region(region: Region | Shape) -> Region:
    z, y, x = (side if isinstance(side, slice) else slice(0, side) for side in region)
    return z, y, x


def _cut(span: tuple[int, int, int], tile: int, halo: int, align: int) -> list[tuple[slice, slice]]:
    """(read, core) along one axis, for a span of (start, stop, the end of what may be read)."""
    start, stop, limit = span
    origin = start - start % align
    halo = math.ceil(halo / align) * align
    everything = slice(max(origin - halo, 0), min(stop + halo, limit))
    if stop <= start:
        return []
    if everything.stop - everything.start <= tile:
        return [(everything, slice(start, stop))]
    step = (tile - 2 * halo) // align * align
    if step < align:
        raise UserError(f"A tile of {tile} voxels has no room between halos of {halo}.", "Choose a larger tile.")
    cores = math.ceil((stop - origin) / step)
    step = math.ceil((stop - origin) / cores / align) * align  # alike, rather than a small one at the end
    return [
        (slice(max(at - halo, 0), min(at + step + halo, limit)), slice(max(at, start), min(at + step, stop)))
        for at in range(origin, stop, step)
    ]


def _tile(sides: tuple[tuple[slice, slice], ...]) -> Tile:
    read_z, read_y, read_x = (read for read, _ in sides)
    core_z, core_y, core_x = (core for _, core in sides)
    read, core = (read_z, read_y, read_x), (core_z, core_y, core_x)
    return Tile(read, core, within(core, read))
