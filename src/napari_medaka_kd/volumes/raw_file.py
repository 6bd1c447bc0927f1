"""Voxels that lie in one run of bytes in a file: read in place, or unpacked once where they are compressed."""

from __future__ import annotations

import bz2
import gzip
import math
import shutil
import tempfile
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from napari_medaka_kd.errors import InvalidVolume

from .gate import refusing

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from .volume import Region, Shape

Packing: TypeAlias = Literal["none", "gzip", "bzip2"]
_PIECE = 16 * 2**20  # bytes unpacked at a time
_MOST_TIMES = {"gzip": 1032, "zlib": 1032}  # as much as deflate can make of a byte: zlib, technical details
_IN_MEMORY = 256 * 2**20  # bytes; a larger unpacked file goes to a temporary file


@dataclass(frozen=True)
class Run:
    """Where the voxels lie.

    Attributes
    ----------
    offset
        Bytes before the first voxel; in the unpacked stream if ``packed_from`` is ``None``.
    packed_from
        Where in the file the compressed stream begins.
    order
        "F": the first axis of ``shape`` varies fastest; "C": the last one.
    """

    path: Path
    shape: Shape
    dtype: np.dtype[Any]
    offset: int
    order: Literal["F", "C"] = "F"
    packing: Packing = "none"
    packed_from: int = 0


class RawReader:
    """Reads boxes of a :class:`Run`; opens the file at the first read.

    A compressed file is unpacked once, at most as many bytes as its header promises, into memory or, above 256 MiB,
    into a temporary file that is gone when nobody reads it any more.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._array: npt.NDArray[Any] | None = None
        self._lock = threading.Lock()

    def __call__(self, box: Region) -> npt.NDArray[Any]:
        """The voxels of ``box``, in the machine's byte order.

        Raises
        ------
        InvalidVolume
            If the file is shorter than its header says, or damaged.
        """
        with self._lock, refusing(str(self.run.path)):
            if self._array is None:
                _check_room(self.run)
                self._array = _map(self.run) if self.run.packing == "none" else _unpack(self.run)
            return np.array(self._array[box], self.run.dtype.newbyteorder("="))


def _check_room(run: Run) -> None:
    """Refuse to unpack what the packed bytes cannot become, and what has no room on the disk."""
    size, packed = math.prod(run.shape) * run.dtype.itemsize, run.path.stat().st_size
    if run.packing in _MOST_TIMES and run.offset + size > _MOST_TIMES[run.packing] * packed:
        raise ValueError(f"its {packed:,} packed bytes cannot become the {size:,} that its header says")
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if run.packing != "none" and size > max(free, _IN_MEMORY):
        raise InvalidVolume(
            f"{str(run.path)!r} becomes {size:,} bytes, and {tempfile.gettempdir()!r} has room for {free:,}.",
            "Free some space, or unpack it yourself.",
        )


def _map(run: Run) -> npt.NDArray[Any]:
    missing = run.offset + _bytes(run) - run.path.stat().st_size
    if missing > 0:
        raise ValueError(f"{missing} bytes are missing at its end")
    return np.memmap(run.path, run.dtype, "r", run.offset, run.shape, run.order)


def _unpack(run: Run) -> npt.NDArray[Any]:
    size = _bytes(run)
    with run.path.open("rb") as packed:
        packed.seek(run.packed_from)
        with gzip.GzipFile(fileobj=packed) if run.packing == "gzip" else bz2.BZ2File(packed) as stream:
            stream.seek(run.offset)
            if size <= _IN_MEMORY:
                return _shape(run, np.frombuffer(_pull(stream, size), run.dtype))
            with tempfile.TemporaryFile() as file:
                for start in range(0, size, _PIECE):
                    file.write(_pull(stream, min(_PIECE, size - start)))
                file.flush()
                return _shape(run, np.memmap(file, run.dtype, "r"))


def _pull(stream: gzip.GzipFile | bz2.BZ2File, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise ValueError(f"{size - len(data)} bytes or more are missing at its end")
    return data


def _shape(run: Run, flat: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return flat.reshape(run.shape, order=run.order)


def _bytes(run: Run) -> int:
    return math.prod(run.shape) * run.dtype.itemsize
