"""BodyMask: which parts of a scan hold the animal, coarsely; the rest is air or holder, and nobody need read it."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .atomic import replace_file
from .gate import LARGEST, refusing

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from .volume import Region, Shape

_MARGIN = 2  # coarse voxels around what was found, for what is fainter than the threshold
_LIMB = 0.01  # of the largest part; a smaller one is a speck
_KEPT = 16  # masks that were opened last: some 2 MB each
_LARGEST = 2**27  # coarse voxels of a file that is believed


@dataclass(frozen=True, eq=False)
class BodyMask:
    """Where the animal is.

    Attributes
    ----------
    coarse
        (z, y, x) bool, over the whole scan.
    shape
        Voxels of level 0 of the scan, (z, y, x).
    """

    coarse: npt.NDArray[np.bool_]
    shape: Shape

    def trim(self, region: Region) -> Region | None:
        """The smallest box in ``region``, voxels of level 0, with all that may be the animal's; ``None``: nothing."""
        scales = list(zip(region, self.shape, self.coarse.shape, strict=True))
        first = [side.start * count // size for side, size, count in scales]
        z, y, x = (
            slice(start, (side.stop - 1) * count // size + 1)
            for start, (side, size, count) in zip(first, scales, strict=True)
        )
        places = np.nonzero(self.coarse[z, y, x])
        if not places[0].size:
            return None
        z, y, x = (
            slice(
                max(side.start, -(-(start + int(place.min())) * size // count)),
                min(side.stop, -(-(start + int(place.max()) + 1) * size // count)),
            )
            for start, place, (side, size, count) in zip(first, places, scales, strict=True)
        )
        return z, y, x

    def inside(self, region: Region) -> npt.NDArray[np.bool_]:
        """Which voxels of ``region`` may be the animal's, (z, y, x)."""
        places = [
            np.arange(side.start, side.stop) * count // size
            for side, size, count in zip(region, self.shape, self.coarse.shape, strict=True)
        ]
        return self.coarse[np.ix_(*places)]

    def draw(self, random: np.random.Generator) -> tuple[int, int, int]:
        """A voxel of level 0 in the animal, each coarse voxel of it equally likely."""
        place = np.unravel_index(self._inside[random.integers(len(self._inside))], self.coarse.shape)
        z, y, x = (
            int((int(at) + random.random()) * size / count)
            for at, size, count in zip(place, self.shape, self.coarse.shape, strict=True)
        )
        return z, y, x

    def save(self, file: Path) -> None:
        """Write it to ``file`` (.npz), durably, in one step."""
        packed = io.BytesIO()
        bits = np.packbits(self.coarse)
        np.savez_compressed(packed, bits=bits, coarse=np.array(self.coarse.shape), shape=np.array(self.shape))
        replace_file(file, packed.getvalue())

    @cached_property
    def _inside(self) -> npt.NDArray[np.intp]:
        return np.flatnonzero(self.coarse)


def find_mask(bright: npt.NDArray[np.bool_], shape: Shape) -> BodyMask:
    """The mask of a scan of ``shape`` of whose overview ``bright`` is brighter than air: without specks and holes."""
    from scipy import ndimage

    parts, count = ndimage.label(bright)
    if count == 0:
        return BodyMask(np.ones_like(bright), shape)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    kept = (sizes >= _LIMB * sizes.max())[parts]
    return BodyMask(ndimage.binary_fill_holes(ndimage.binary_dilation(kept, iterations=_MARGIN)), shape)


def open_mask(file: Path) -> BodyMask | None:
    """The mask in ``file``; ``None`` where there is none.

    Raises
    ------
    InvalidVolume
        If it is damaged.
    """
    return _open_mask(file, file.stat().st_mtime_ns) if file.is_file() else None


@lru_cache(maxsize=_KEPT)
def _open_mask(file: Path, _: int) -> BodyMask:
    with (
        refusing(str(file), "Add the scan again."),
        file.open("rb") as opened,
        np.load(opened, allow_pickle=False) as data,
    ):
        coarse, shape = _sizes(data["coarse"], _LARGEST), _sizes(data["shape"], LARGEST)
        bits = np.unpackbits(data["bits"], count=math.prod(coarse))
    return BodyMask(bits.astype(bool).reshape(coarse), shape)


def _sizes(values: npt.NDArray[Any], most: int) -> Shape:
    z, y, x = (int(value) for value in values)
    if min(z, y, x) < 1 or z * y * x > most:
        raise ValueError(f"it claims {(z, y, x)} voxels")
    return z, y, x
