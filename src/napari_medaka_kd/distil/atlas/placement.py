"""Placement: where in the atlas each place of a scan lies; and the atlas warped onto that scan, box by box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from napari_medaka_kd.networks.warp import sample
from napari_medaka_kd.volumes.lazy import DiskArray
from napari_medaka_kd.volumes.tiles import block_grid
from napari_medaka_kd.volumes.volume import Region, Volume, extent, shifted

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from napari_medaka_kd.volumes.labels import LabelMap
    from napari_medaka_kd.volumes.volume import Triple

    from .view import Frame

    #: (the atlas's level, places in its voxels (Z, Y, X, 3)) → values (Z, Y, X).
    Take = Callable[[Any, Tensor], npt.NDArray[Any]]

_BLOCK = (64, 64, 64)  # voxels that are warped at a time: some 10 MB


@dataclass(frozen=True, eq=False)
class Placement:
    """Where in the atlas each place of a scan lies: ``A · (p + u(p), 1)`` in the frames of both.

    Attributes
    ----------
    scan, atlas
        Their frames.
    matrix
        A, (3, 4).
    field
        u, (1, 3, S, S, S), on the frame of the scan; interpolated between, and its edge goes on beyond.
    """

    scan: Frame
    atlas: Frame
    matrix: Tensor
    field: Tensor

    def microns(self, region: Region, voxel_size: Triple) -> Tensor:
        """(Z, Y, X, 3) µm in the atlas, of the voxels of ``region`` of the scan."""
        axes = [
            (torch.arange(side.start, side.stop, dtype=torch.float32) + 0.5) * size
            for side, size in zip(region, voxel_size, strict=True)
        ]
        places = self.scan.places(torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1))
        places = places + sample(self.field, places[None], "border")[0].movedim(0, -1)
        return self.atlas.microns(places @ self.matrix[:, :3].T + self.matrix[:, 3])

    def level(self, volume: Volume, voxel_size: Triple) -> int:
        """The coarsest level of the atlas ``volume`` that is no coarser than the scan's voxels are in it."""
        grown = float(torch.det(self.matrix[:, :3]).abs()) ** (1 / 3) * self.atlas.half / self.scan.half
        wanted = min(voxel_size) * grown * 1.01
        sizes = [
            max(size * by for size, by in zip(volume.voxel_size, volume.scale(level), strict=True))
            for level in range(len(volume.levels))
        ]
        return max((level for level, size in enumerate(sizes) if size <= wanted), default=0)


def warped_image(atlas: Volume, placement: Placement, scan: Volume, air: float) -> Volume:
    """``atlas`` on the grid of ``scan``, float32, interpolated linearly; ``air`` where the atlas ends. Lazy."""

    def take(level: Any, places: Tensor) -> npt.NDArray[Any]:
        box = _around(places, level.shape)
        block = torch.from_numpy(np.nan_to_num(np.asarray(level[box]).astype(np.float32)))
        first, length = places.new_tensor([side.start for side in box]), places.new_tensor(block.shape)
        within = 2 * (places - first + 0.5) / length - 1
        there = (within.abs() <= 1 + 1e-4).all(-1)
        values = sample(block[None, None], within[None], "border")[0, 0]
        return torch.where(there, values, torch.tensor(air)).numpy()

    return _warped(atlas, placement, scan, (np.dtype(np.float32), take))


def warped_labels(atlas: LabelMap, placement: Placement, scan: Volume) -> Volume:
    """The labels of the atlas on the grid of ``scan``: those of the nearest voxel, 0 where the atlas ends. Lazy."""

    def take(level: Any, places: Tensor) -> npt.NDArray[Any]:
        box = _around(places, level.shape)
        block = np.asarray(level[box])
        at = torch.round(places).long() - torch.tensor([side.start for side in box])
        there = ((at >= 0) & (at < torch.tensor(block.shape))).all(-1).numpy()
        z, y, x = (at[..., axis].clamp(0, block.shape[axis] - 1).numpy() for axis in range(3))
        return np.where(there, block[z, y, x], 0).astype(atlas.schema.dtype)

    return _warped(atlas.volume, placement, scan, (atlas.schema.dtype, take))


def _warped(atlas: Volume, placement: Placement, scan: Volume, kind: tuple[np.dtype[Any], Take]) -> Volume:
    dtype, take = kind
    number = placement.level(atlas, scan.voxel_size)
    level = atlas.levels[number]
    size = [one * by for one, by in zip(atlas.voxel_size, atlas.scale(number), strict=True)]

    def read_box(region: Region) -> npt.NDArray[Any]:
        out = np.empty(extent(region), dtype)
        for part in block_grid(extent(region), _BLOCK):
            microns = placement.microns(shifted(part, region), scan.voxel_size)
            out[part] = take(level, microns / microns.new_tensor(size) - 0.5)
        return out

    return Volume((DiskArray(scan.shape, dtype, read_box),), scan.voxel_size, atlas.name)


def _around(places: Tensor, shape: tuple[int, ...]) -> Region:
    """The voxels of an array of ``shape`` that ``places`` lie between; one at least."""
    flat = places.reshape(-1, 3)
    low, high = flat.amin(0).floor().long().tolist(), flat.amax(0).ceil().long().tolist()
    z, y, x = (
        slice(min(max(first, 0), size - 1), max(min(last + 1, size), min(max(first, 0), size - 1) + 1))
        for first, last, size in zip(low, high, shape, strict=True)
    )
    return z, y, x
