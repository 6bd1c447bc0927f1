"""Conversion: a scan on its way into a pyramid on the disk, block by block; a crash costs a few blocks."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.job import Progress

from .atomic import sync_folder, sync_tree
from .ledger import Ledger, read_notes
from .pyramid import average, finer_block, plan_levels, write_image_group
from .store_array import (
    SCAN_SHARD,
    Layout,
    begin_block,
    block_file,
    create_array,
    finish_block,
    lay_out,
    reopen_array,
    sync_block,
    writing,
)
from .tiles import block_grid
from .volume import extent, shifted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt
    import tensorstore

    from napari_medaka_kd.job import Job

    from .pyramid import Level
    from .volume import Shape, Volume

    #: What becomes of the voxels of a block before they are written.
    Change = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]

_SLAB_BYTES, _LARGEST_SLAB = 256 * 2**20, 512 * 2**20  # read at once from a scan that is stored as whole slices
_FLYING = 2  # blocks that are packed and written while the next one is read


class Conversion:
    """A scan on its way into a pyramid at ``folder``; a block that was finished is never made again.

    Level 1 is made of each block of level 0 while that is in memory, the coarser ones from the level before. The blocks
    of all levels are numbered on, but for those of level 1, which come with those of level 0.
    """

    def __init__(self, folder: Path, scan: Volume, dtype: np.dtype[Any], plan: dict[str, Any]) -> None:
        self.folder, self._scan = folder, scan
        self.levels = plan_levels(scan.shape, scan.voxel_size)
        self._layouts = _lay_out_levels(self.levels, dtype)
        with writing():
            self._ledger = Ledger(folder, plan)
        self._ledger.done &= {number for number in self._ledger.done if self._is_there(number)}
        resumed = bool(self._ledger.done)
        opened = [reopen_array(place) if resumed else create_array(place, layout) for place, layout in self._places()]
        self._stores: tuple[tensorstore.TensorStore, ...] = tuple(opened)
        if not resumed:
            sync_tree(folder)
            sync_folder(folder.parent)

    def copy(self, change: Change) -> Job[None]:
        """Write what is missing of levels 0 and 1.

        Raises
        ------
        InvalidVolume
            If the scan cannot be read, or ``change`` refuses a block.
        UserError
            If the disk does not take it.
        """
        layout, step = self._layouts[0], self.levels[1].step if len(self.levels) > 1 else None
        flying: deque[_Flying] = deque()
        todo = [number for number in range(len(layout.blocks)) if number not in self._ledger.done]
        try:
            for number, block in _read_blocks(self._scan, layout, todo):
                yield self._progress("Copying {}")
                values = change(block)
                parts = [values] if step is None else [values, average(values, step)]
                flying.append(self._begin(number, parts, digest(block)))
                while len(flying) > _FLYING:
                    self._finish(flying.popleft())
            while flying:
                self._finish(flying.popleft())
        finally:
            for begun in flying:
                begun.wait()

    def build(self) -> Job[None]:
        """Write what is missing of the levels from 2 on, each from the one before."""
        for place in range(2, len(self.levels)):
            for index, region in enumerate(self._layouts[place].blocks):
                number = self._first(place) + index
                if number not in self._ledger.done:
                    yield self._progress(f"Coarser levels of {{}}: {place} of {len(self.levels) - 1}")
                    block = finer_block(self._stores[place - 1], region, self.levels[place].step, average)
                    self._finish(self._begin(number, [block], ""))

    def complete(self, facts: dict[str, Any]) -> None:
        """Write the metadata, with a checksum of all voxels that were read among ``facts``."""
        notes = read_notes(self.folder)
        sums = "".join(notes[number]["sha256"] for number in range(len(self._layouts[0].blocks)))
        told = facts | {"voxels_sha256": hashlib.sha256(sums.encode()).hexdigest()}
        image = {"name": self._scan.name, "type": "mean", "voxel_size": self._scan.voxel_size}
        write_image_group(self.folder, self.levels, image, {}, {"source": told})

    def close(self) -> None:
        """Let go of it; it can be resumed."""
        self._ledger.close()

    # ---- inside ------------------------------------------------------------------------------------------------

    def _places(self) -> list[tuple[Path, Layout]]:
        return [(self.folder / str(place), layout) for place, layout in enumerate(self._layouts)]

    def _first(self, place: int) -> int:
        """The number of the first block of that level."""
        return sum(len(layout.blocks) for number, layout in enumerate(self._layouts[:place]) if number != 1)

    def _targets(self, number: int) -> list[tuple[int, int]]:
        """(level, block of that level) of what is written for block ``number``."""
        if number < len(self._layouts[0].blocks):
            return [(place, number) for place in range(min(2, len(self.levels)))]
        place = max(place for place in range(2, len(self.levels)) if self._first(place) <= number)
        return [(place, number - self._first(place))]

    def _is_there(self, number: int) -> bool:
        files = [
            block_file(self.folder / str(place), self._layouts[place], self._layouts[place].blocks[index])
            for place, index in self._targets(number)
        ]
        return all(file.is_file() and file.stat().st_size > 0 for file in files)

    def _begin(self, number: int, parts: Sequence[npt.NDArray[Any]], checksum: str) -> _Flying:
        futures = [
            begin_block(self._stores[place], self._layouts[place].blocks[index], part)
            for (place, index), part in zip(self._targets(number), parts, strict=True)
        ]
        return _Flying(number, futures, checksum)

    def _finish(self, begun: _Flying) -> None:
        """Wait until a block is on the disk, and note it."""
        for future in begun.futures:
            finish_block(future)
        with writing():
            for place, index in self._targets(begun.number):
                sync_block(self.folder / str(place), self._layouts[place], self._layouts[place].blocks[index])
            self._ledger.finish(begun.number, **({"sha256": begun.checksum} if begun.checksum else {}))

    def _progress(self, doing: str) -> Progress:
        total = self._first(len(self.levels))
        return Progress(doing.format(self._scan.name or "the scan"), len(self._ledger.done), total)


class _Flying:
    """A block that is being written."""

    def __init__(self, number: int, futures: list[tensorstore.WriteFutures], checksum: str) -> None:
        self.number, self.futures, self.checksum = number, futures, checksum

    def wait(self) -> None:
        """Nobody shall write any more when the folder is left or removed."""
        for future in self.futures:
            future.exception()


def digest(block: npt.NDArray[Any]) -> str:
    """SHA-256 of the voxels of ``block``, in C order and little-endian."""
    plain = np.ascontiguousarray(block, block.dtype.newbyteorder("<"))
    return hashlib.sha256(plain.data if plain.dtype.isnative else plain.tobytes()).hexdigest()


def _lay_out_levels(levels: tuple[Level, ...], dtype: np.dtype[Any]) -> list[Layout]:
    """Shards of 16.8 M voxels; those of level 1 each hold what becomes of one shard of level 0."""
    fine = lay_out(levels[0].shape, dtype, SCAN_SHARD, "bits")
    layouts = [fine]
    for place, level in enumerate(levels[1:], start=1):
        layouts.append(lay_out(level.shape, dtype, _under(fine, level) if place == 1 else SCAN_SHARD, "bits"))
    return layouts


def _under(fine: Layout, level: Level) -> Shape:
    """What is left of a shard of ``fine`` at the level after it; of an only one, all."""
    z, y, x = (
        shard // by if shard < size else shard
        for shard, size, by in zip(fine.shard, fine.shape, level.step, strict=True)
    )
    return z, y, x


def _read_blocks(volume: Volume, layout: Layout, todo: Sequence[int]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """(number, voxels) of the blocks ``todo``; whole slabs are read where a part of a slice costs as much as all."""
    numbers = {tuple(side.start for side in region): number for number, region in enumerate(layout.blocks)}
    missing = set(todo)
    for outer in block_grid(layout.shape, _slab(volume, layout)):
        inner = [(part, shifted(part, outer)) for part in block_grid(extent(outer), layout.shard)]
        wanted = [(part, numbers[tuple(side.start for side in region)]) for part, region in inner]
        wanted = [(part, number) for part, number in wanted if number in missing]
        if wanted:
            read = volume.read(outer)
            for part, number in wanted:
                yield number, np.ascontiguousarray(read[part])
            del read  # before the next one is read: two slabs would be twice the memory


def _slab(volume: Volume, layout: Layout) -> Shape:
    deep, wide, _ = layout.shard
    row = math.prod((deep, wide, layout.shape[2])) * volume.dtype.itemsize
    if not getattr(volume.levels[0], "reads_pages", False) or row > _LARGEST_SLAB:
        return layout.shard
    return deep, wide * max(1, _SLAB_BYTES // row), layout.shape[2]
