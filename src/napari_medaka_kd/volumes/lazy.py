"""DiskArray: an array that lives elsewhere and is read box by box. What every reader makes."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .gate import check_ids
from .volume import Region, Shape, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from .labels import LabelSchema

#: Reads a box (slices with start and stop, inside the array) into memory.
ReadBox: TypeAlias = "Callable[[Region], npt.NDArray[Any]]"
#: Begins to read a box, and returns at once what waits for it.
BeginBox: TypeAlias = "Callable[[Region], Callable[[], npt.NDArray[Any]]]"


@dataclass(frozen=True)
class DiskArray:
    """A (z, y, x) array that reads only the box it is asked for.

    Attributes
    ----------
    read_box
        Does the reading.
    reads_pages
        Whether a part of a z-slice costs as much as the whole slice: such an array is best read slab by slab.
    begin_box
        Like ``read_box``, but without waiting; ``None`` where reading cannot go on by itself.
    """

    shape: Shape
    dtype: np.dtype[Any]
    read_box: ReadBox
    reads_pages: bool = False
    begin_box: BeginBox | None = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __getitem__(self, index: Any, /) -> npt.NDArray[Any]:
        """Basic NumPy indexing: integers, slices with any step, Ellipsis."""
        box, rest = _split(index, self.shape)
        empty = any(side.stop <= side.start for side in box)
        block = np.empty([max(side.stop - side.start, 0) for side in box], self.dtype) if empty else self.read_box(box)
        part: npt.NDArray[Any] = block[rest]
        return part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self.read_box(whole(self.shape)).astype(dtype or self.dtype, copy=bool(copy))


def orient(array: DiskArray, axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> DiskArray:
    """``array`` with its axes in another order and direction.

    Parameters
    ----------
    axes
        For z, y, x of the result the axis of ``array`` that it is.
    flips
        For z, y, x of the result whether it runs backwards.
    """
    z, y, x = (array.shape[axis] for axis in axes)

    def read_box(box: Region) -> npt.NDArray[Any]:
        inner: list[slice] = [slice(0)] * 3
        for side, axis, flip in zip(box, axes, flips, strict=True):
            size = array.shape[axis]
            inner[axis] = slice(size - side.stop, size - side.start) if flip else side
        block = array.read_box((inner[0], inner[1], inner[2])).transpose(axes)
        return block[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]

    return DiskArray((z, y, x), array.dtype, read_box, array.reads_pages and axes[0] == 0)


def convert(array: DiskArray, dtype: np.dtype[Any], change: ReadChange) -> DiskArray:
    """``array`` with ``change`` applied to each block that is read, which makes it of ``dtype``."""
    begin = array.begin_box

    def begin_box(box: Region) -> Callable[[], npt.NDArray[Any]]:
        assert begin is not None
        read = begin(box)
        return lambda: change(read())

    return DiskArray(
        array.shape, dtype, lambda box: change(array.read_box(box)), array.reads_pages, begin_box if begin else None
    )


def as_ids(array: DiskArray, schema: LabelSchema, name: str) -> DiskArray:
    """``array`` as organ ids in the schema's type; a read that meets an unknown id is an InvalidVolume."""
    if array.dtype == schema.dtype:
        return array

    def change(block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        check_ids(block, schema, name)
        return block.astype(schema.dtype)

    return convert(array, schema.dtype, change)


ReadChange: TypeAlias = "Callable[[npt.NDArray[Any]], npt.NDArray[Any]]"


def _split(index: Any, shape: Shape) -> tuple[Region, tuple[Any, ...]]:
    """(the box to read, what is left to be indexed in it)."""
    given = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in given:
        at = given.index(Ellipsis)
        given[at : at + 1] = [slice(None)] * (len(shape) - len(given) + 1)
    if len(given) > len(shape):
        raise IndexError(f"{len(given)} indices for an array with {len(shape)} axes")
    given += [slice(None)] * (len(shape) - len(given))
    sides = [_split_side(side, size) for side, size in zip(given, shape, strict=True)]
    (z, y, x), rest = zip(*sides, strict=True)
    return (z, y, x), rest


def _split_side(side: Any, size: int) -> tuple[slice, Any]:
    if not isinstance(side, slice):
        at = operator.index(side)
        if not -size <= at < size:
            raise IndexError(f"index {at} is outside an axis of {size}")
        return slice(at % size, at % size + 1), 0
    chosen = range(*side.indices(size))
    if not chosen:
        return slice(0, 0), slice(None)
    if chosen.step > 0:
        return slice(chosen[0], chosen[-1] + 1), slice(None, None, chosen.step)
    return slice(chosen[-1], chosen[0] + 1), slice(None, None, chosen.step)
