"""Voxels that lie in one run of bytes in a file: read in place, or unpacked once where they are compressed."""

from __future__ import annotations

import bz2
import gzip
import math
import mmap
import shutil
import tempfile
import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np

from napari_medaka_kd.errors import InvalidVolume

from .gate import refusing

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    import numpy.typing as npt

    from .volume import Region, Shape

Packing: TypeAlias = Literal["none", "gzip", "bzip2", "zlib"]
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

    @property
    def nbytes(self) -> int:
        """How many bytes the voxels take, unpacked."""
        return math.prod(self.shape) * self.dtype.itemsize


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
            block = np.array(self._array[box], self.run.dtype.newbyteorder("="))
            if block.nbytes > _PIECE:
                _let_go(self._array)
            return block


def data_beside(path: Path, name: str) -> Path:
    """The file ``name`` that holds the voxels of the header ``path``, in the same folder and nowhere else.

    Raises
    ------
    InvalidVolume
        If it is in another folder, also by way of a link, or not there.
    """
    beside = (path.parent / name).resolve()
    if beside.parent != path.parent.resolve():
        raise InvalidVolume(
            f"{str(path)!r} keeps its voxels in another folder: {name!r}.", "Put both files into one folder."
        )
    if not beside.is_file():
        raise InvalidVolume(f"{str(path)!r} needs {name!r} beside it, which is not there.", "Copy both files.")
    return beside


def _check_room(run: Run) -> None:
    """Refuse to unpack what the packed bytes cannot become, and what has no room on the disk."""
    size, packed = run.nbytes, run.path.stat().st_size
    if run.packing in _MOST_TIMES and run.offset + size > _MOST_TIMES[run.packing] * packed:
        raise ValueError(f"its {packed:,} packed bytes cannot become the {size:,} that its header says")
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if run.packing != "none" and size > max(free, _IN_MEMORY):
        raise InvalidVolume(
            f"{str(run.path)!r} becomes {size:,} bytes, and {tempfile.gettempdir()!r} has room for {free:,}.",
            "Free some space, or unpack it yourself.",
        )


def _map(run: Run) -> npt.NDArray[Any]:
    missing = run.offset + run.nbytes - run.path.stat().st_size
    if missing > 0:
        raise ValueError(f"{missing} bytes are missing at its end")
    return np.memmap(run.path, run.dtype, "r", run.offset, run.shape, run.order)


def _let_go(array: npt.NDArray[Any]) -> None:
    """What was read from a mapped file counts as this process's memory until it is given back."""
    mapped = getattr(array.base if isinstance(array, np.memmap) else None, "madvise", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped(mmap.MADV_DONTNEED)


def _unpack(run: Run) -> npt.NDArray[Any]:
    size = run.nbytes
    with run.path.open("rb") as packed:
        packed.seek(run.packed_from)
        stream = _stream(packed, run.packing)
        for start in range(0, run.offset, _PIECE):
            _pull(stream, min(_PIECE, run.offset - start))
        if size <= _IN_MEMORY:
            flat = np.frombuffer(_pull(stream, size), run.dtype)
        else:
            with tempfile.TemporaryFile() as file:
                for start in range(0, size, _PIECE):
                    file.write(_pull(stream, min(_PIECE, size - start)))
                file.flush()
                flat = np.memmap(file, run.dtype, "r")
        if run.packing == "zlib" and stream.read(1):
            raise ValueError(f"it holds more than the {size} bytes that its header says")
        return flat.reshape(run.shape, order=run.order)


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _stream(packed: BinaryIO, packing: Packing) -> _Stream:
    if packing == "zlib":
        return _Inflated(packed)
    return gzip.GzipFile(fileobj=packed) if packing == "gzip" else bz2.BZ2File(packed)


class _Inflated:
    """A zlib or gzip stream; Python has a file of it only for gzip."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._engine = zlib.decompressobj(wbits=47)  # 32 + 15: which of the two is seen by its first bytes

    def read(self, size: int, /) -> bytes:
        """``size`` bytes, or fewer at the end of the stream, which must be there with its checksum."""
        pieces: list[bytes] = []
        while size > 0 and not self._engine.eof:
            packed = self._engine.unconsumed_tail or self._packed.read(_PIECE)
            pieces.append(self._engine.decompress(packed, size))
            size -= len(pieces[-1])
            if not packed and not pieces[-1]:
                raise EOFError("its packed voxels end before their end mark")
        return b"".join(pieces)


def _pull(stream: _Stream, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise ValueError(f"{size - len(data)} bytes or more are missing at its end")
    return data
