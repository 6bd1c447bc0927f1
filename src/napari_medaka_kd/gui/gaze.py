"""Gaze: where the viewer looks, in voxels; its slider and camera, and nothing else of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medaka_kd.volumes.volume import Region, Shape, Triple

_FILLED = 0.55  # of the canvas, by what is framed
_LEAST = 24  # voxels to show at least to each side
_CANVAS = (600, 600)  # pixels; for a napari that does not tell


class Gaze:
    """Where the viewer looks in a volume; (z, y, x), voxels of level 0.

    Parameters
    ----------
    tell
        Is called with the position whenever the person moves, or is moved.
    """

    def __init__(self, viewer: Any, tell: Callable[[Triple], None]) -> None:
        self._viewer, self._tell = viewer, tell
        self._camera = getattr(viewer, "scene", viewer).camera  # the viewer's own before napari 0.9
        self._size, self._shape = np.ones(3), np.ones(3)
        self._sources = (viewer.dims.events.point, self._camera.events.center)
        for source in self._sources:
            source.connect(self._on_view)

    def measure(self, shape: Shape, voxel_size: Triple) -> None:
        """Take on the grid of another volume."""
        self._shape, self._size = np.array(shape, float), np.array(voxel_size, float)

    @property
    def position(self) -> Triple:
        """Where the slider and the middle of the canvas are."""
        world = self._world()
        z, y, x = np.clip(world / self._size, 0, np.maximum(self._shape - 1, 0)).tolist()
        return z, y, x

    def move(self, point: Triple) -> None:
        """Look at ``point``; how near stays as it is."""
        self._move(np.asarray(point, float) * self._size)

    def frame(self, centre: Triple, box: Region) -> None:
        """Look at ``centre``, near enough for ``box`` to fill half of the canvas."""
        self._camera.zoom = self._zoom(np.asarray(centre, float), box)
        self._move(np.asarray(centre, float) * self._size)

    def release(self) -> None:
        """Follow the viewer no longer."""
        for source in self._sources:
            source.disconnect(self._on_view)

    def _axes(self) -> tuple[list[int], list[int]]:
        """(sliced, displayed) axes of ours; a viewer with more dimensions has ours as its last three."""
        dims = self._viewer.dims
        shift = dims.ndim - 3
        displayed = [axis - shift for axis in dims.displayed]
        return [axis for axis in range(3) if axis not in displayed], displayed

    def _world(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        dims = self._viewer.dims
        world = np.zeros(3)
        known = np.array(dims.point[-3:], float)
        world[3 - len(known) :] = known
        _, displayed = self._axes()
        for axis, centre in zip(displayed, self._camera.center[-len(displayed) :], strict=True):
            if axis >= 0:
                world[axis] = centre
        return world

    def _move(self, world: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        sliced, displayed = self._axes()
        dims = self._viewer.dims
        before = self._camera.center
        target = [float(world[axis]) if axis >= 0 else 0.0 for axis in displayed]
        self._camera.center = (*before[: 3 - len(target)], *target) if len(before) == 3 else tuple(target)
        if sliced:
            dims.set_point([axis + dims.ndim - 3 for axis in sliced], [float(world[axis]) for axis in sliced])

    def _zoom(self, centre: np.ndarray[Any, np.dtype[np.float64]], box: Region) -> float:
        """Canvas pixels for each µm."""
        reach = np.array([max(c - side.start, side.stop - c, _LEAST) for c, side in zip(centre, box, strict=True)])
        _, displayed = self._axes()
        height, width = getattr(getattr(self._viewer, "canvas", None), "size", _CANVAS)
        across = [2 * reach[axis] * self._size[axis] for axis in displayed[-2:] if axis >= 0]
        return float(_FILLED * min(pixels / span for pixels, span in zip((height, width), across, strict=False)))

    def _on_view(self) -> None:
        self._tell(self.position)
