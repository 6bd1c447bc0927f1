"""Cut: how a volume is cut into tiles for a network; geometry alone, so that a window can count them without torch."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medaka_kd.volumes.tiles import Tile, tile_grid
from napari_medaka_kd.volumes.volume import Region, Shape, extent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medaka_kd.volumes.body import Body

WORTH_IT = 16  # tiles; to measure the back ends takes as long as five, and to start one some seconds


@dataclass(frozen=True)
class Cut:
    """How a volume is cut; voxels, (z, y, x).

    Attributes
    ----------
    tile
        The largest window, halo included.
    halo
        How far around a core it looks.
    stride
        Of the network: each window begins at a multiple of it and is filled up to one.
    """

    tile: Shape
    halo: Shape
    stride: Shape

    def tiles(self, shape: Shape, body: Body, region: Region) -> Sequence[Tile]:
        """The tiles that answer for the body in ``region`` of a volume of ``shape``."""
        common = [slice(max(r.start, b.start), min(r.stop, b.stop)) for r, b in zip(region, body.box, strict=True)]
        if any(side.stop <= side.start for side in common):
            return ()
        z, y, x = common
        cores = [body.trim(tile.core) for tile in tile_grid((z, y, x), self.tile, self.halo, self.stride, shape)]
        grids = [tile_grid(core, self.tile, self.halo, self.stride, shape) for core in cores if core is not None]
        return tuple(itertools.chain.from_iterable(grids))

    def voxels(self, tile: Tile) -> int:
        """What the network is shown of ``tile``: its read, filled up to multiples of the stride."""
        return math.prod(-(-side // step) * step for side, step in zip(extent(tile.read), self.stride, strict=True))
