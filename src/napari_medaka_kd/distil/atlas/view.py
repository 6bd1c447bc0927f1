"""View: an animal as a small cube of fixed size, whatever its scan's size; what registration works on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_medaka_kd.networks.warp import lattice, sample
from napari_medaka_kd.volumes.body import normalise

if TYPE_CHECKING:
    from napari_medaka_kd.volumes.body import Body
    from napari_medaka_kd.volumes.volume import Region, Triple, Volume

_OVERVIEW = 16_000_000  # voxels of a scan that are read at most
_SMOOTH = 0.5  # sigma before sampling, in steps of the cube


@dataclass(frozen=True)
class Frame:
    """A cube around a body: its middle (z, y, x) and half its side, in µm. Places in it run from −1 to 1."""

    middle: Triple
    half: float

    @classmethod
    def around(cls, body: Body, voxel_size: Triple) -> Frame:
        """The smallest cube that holds the body's box."""
        sides = [(side.stop - side.start) * size for side, size in zip(body.box, voxel_size, strict=True)]
        z, y, x = ((side.start + side.stop) / 2 * size for side, size in zip(body.box, voxel_size, strict=True))
        return cls((z, y, x), max(sides) / 2)

    def places(self, microns: Tensor) -> Tensor:
        """(…, 3) µm → places."""
        return (microns - microns.new_tensor(self.middle)) / self.half

    def microns(self, places: Tensor) -> Tensor:
        """(…, 3) places → µm."""
        return places * self.half + places.new_tensor(self.middle)


@dataclass(frozen=True)
class View:
    """An animal in its frame.

    Attributes
    ----------
    image
        (1, 1, S, S, S) float32: intensities in the body's window, 0 … 1; 0 beyond the scan.
    air
        What surrounds the animal, as scanned.
    """

    frame: Frame
    image: Tensor
    air: float


def look(volume: Volume, body: Body, side: int) -> View:
    """See ``volume`` in a cube of ``side`` voxels; reads the body's box at one coarse level."""
    from scipy import ndimage

    frame = Frame.around(body, volume.voxel_size)
    level = _level(volume, body, 2 * frame.half / side)
    scale = volume.scale(level)
    box = _coarse(body.box, scale, volume.levels[level].shape)
    block = volume.read(box, level)
    size = [one * by for one, by in zip(volume.voxel_size, scale, strict=True)]
    blur = [_SMOOTH * 2 * frame.half / side / each for each in size]
    seen = np.clip(normalise(block, body.window), 0, 1)
    image = torch.from_numpy(ndimage.gaussian_filter(seen, [b if b > _SMOOTH else 0 for b in blur], mode="nearest"))
    microns = frame.microns(lattice((side,) * 3, image))
    first, length = microns.new_tensor([s.start for s in box]), microns.new_tensor(block.shape)
    places = 2 * (microns / microns.new_tensor(size) - first) / length - 1
    air = float(np.nanpercentile(block.astype(np.float32), 1))
    return View(frame, sample(image[None, None], places[None], "zeros"), air)


def _level(volume: Volume, body: Body, step: float) -> int:
    """The coarsest level with voxels no larger than ``step`` µm, or the finest that is small enough to be read."""
    inside = math.prod(side.stop - side.start for side in body.box)
    shares = [math.prod(volume.scale(level)) for level in range(len(volume.levels))]
    small = next((level for level, share in enumerate(shares) if inside / share <= _OVERVIEW), len(shares) - 1)
    fine = [
        level
        for level in range(len(volume.levels))
        if max(a * b for a, b in zip(volume.voxel_size, volume.scale(level), strict=True)) <= step
    ]
    return max(small, *fine) if fine else small


def _coarse(box: Region, scale: Triple, shape: tuple[int, ...]) -> Region:
    z, y, x = (
        slice(int(side.start // by), min(size, max(int(side.start // by) + 1, math.ceil(side.stop / by))))
        for side, by, size in zip(box, scale, shape, strict=True)
    )
    return z, y, x
