"""Picked: a part of an array that nobody has read yet. What napari is given, which picks twice before it reads."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from .volume import LazyArray, Volume


@dataclass(frozen=True)
class Picked:
    """A part of a (z, y, x) array: indexing picks from it, ``np.asarray`` reads what is left.

    napari (0.9) cuts what the canvas shows out of every slice of a level before it takes the one slice that it draws:
    an array that reads as soon as it is indexed reads the whole volume at each step.

    Attributes
    ----------
    array
        All of it.
    sides
        Along each of its axes the places that are picked, or the only one, which is then no axis any more.
    """

    array: LazyArray
    sides: tuple[range | int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(side) for side in self.sides if isinstance(side, range))

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __getitem__(self, index: Any, /) -> Any:
        """Basic NumPy indexing: integers, slices with any step, Ellipsis; a single voxel is read at once."""
        given = list(index) if isinstance(index, tuple) else [index]
        if Ellipsis in given:
            at = given.index(Ellipsis)
            given[at : at + 1] = [slice(None)] * (self.ndim - len(given) + 1)
        if len(given) > self.ndim:
            raise IndexError(f"{len(given)} indices for an array with {self.ndim} axes")
        wanted = iter(given)
        sides = (side if isinstance(side, int) else _pick(side, next(wanted, slice(None))) for side in self.sides)
        picked = Picked(self.array, tuple(sides))
        return picked if picked.ndim else np.asarray(picked)[()]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        read = np.asarray(self.array[tuple(side if isinstance(side, int) else _slice(side) for side in self.sides)])
        return read.astype(dtype or self.dtype, copy=bool(copy))


def for_napari(volume: Volume) -> list[Picked]:
    """The levels of ``volume``, nothing of them read."""
    return [Picked(level, tuple(range(size) for size in level.shape)) for level in volume.levels]


def same_source(one: Any, other: Any) -> bool:
    """Whether two arrays are one, or the same part of one."""
    if isinstance(one, Picked) and isinstance(other, Picked):
        return one.array is other.array and one.sides == other.sides
    return one is other


def _pick(side: range, index: Any) -> range | int:
    return side[index] if isinstance(index, slice) else side[operator.index(index)]


def _slice(side: range) -> slice:
    """Going down to the first place, a slice has no end."""
    if not side:
        return slice(0, 0)
    return slice(side.start, side.stop if side.stop >= 0 else None, side.step)
