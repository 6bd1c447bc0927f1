"""Parts of an HDF5 dataset: chunks packed by gzip are unpacked here, where they cannot grow beyond their size."""

from __future__ import annotations

import zlib
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .gate import check_chunk, check_grid

if TYPE_CHECKING:
    import h5py
    import numpy.typing as npt

Part: TypeAlias = tuple[slice, ...]
# https://support.hdfgroup.org/documentation/hdf5/latest/group___h5_z.html#title0
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_OURS = {_DEFLATE, _SHUFFLE, _FLETCHER32}


def check_storage(dataset: h5py.Dataset) -> None:
    """Refuse, with a ValueError, a dataset whose values lie in other files or are packed so that none can unpack them.

    Why this unpacks gzip itself: HDF5 lets a chunk grow as it likes, and 1 MB may become 1 GB.
    """
    import h5py

    how, name = dataset.id.get_create_plist(), dataset.name
    if how.get_layout() == h5py.h5d.VIRTUAL:
        raise ValueError(f"{name!r} is put together from other datasets (a virtual one); copy it into one dataset")
    if how.get_external_count():
        raise ValueError(f"{name!r} keeps its values in another file; copy it into this one")
    if how.get_layout() != h5py.h5d.CHUNKED:
        return
    check_grid(dataset.shape, dataset.chunks, repr(name))
    check_chunk(dataset.chunks, dataset.dtype)
    filters = _filters(dataset)
    unknown = [str(code) for code in filters if not h5py.h5z.filter_avail(code)]
    if unknown:
        raise ValueError(
            f"{name!r} is packed by filter {', '.join(unknown)}; install hdf5plugin, or repack it with gzip"
        )
    plain = h5py.h5t.py_create(dataset.dtype, logical=True) == dataset.id.get_type()
    if _DEFLATE in filters and not (plain and set(filters) <= _OURS):
        raise ValueError(f"{name!r} is packed by gzip in a way that nobody needs (filters {filters}); repack it")


def read_part(dataset: h5py.Dataset, part: Part) -> npt.NDArray[Any]:
    """The values of ``part`` (a slice with start and stop for each axis), of a dataset that was checked.

    Raises
    ------
    ValueError, OSError, zlib.error
        If a chunk is damaged, or unpacks to anything but its size.
    """
    if dataset.chunks is None or _DEFLATE not in _filters(dataset):
        read: npt.NDArray[Any] = dataset[part]
        return read
    out = np.full([side.stop - side.start for side in part], dataset.fillvalue, dataset.dtype)
    grids = [range(side.start // step, -(-side.stop // step)) for side, step in zip(part, dataset.chunks, strict=True)]
    for numbers in product(*grids):
        corner = tuple(number * step for number, step in zip(numbers, dataset.chunks, strict=True))
        chunk = _chunk(dataset, corner)
        if chunk is not None:
            _paste(out, part, chunk, corner)
    return out


def _filters(dataset: h5py.Dataset) -> list[int]:
    how = dataset.id.get_create_plist()
    return [int(how.get_filter(number)[0]) for number in range(how.get_nfilters())]


def _paste(out: npt.NDArray[Any], part: Part, chunk: npt.NDArray[Any], corner: tuple[int, ...]) -> None:
    into, of = [], []
    for side, start, size in zip(part, corner, chunk.shape, strict=True):
        first, last = max(side.start, start), min(side.stop, start + size)
        into.append(slice(first - side.start, last - side.start))
        of.append(slice(first - start, last - start))
    out[tuple(into)] = chunk[tuple(of)]


def _chunk(dataset: h5py.Dataset, corner: tuple[int, ...]) -> npt.NDArray[Any] | None:
    """The chunk at ``corner``; ``None`` where nothing was ever written, which HDF5 defines as the fill value."""
    try:
        skipped, data = dataset.id.read_direct_chunk(corner)
    except RuntimeError as error:
        if "not allocated" in str(error):
            return None
        raise
    size = int(np.prod(dataset.chunks)) * dataset.dtype.itemsize
    for place, code in reversed(list(enumerate(_filters(dataset)))):
        if not skipped >> place & 1:
            data = _undo(code, data, (size, dataset.dtype.itemsize))
    if len(data) != size:
        raise ValueError(f"the chunk at {corner} holds {len(data)} bytes, not {size}")
    return np.frombuffer(data, dataset.dtype).reshape(dataset.chunks)


def _undo(code: int, data: bytes, sizes: tuple[int, int]) -> bytes:
    """``data`` before the filter ``code`` was applied; ``sizes`` are the bytes of a chunk and of a value."""
    if code == _FLETCHER32:
        return _checked(data)
    if code == _DEFLATE:
        engine = zlib.decompressobj()
        data = engine.decompress(data, sizes[0] + 5)  # room for a checksum that was added before packing
        if not engine.eof:
            raise ValueError(f"a chunk unpacks to more than its {sizes[0]} bytes, or is cut off")
        return data
    whole = len(data) // sizes[1] * sizes[1]
    return np.frombuffer(data[:whole], np.uint8).reshape(sizes[1], -1).T.tobytes() + data[whole:]


def _checked(data: bytes) -> bytes:
    """``data`` without the Fletcher-32 checksum at its end, which must hold."""
    values, told = data[:-4], int.from_bytes(data[-4:], "little")
    words = np.frombuffer(values + b"\0" * (len(values) % 2), ">u2").astype(np.uint64)
    weights = np.arange(len(words), 0, -1, dtype=np.uint64) % 65535
    if told != _fold(int((words * weights).sum())) << 16 | _fold(int(words.sum())):
        raise ValueError("the checksum of a chunk does not hold")
    return values


def _fold(total: int) -> int:
    """Modulo 65535, where only nothing at all is 0."""
    return (total - 1) % 65535 + 1 if total else 0
