"""What is looked at before a chunk of a store is unpacked: where its file leads, and how large it is and becomes."""

from __future__ import annotations

import math
import stat
import struct
from itertools import product
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from .store_codecs import ShardIndex
    from .store_gate import StoredArray

    Numbers = tuple[int, ...]  # of a chunk in its grid

_BLOSC_HEADER = 16  # bytes; of these 4 to 8 are the unpacked size: c-blosc, README_CHUNK_FORMAT
_ABSENT = 2**64 - 1  # offset and length of a piece that a shard lacks


class ChunkGuard:
    """Refuses chunk files that are links out of the store or no files, and packed chunks that become too large.

    tensorstore unpacks zstd, gzip, zlib and bzip2 no further than a chunk is long (tried with 0.1.86). It reads a file,
    or what a shard's index says, as a whole, though, and blosc allocates what the chunk asks for: these are compared
    with the chunk's size. Everything is looked at once, at some 60 µs a file, the links being most of it.
    """

    def __init__(self, root: Path, array: StoredArray) -> None:
        self._root, self._array, self._packing = root, array, array.packing
        self._most = 2 * array.packing.bytes + 2**16  # bytes of a packed piece; no codec adds as much
        self._seen: set[Numbers] = set()
        self._pieces: set[Numbers] = set()
        self._folders: set[Path] = set()
        self._indices: dict[Numbers, npt.NDArray[np.uint64]] = {}

    def check(self, index: Sequence[Any]) -> None:
        """Check the files that hold ``index``, of integers and slices.

        Raises
        ------
        ValueError
            If one of them must not be read.
        """
        for numbers in _grid(index, self._array.chunk):
            if numbers not in self._seen and self._check_file(numbers):
                self._seen.add(numbers)
        if self._packing.blosc and self._packing.index:
            self._check_pieces(set(_grid(index, self._packing.piece)) - self._pieces)

    def _check_file(self, numbers: Numbers) -> bool:
        """Whether it is there."""
        file = self._file(numbers)
        self._check_folder(file.parent)
        self._check_link(file)
        try:
            found = file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"its chunk {file.name!r} is no file")
        if self._packing.index is not None:
            self._check_shard(numbers, file, found.st_size)
            return True
        self._check_size(file, found.st_size, self._most)
        if self._packing.blosc:
            with file.open("rb") as opened:
                self._check_blosc(opened, 0)
        return True

    def _check_shard(self, numbers: Numbers, file: Path, size: int) -> None:
        assert self._packing.index is not None
        whole = 2 * math.prod(self._array.chunk) * self._array.dtype.itemsize
        self._check_size(file, size, whole + 128 * self._pieces_a_shard() + 2**16)
        entries = _read_index(file, size, self._packing.index, self._pieces_a_shard())
        lengths = entries[entries[:, 0] != _ABSENT, 1]
        self._check_size(file, int(lengths.max(initial=0)), self._most)
        if self._packing.blosc:
            self._indices[numbers] = entries

    def _check_pieces(self, fresh: set[Numbers]) -> None:
        """Pieces of shards that blosc has packed; each shard's file is opened once."""
        chunk, piece = self._array.chunk, self._packing.piece
        many = [outer // inner for outer, inner in zip(chunk, piece, strict=True)]
        shards: dict[Numbers, list[Numbers]] = {}
        for numbers in fresh:
            shard = tuple(number // per for number, per in zip(numbers, many, strict=True))
            if shard in self._indices:
                shards.setdefault(shard, []).append(numbers)
        for shard, pieces in shards.items():
            places = np.ravel_multi_index(tuple(np.array(pieces).T % np.array(many)[:, None]), many)
            with self._file(shard).open("rb", buffering=0) as opened:
                for offset in self._indices[shard][places, 0]:
                    if offset != _ABSENT:
                        self._check_blosc(opened, int(offset))
            self._pieces.update(pieces)

    def _check_size(self, file: Path, size: int, most: int) -> None:
        if size > most:
            raise ValueError(f"its chunk {file.name!r} takes {size:,} bytes where at most {most:,} can belong")

    def _check_blosc(self, file: IO[bytes], offset: int) -> None:
        file.seek(offset)
        header = file.read(_BLOSC_HEADER)
        if len(header) == _BLOSC_HEADER:
            (becomes,) = struct.unpack_from("<I", header, 4)
            if becomes > self._packing.bytes + 4:  # a checksum may be inside
                name, belong = Path(file.name).name, self._packing.bytes
                raise ValueError(f"its chunk {name!r} would become {becomes:,} bytes where {belong:,} belong")

    def _pieces_a_shard(self) -> int:
        return math.prod(self._array.chunk) // math.prod(self._packing.piece)

    def _file(self, numbers: Numbers) -> Path:
        prefix, separator = self._array.key
        return self._array.folder / (prefix + separator.join(map(str, numbers)))

    def _check_folder(self, folder: Path) -> None:
        """``folder`` and those between it and the store's root; the root itself may well be a link."""
        if folder != self._root and folder not in self._folders:
            self._check_folder(folder.parent)
            self._check_link(folder)
            self._folders.add(folder)

    def _check_link(self, path: Path) -> None:
        if path.is_symlink() and not path.resolve().is_relative_to(self._root):
            raise ValueError(f"its chunk {path.name!r} is a link that leads out of the store")


def _grid(index: Sequence[Any], step: Sequence[int]) -> Iterator[Numbers]:
    """Numbers of the chunks of ``step`` voxels that ``index`` touches."""
    ranges = [
        range(side.start // size, -(-side.stop // size)) if isinstance(side, slice) else (0,)
        for side, size in zip(index, step, strict=True)
    ]
    return product(*ranges)


def _read_index(file: Path, size: int, index: ShardIndex, pieces: int) -> npt.NDArray[np.uint64]:
    """(pieces, 2): offset and length of each piece of a shard; its checksum is left to who unpacks it."""
    length = 16 * pieces + 4 * index.checksum
    if size < length:
        raise ValueError(f"its shard {file.name!r} is cut off")
    with file.open("rb") as opened:
        opened.seek(0 if index.at_start else size - length)
        data = opened.read(16 * pieces)
    return np.frombuffer(data, "<u8" if index.little else ">u8").reshape(pieces, 2).astype(np.uint64)
