"""PatchReader: random patches of many label maps and their scans, a function of (seed, step), read ahead of need."""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .lazy import DiskArray
from .organ_index import CELL
from .volume import Region, Shape, extent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .body import Body
    from .channels import Channels
    from .organ_index import OrganIndex
    from .volume import LazyArray

    #: Waits for what is being read.
    Wait: TypeAlias = "Callable[[], npt.NDArray[Any]]"

BUDGET = 256 * 2**20  # bytes of blocks that are held, or being read; decoded chunks have a cache of their own
_AHEAD = 2  # steps at most: with 8, chunks that are being decoded took 500 MiB more, and nothing came sooner
_THREADS = 2  # for arrays that cannot be read without waiting


@dataclass(frozen=True)
class Pair:
    """A scan and its labels, to take patches from.

    Attributes
    ----------
    image, labels
        Level 0 of each, of the same shape (z, y, x).
    index
        Of ``labels``.
    organs
        Ids of the organs that patches are centred on; those that ``index`` does not know are left out.
    body
        Where other patches are centred.
    soft
        The soft labels that come with each patch, of the same (z, y, x), where there are any.
    """

    image: LazyArray
    labels: LazyArray
    index: OrganIndex
    organs: tuple[int, ...]
    body: Body
    soft: Channels | None = None

    @cached_property
    def present(self) -> tuple[int, ...]:
        return tuple(organ for organ in self.organs if self.index.total(organ))


@dataclass(frozen=True)
class Recipe:
    """How patches are drawn.

    Attributes
    ----------
    size
        Of a patch, voxels, (z, y, x).
    rows
        Patches in a batch, each of a pair of its own choice.
    foreground
        Share of the patches that are centred on an organ, every organ of a pair equally often.
    patches_per_block
        How many patches are taken from one block that is read. They serve as many steps one after the other, never one
        batch, and their middles lie in one cell of 32³ voxels, so that a training sees fewer places in as many steps;
        each patch alone is as likely as with 1.
    """

    size: Shape
    rows: int
    foreground: float = 0.7
    patches_per_block: int = 1


@dataclass(frozen=True)
class Patch:
    """One patch.

    Attributes
    ----------
    pair
        The number of the pair that it is of.
    region
        Where it lies; beyond the volume where that is smaller than a patch.
    image, labels
        (z, y, x), read only; beyond the volume its edge goes on.
    soft
        Likewise, (classes, z, y, x) uint8, where the pair has soft labels.
    """

    pair: int
    region: Region
    image: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    soft: npt.NDArray[np.uint8] | None = None


class PatchReader:
    """Batches of patches: the same for the same pairs, recipe, seed and step, wherever one begins.

    A patch lies around a voxel of a random organ, or one in the body; moved by up to a quarter of its size at
    random, and in the volume if it fits there.

    Parameters
    ----------
    seed
        Numbers from 0 on.
    budget
        Bytes of blocks from which on no further step is read ahead. The blocks of one step are held in any case:
        ``rows`` patches, or ``rows`` boxes of up to 1.5 patches and a cell a side where a block serves several.
    """

    def __init__(self, pairs: Sequence[Pair], recipe: Recipe, seed: tuple[int, ...], budget: int = BUDGET) -> None:
        self.pairs, self.recipe = tuple(pairs), recipe
        self._seed, self._budget = seed, budget

    def read(self, step: int) -> tuple[Patch, ...]:
        """The batch of ``step``.

        Raises
        ------
        InvalidVolume
            If anything read is damaged.
        """
        return next(self.play(step, ahead=0))

    def play(self, first: int, every: int = 1, ahead: int = _AHEAD) -> Iterator[tuple[Patch, ...]]:
        """The batches of steps ``first``, ``first + every``, …; while one is used, the next ``ahead`` are being read.

        Raises
        ------
        InvalidVolume
            If anything read is damaged.
        """
        held: dict[tuple[int, int], _Block] = {}
        begun = first
        with ThreadPoolExecutor(_THREADS) as threads:  # no thread is made before it has something to do
            for step in itertools.count(first, every):
                while begun <= step + ahead * every and (begun <= step or _size(held) < self._budget):
                    self._begin(begun, held, threads)
                    begun += every
                yield tuple(held[key].patch(place) for key, place in self._keys(step))
                held = {key: block for key, block in held.items() if self._last(key) > step}

    def _begin(self, step: int, held: dict[tuple[int, int], _Block], threads: ThreadPoolExecutor) -> None:
        for key, _ in self._keys(step):
            if key not in held:
                held[key] = self._begin_block(key, threads)

    def _keys(self, step: int) -> list[tuple[tuple[int, int], int]]:
        """For each row of a batch ((row, number of its block), place in that block); rows change blocks in turn."""
        count, rows = self.recipe.patches_per_block, self.recipe.rows
        turns = [step + row * count // rows for row in range(rows)]
        return [((row, turn // count), turn % count) for row, turn in enumerate(turns)]

    def _last(self, key: tuple[int, int]) -> int:
        """The last step that wants the block of ``key``."""
        (row, number), count = key, self.recipe.patches_per_block
        return (number + 1) * count - 1 - row * count // self.recipe.rows

    def _begin_block(self, key: tuple[int, int], threads: ThreadPoolExecutor) -> _Block:
        rng = np.random.default_rng((*self._seed, *key, 1))  # the 1: trailing zeros would not tell seeds apart
        number = int(rng.integers(len(self.pairs)))
        pair = self.pairs[number]
        regions = draw_regions(pair, self.recipe, rng)
        box = _around(regions, pair.index.shape)
        waits = [_begin(array, box, threads) for array in (pair.image, pair.labels)]
        deep = pair.image.dtype.itemsize + pair.labels.dtype.itemsize
        if pair.soft is not None:
            waits.append(pair.soft.begin_box(box))
            deep += pair.soft.count
        return _Block(number, regions, box, deep * math.prod(extent(box)), tuple(waits))


def read_patch(array: LazyArray, region: Region) -> npt.NDArray[Any]:
    """``region`` of ``array``; where it reaches beyond, the edge is repeated."""
    z, y, x = array.shape
    box = _around((region,), (z, y, x))
    return _cut(np.asarray(array[box]), box, region)


def draw_regions(pair: Pair, recipe: Recipe, rng: np.random.Generator) -> tuple[Region, ...]:
    """Where the patches of one block lie, as many as ``recipe`` takes of one; reads one cell of the labels at most."""
    count = recipe.patches_per_block
    if pair.present and rng.random() < recipe.foreground:
        organ = pair.present[int(rng.integers(len(pair.present)))]
        middles = pair.index.draw(rng, organ, pair.labels, count)
    else:
        middles = _draw_in_body(pair.body, rng, count)
    moves = [rng.integers(-(size // 4), size // 4 + 1, count) for size in recipe.size]
    starts = middles + np.stack(moves, axis=1) - [size // 2 for size in recipe.size]
    return tuple(_place(start, recipe.size, pair.index.shape) for start in starts)


def _draw_in_body(body: Body, rng: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
    """``count`` voxels of one cell of the body's box, the first of them in the body."""
    first = body.draw(rng)
    cells = [(at - (at - side.start) % CELL, side.stop) for at, side in zip(first, body.box, strict=True)]
    more = [rng.integers(start, min(start + CELL, stop), count - 1) for start, stop in cells]
    return np.concatenate([np.array([first]), np.stack(more, axis=1)])


def _place(start: npt.NDArray[np.int64], size: Shape, shape: Shape) -> Region:
    """A patch from about ``start`` on; in the volume, or around its middle where it is the larger one."""
    sides = []
    for at, length, total in zip(start, size, shape, strict=True):
        begin = min(max(int(at), 0), total - length) if total >= length else (total - length) // 2
        sides.append(slice(begin, begin + length))
    z, y, x = sides
    return z, y, x


def _around(regions: Sequence[Region], shape: Shape) -> Region:
    """The smallest box that holds all that there is in ``regions``."""
    z, y, x = (
        slice(max(0, min(side.start for side in sides)), min(total, max(side.stop for side in sides)))
        for sides, total in zip(zip(*regions, strict=True), shape, strict=True)
    )
    return z, y, x


@dataclass(frozen=True)
class _Block:
    """What is read at once; ``size`` in bytes."""

    pair: int
    regions: tuple[Region, ...]
    box: Region
    size: int
    waits: tuple[Wait, ...]

    @cached_property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """(image, labels), and soft labels if there are any, once they are there."""
        return tuple(wait() for wait in self.waits)

    def patch(self, place: int) -> Patch:
        region = self.regions[place]
        return Patch(self.pair, region, *(_cut(array, self.box, region) for array in self.arrays))


def _size(held: dict[tuple[int, int], _Block]) -> int:
    return sum(block.size for block in held.values())


def _begin(array: LazyArray, box: Region, threads: ThreadPoolExecutor) -> Wait:
    """Begin to read ``box``; what lies in memory is there already."""
    if not isinstance(array, DiskArray):
        return lambda: np.asarray(array[box])
    return array.begin_box(box) if array.begin_box else threads.submit(array.read_box, box).result


def _cut(block: npt.NDArray[Any], box: Region, region: Region) -> npt.NDArray[Any]:
    """``region`` of a ``block`` (…, z, y, x) that lies at ``box``; where it reaches beyond, the edge is repeated."""
    z, y, x = (
        slice(max(side.start, b.start) - b.start, min(side.stop, b.stop) - b.start)
        for side, b in zip(region, box, strict=True)
    )
    margin = [(max(b.start - r.start, 0), max(r.stop - b.stop, 0)) for b, r in zip(box, region, strict=True)]
    part = block[..., z, y, x]
    margin = [(0, 0)] * (part.ndim - 3) + margin
    part = np.pad(part, margin, mode="edge") if any(map(any, margin)) else part[:]
    part.flags.writeable = False
    return part
