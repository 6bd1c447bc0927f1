"""OrganIndex: how many voxels of which organ lie in each 32³ cell of a label map, so that none is searched for."""

from __future__ import annotations

import io
import math
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from napari_medaka_kd import processes
from napari_medaka_kd.errors import InvalidVolume

from .atomic import replace_file
from .tiles import block_grid
from .volume import Region, Shape, Volume, extent, whole

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .labels import LabelMap
    from .volume import LazyArray

CELL = 32  # voxels along each side of a cell: the chunks that we write, so that one read finds a voxel
ORGANS = "organs.npz"
_BLOCK = (256, 256, 256)  # read at a time where a whole label map is counted: 16 MiB of uint8
_MOST_BYTES = 2**30  # of a file: over 10⁸ pairs of a cell and an organ
_TYPES = {"shape": np.int64, "organs": np.uint16, "starts": np.int64, "cells": np.uint32, "voxels": np.uint16}


@dataclass(frozen=True)
class OrganIndex:
    """Which organs lie where, to the nearest cell; 6 bytes for each cell and organ in it.

    Attributes
    ----------
    shape
        (z, y, x) of the label map.
    organs
        (n,) uint16: the ids that it holds, rising, without 0.
    starts
        (n + 1,) int64: ``cells[starts[i] : starts[i + 1]]`` hold ``organs[i]``.
    cells
        uint32: numbers of cells, z slowest, rising for each organ.
    voxels
        uint16: how many voxels of the organ are in the cell, 1 … 32³.
    """

    shape: Shape
    organs: npt.NDArray[np.uint16]
    starts: npt.NDArray[np.int64]
    cells: npt.NDArray[np.uint32]
    voxels: npt.NDArray[np.uint16]

    @classmethod
    def from_counts(cls, shape: Shape, counts: npt.NDArray[np.int64]) -> Self:
        """Of rows of (organ, cell, voxels), in any order, (n, 3)."""
        counts = counts[np.lexsort((counts[:, 1], counts[:, 0]))]
        organs, starts = np.unique(counts[:, 0], return_index=True)
        bounds = np.append(starts, len(counts)).astype(np.int64)
        cells, voxels = counts[:, 1].astype(np.uint32), counts[:, 2].astype(np.uint16)
        return cls(shape, organs.astype(np.uint16), bounds, cells, voxels)

    def counts(self) -> npt.NDArray[np.int64]:
        """Rows of (organ, cell, voxels), by rising organ and cell, (n, 3)."""
        organs = np.repeat(self.organs, np.diff(self.starts))
        return np.stack([organs, self.cells, self.voxels], axis=1).astype(np.int64)

    def total(self, organ: int) -> int:
        """How many voxels ``organ`` has."""
        found = self._sums.get(organ)
        return int(found[-1]) if found is not None else 0

    def draw(self, rng: np.random.Generator, organ: int, labels: LazyArray, count: int = 1) -> npt.NDArray[np.int64]:
        """``count`` voxels of ``organ``, (count, 3) as (z, y, x), all from one cell; reads that cell.

        Each of them is any voxel of the organ with the same probability.

        Parameters
        ----------
        labels
            Level 0 of the label map that this is the index of.

        Raises
        ------
        InvalidVolume
            If the labels are not those that were counted.
        """
        sums = self._sums[organ]
        rank = int(rng.integers(sums[-1]))
        place = int(np.searchsorted(sums, rank, side="right"))
        box = _box(int(self.cells[self.starts[np.searchsorted(self.organs, organ)] + place]), self.shape)
        before, behind = int(sums[place - 1]) if place else 0, int(sums[place])
        found = np.flatnonzero(np.asarray(labels[box]) == organ)
        if len(found) != behind - before:
            raise InvalidVolume(
                f"The label map has {len(found)} voxels of organ {organ} where {behind - before} were counted.",
                f"It was changed from outside: remove the {ORGANS!r} beside it.",
            )
        ranks = np.append(rank - before, rng.integers(len(found), size=count - 1))
        voxels: npt.NDArray[np.int64] = np.stack(np.unravel_index(found[ranks], extent(box)), axis=1)
        return voxels + np.array([side.start for side in box], np.int64)

    @cached_property
    def _sums(self) -> dict[int, npt.NDArray[np.int64]]:
        """For each organ its voxels in its first cell, in the first two, and so on."""
        return {
            int(organ): np.cumsum(self.voxels[start:stop], dtype=np.int64)
            for organ, start, stop in zip(self.organs, self.starts, self.starts[1:], strict=False)
        }


def index_of(labels: LabelMap) -> OrganIndex:
    """The index of ``labels``: the one that is kept beside them, or made now, in one pass over level 0."""
    return labels.index() if labels.index is not None else count_organs(labels.volume)


def count_organs(labels: Volume) -> OrganIndex:
    """Count the organs of a label map block by block: in 256³ voxels at a time, or in whole slices."""
    array, (_, y, x) = labels.levels[0], labels.shape
    block = (CELL, y, x) if getattr(array, "reads_pages", False) else _BLOCK
    found = [count_block(box, np.asarray(array[box]), labels.shape) for box in block_grid(labels.shape, block)]
    return OrganIndex.from_counts(labels.shape, np.concatenate(found))


def count_block(region: Region, block: npt.NDArray[Any], shape: Shape) -> npt.NDArray[np.int64]:
    """Rows of (organ, cell, voxels) of one block of labels, (n, 3).

    Parameters
    ----------
    region
        Where ``block`` lies in the label map of ``shape``: it begins where cells begin, and ends where they end.
    """
    z, y, x = block.shape
    rows = [np.empty((0, 3), np.int64)]
    for part in block_grid((z, y, x), (CELL, CELL, CELL)):
        labels = block[part]
        if labels.any():
            voxels = np.bincount(labels.ravel())
            organs = np.flatnonzero(voxels[1:]) + 1
            at = [side.start + inner.start for side, inner in zip(region, part, strict=True)]
            cell = np.full(len(organs), _number((at[0], at[1], at[2]), shape))
            rows.append(np.stack([organs, cell, voxels[organs]], axis=1))
    return np.concatenate(rows)


def recount(index: OrganIndex, labels: LazyArray, cells: npt.NDArray[np.int64]) -> OrganIndex:
    """``index`` with the cells of the numbers ``cells`` counted anew in ``labels`` (level 0), cell by cell."""
    kept = index.counts()
    kept = kept[~np.isin(kept[:, 1], cells)]
    boxes = [_box(int(cell), index.shape) for cell in cells]
    found = [count_block(box, np.asarray(labels[box]), index.shape) for box in boxes]
    return OrganIndex.from_counts(index.shape, np.concatenate([kept, *found]))


def cells_in(regions: Iterable[Region], shape: Shape) -> npt.NDArray[np.int64]:
    """Numbers of the cells of a label map of ``shape`` that ``regions`` touch, rising."""
    grid = np.arange(math.prod(_grid(shape)), dtype=np.int64).reshape(_grid(shape))
    touched = [
        grid[tuple(slice(side.start // CELL, -(-side.stop // CELL)) for side in region)].ravel() for region in regions
    ]
    return np.unique(np.concatenate([np.empty(0, np.int64), *touched]))


def keep_index(folder: Path, index: OrganIndex) -> None:
    """Write ``index`` beside the label map in ``folder``, in one step.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    stream = io.BytesIO()
    arrays = {name: np.asarray(getattr(index, name), kind) for name, kind in _TYPES.items()}
    np.savez(stream, allow_pickle=False, **arrays)
    replace_file(folder / ORGANS, stream.getvalue())


def kept_index(folder: Path, shape: Shape) -> OrganIndex | None:
    """The index beside the label map of ``shape`` in ``folder``; ``None`` where there is none, or a damaged one."""
    path = folder / ORGANS
    try:
        if path.is_symlink() or path.stat().st_size > _MOST_BYTES:
            return None
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            counted, *arrays = (_member(file, name) for name in _TYPES)
        index = OrganIndex(shape, *arrays)
        return index if tuple(counted) == shape and _is_sound(index) else None
    except (OSError, ValueError, KeyError, MemoryError, EOFError, zipfile.BadZipFile):
        return None


def index_beside(folder: Path, labels: Volume) -> OrganIndex:
    """The index kept in ``folder``, which holds ``labels`` for good; where there is none it is made, and kept."""
    index = kept_index(folder, labels.shape)
    if index is None:
        index = count_organs(labels)
        with suppress(OSError):  # a disk that takes nothing costs a pass each time
            if processes.first():
                keep_index(folder, index)
    return index


def _member(file: Any, name: str) -> npt.NDArray[Any]:
    """One array of the file, refused before it takes more room than a file may."""
    if file.zip.getinfo(f"{name}.npy").file_size > _MOST_BYTES:
        raise ValueError(f"{name!r} is larger than any index")
    array: npt.NDArray[Any] = file[name]
    if array.dtype != _TYPES[name] or array.ndim != 1:
        raise ValueError(f"{name!r} is {array.dtype} with {array.ndim} axes")
    return array


def _is_sound(index: OrganIndex) -> bool:
    starts, cells = index.starts, index.cells
    return bool(
        len(starts) == len(index.organs) + 1
        and starts[0] == 0
        and starts[-1] == len(cells) == len(index.voxels)
        and (np.diff(starts) > 0).all()
        and (np.diff(index.organs.astype(np.int64)) > 0).all()
        and (index.organs > 0).all()
        and (cells < math.prod(_grid(index.shape))).all()
        and ((index.voxels > 0) & (index.voxels <= CELL**3)).all()
    )


def _grid(shape: Shape) -> Shape:
    z, y, x = (-(-size // CELL) for size in shape)
    return z, y, x


def _number(start: Shape, shape: Shape) -> int:
    """Of the cell that begins at ``start``."""
    _, rows, columns = _grid(shape)
    z, y, x = (at // CELL for at in start)
    return (z * rows + y) * columns + x


def _box(cell: int, shape: Shape) -> Region:
    """The voxels of cell number ``cell``."""
    _, rows, columns = _grid(shape)
    at = (cell // (rows * columns), cell // columns % rows, cell % columns)
    z, y, x = (
        slice(place * CELL, min((place + 1) * CELL, side.stop)) for place, side in zip(at, whole(shape), strict=True)
    )
    return z, y, x
