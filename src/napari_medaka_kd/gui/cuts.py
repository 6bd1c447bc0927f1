"""Cuts: a volume seen along y or x around the item, read lazily at a level that fits a small pane; no Qt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .colours import colour_table, grey, lay_over
from .shown import lay_crop_over

if TYPE_CHECKING:
    from napari_medaka_kd.volumes.volume import Region, Shape, Triple, Volume

    from .layers import Scene

PIXELS = 256  # a pane reads no more across, unless even the coarsest level has more
_REACH = 64  # voxels to each side at least
_ROOM = 1.5  # times as much as the item is large


@dataclass(frozen=True)
class Cut:
    """A plane through a volume: z downwards, ``across`` to the right, at one place along ``along``.

    Attributes
    ----------
    along, across
        Axes of the volume: 1 is y, 2 is x.
    at
        Voxel of level 0 on axis ``along``.
    window
        What to show of the volume, voxels of level 0.
    level
        Of the volume; chosen by :func:`choose_level`.
    """

    along: int
    across: int
    at: int
    window: Region
    level: int

    def read(self, volume: Volume) -> npt.NDArray[np.generic]:
        """The voxels of the plane, (z, across)."""
        region = self._region(volume)
        plane: npt.NDArray[np.generic] = volume.read(region, self.level).squeeze(self.along)
        return plane

    def _region(self, volume: Volume) -> Region:
        shape, scale = volume.levels[self.level].shape, volume.scale(self.level)
        sides = []
        for axis, side in enumerate(self.window):
            begin, end = (self.at, self.at + 1) if axis == self.along else (side.start, side.stop)
            first = min(int(begin / scale[axis]), shape[axis] - 1)
            last = first + 1 if axis == self.along else max(min(math.ceil(end / scale[axis]), shape[axis]), first + 1)
            sides.append(slice(first, last))
        return sides[0], sides[1], sides[2]


def choose_window(point: Triple, box: Region | None, volume: Volume) -> Region:
    """What to show around ``point`` so that ``box`` is seen with room around: as many µm in every direction."""
    reach = _REACH * min(volume.voxel_size)
    if box is not None:
        reach = max(
            reach, *(_ROOM / 2 * (s.stop - s.start) * size for s, size in zip(box, volume.voxel_size, strict=True))
        )
        point = _middle(box)
    sides = []
    for centre, size, most in zip(point, volume.voxel_size, volume.shape, strict=True):
        half = max(math.ceil(reach / size), 1)
        sides.append(slice(max(int(centre) - half, 0), min(int(centre) + half + 1, most)))
    return sides[0], sides[1], sides[2]


def choose_level(window: Region, volume: Volume) -> int:
    """The finest level at which ``window`` has at most :data:`PIXELS` voxels across, else the coarsest."""
    longest = [side.stop - side.start for side in window]
    for level in range(len(volume.levels)):
        if all(span / step <= PIXELS for span, step in zip(longest, volume.scale(level), strict=True)):
            return level
    return len(volume.levels) - 1


def draw_cut(cut: Cut, scene: Scene) -> npt.NDArray[np.uint8]:
    """What ``scene`` shows, along ``cut``: (z, across, 3) uint8.

    Raises
    ------
    UserError
        If the scan or its labels are damaged.
    """
    shown = scene.shown
    assert shown is not None
    shades = grey(cut.read(shown.scan), shown.window)
    if scene.hidden or scene.session.overlay == "none":
        return np.repeat(shades[..., np.newaxis], 3, axis=2)
    organs = shown.organs
    if scene.crop is not None:
        organs = lay_crop_over(organs, scene.crop.region, scene.crop.correction.labels)
    return lay_over(shades, cut.read(organs), colour_table(shown.case.schema), scene.organ)


def is_inside(point: Triple, window: Region) -> bool:
    return all(side.start <= place < side.stop for place, side in zip(point, window, strict=True))


def clip(point: Triple, shape: Shape) -> Triple:
    """The voxel of the volume that is nearest to ``point``."""
    z, y, x = (min(max(place, 0.0), size - 1.0) for place, size in zip(point, shape, strict=True))
    return z, y, x


def _middle(box: Region) -> Triple:
    z, y, x = ((side.start + side.stop) / 2 for side in box)
    return z, y, x
