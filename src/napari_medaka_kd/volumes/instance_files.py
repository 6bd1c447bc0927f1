"""Things as people have them: label maps of instance ids in one or several files, or stacks of masks.

An id counts within its own layer: things of different layers are different things, and may lie over each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.errors import InvalidVolume, UserError

from .instances import MOST, Instance, instance
from .open import open_volume
from .tiles import block_grid
from .volume import Volume, extent, hull, shifted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from .volume import Region, Shape, Triple

_BLOCK = (128, 512, 512)  # voxels that are looked at a time
_SMALL = 1_000_000  # ids up to here are looked for without sorting


def open_layers(files: Sequence[Path], scan: Volume, voxel_size: Triple | None = None) -> tuple[Volume, ...]:
    """The layers that ``files`` hold: each a label map, or several, one after the other along z, as masks often are.

    Raises
    ------
    UserError
        If one has neither the scan's shape nor is a stack of it.
    InvalidVolume
        If the gate refuses one.
    """
    return tuple(layer for file in files for layer in _layers(open_volume(file, voxel_size), scan, file))


def things_of_layers(layers: Sequence[Volume]) -> tuple[Instance, ...]:
    """The things of ``layers``, by layer and rising id; read block by block, kept in boxes of their own.

    Raises
    ------
    InvalidVolume
        If one holds what is no id: less than 0, or no whole number.
    UserError
        If there is nothing, or more than 65 535 things.
    """
    found = [thing for layer in layers for thing in things_in(layer).values()]
    if not found:
        raise UserError("The label maps of things hold nothing but 0.", "Give maps in which each thing has an id.")
    if len(found) > MOST:
        raise UserError(f"{len(found)} things are too many for a scan.", f"A scan may hold {MOST}: cut it into parts.")
    return tuple(found)


def things_in(layer: Volume) -> dict[int, Instance]:
    """The things of one label map, by rising id."""
    made = {
        which: instance(_ids(layer, box) == which, (box[0].start, box[1].start, box[2].start))
        for which, box in sorted(boxes_in(layer).items())
    }
    return {which: thing for which, thing in made.items() if thing is not None}


def boxes_in(layer: Volume) -> dict[int, Region]:
    """By id the box of each thing of a label map, read block by block."""
    found: dict[int, Region] = {}
    for block in block_grid(layer.shape, _BLOCK):
        for which, box in _boxes(_ids(layer, block)):
            moved = shifted(box, block)
            found[which] = hull(found[which], moved) if which in found else moved
    return found


def farthest(boxes: Iterable[Region]) -> int:
    """How far in voxels the largest of some things goes from its middle along any axis; 0 where there is none."""
    return max((-(-side // 2) for box in boxes for side in extent(box)), default=0)


def _layers(volume: Volume, scan: Volume, file: Path) -> Iterator[Volume]:
    (slices, *section), depth = volume.shape, scan.shape[0]
    if slices % depth or tuple(section) != scan.shape[1:]:
        raise UserError(
            f"{str(file)!r} has {volume.shape} voxels (z, y, x), the scan {scan.shape}.",
            "Give label maps that were drawn on this very scan, in a file each or one after the other along z.",
        )
    for first in range(0, slices, depth):
        yield Volume((_Part(volume, first, scan.shape),), scan.voxel_size, volume.name)


class _Part:
    """A stretch of a stack along z, as a volume of its own."""

    def __init__(self, stack: Volume, first: int, shape: Shape) -> None:
        self.stack, self.first, self.shape = stack, first, shape
        self.dtype = stack.dtype

    def __getitem__(self, region: Any) -> npt.NDArray[Any]:
        z, y, x = (slice(*side.indices(size)) for side, size in zip(region, self.shape, strict=True))
        return self.stack.read((slice(self.first + z.start, self.first + z.stop), y, x))


def _ids(layer: Volume, region: Region) -> npt.NDArray[np.int64]:
    block = layer.read(region)
    if block.dtype == bool or np.issubdtype(block.dtype, np.unsignedinteger):
        return block.astype(np.int64)
    with np.errstate(invalid="ignore"):
        ids = block.astype(np.int64)
    if (ids != block).any() or ids.min(initial=0) < 0:
        odd = block[(ids != block) | (ids < 0)].flat[0]
        raise InvalidVolume(
            f"{layer.name or 'A label map'!r} holds {odd}, which is no id of a thing.",
            "Ids are whole numbers from 1 on, and 0 is background.",
        )
    return ids


def _boxes(ids: npt.NDArray[np.int64]) -> Iterator[tuple[int, Region]]:
    from scipy import ndimage

    known = None
    if ids.max(initial=0) > _SMALL:
        known, places = np.unique(ids, return_inverse=True)
        ids = places.reshape(ids.shape) + 1
    for place, box in enumerate(ndimage.find_objects(ids)):
        which = place + 1 if known is None else int(known[place])
        if box is not None and which:
            yield which, (box[0], box[1], box[2])
