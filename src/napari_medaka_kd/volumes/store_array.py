"""Zarr arrays on disk through tensorstore: read lazily with a shared cache, written one whole shard at a time."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import tensorstore

from napari_medaka_kd.errors import UserError

from .atomic import sync_file, sync_folder
from .chunk_guard import ChunkGuard
from .gate import refusing
from .lazy import DiskArray
from .tiles import block_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from .store_gate import StoredArray, StoredImage
    from .volume import Region, Shape

CACHE_BYTES = 512 * 2**20  # decoded chunks kept for all volumes that share a cache
CHUNK = 32  # measured.md: inner chunk 32 reads random patches 3.6 x as fast as zarr-python does
SCAN_SHARD = (64, 512, 512)  # flat, so that a scan stored as slices is copied slab by slab
LABEL_SHARD = (256, 256, 256)  # a cube, so that a block to segment has little halo
Packing: TypeAlias = Literal["zstd", "bits"]
_own: ContextVar[tensorstore.Context | None] = ContextVar("the cache of what is being opened", default=None)
_DAMAGED = "Restore it from a copy, or make it again."


@dataclass(frozen=True)
class Layout:
    """How an array that we write lies on disk; (z, y, x), voxels.

    Attributes
    ----------
    channels
        Along a first axis of its own, all of them in each chunk; 0: there is no such axis.
    packing
        Labels, and all else that repeats itself, are packed by zstd. Intensities are noise in their low bits: sorted
        by bit first they are packed better, and by lz4 five times as fast (docs/benchmarks.md).
    """

    shape: Shape
    dtype: np.dtype[Any]
    chunk: Shape
    shard: Shape
    packing: Packing = "zstd"
    channels: int = 0

    @property
    def leading(self) -> tuple[int, ...]:
        """The size of the axis before z, if there is one."""
        return (self.channels,) if self.channels else ()

    @property
    def blocks(self) -> tuple[Region, ...]:
        """What each shard, a file, holds; only whole blocks are ever written."""
        return block_grid(self.shape, self.shard)


def lay_out(shape: Shape, dtype: np.dtype[Any], shard: Shape, packing: Packing = "zstd") -> Layout:
    """Chunks of 32³ in shards of ``shard``, both smaller where ``shape`` is."""
    chunk_z, chunk_y, chunk_x = (min(CHUNK, size) for size in shape)
    chunk = (chunk_z, chunk_y, chunk_x)
    z, y, x = (min(most, -(-size // step) * step) for most, size, step in zip(shard, shape, chunk, strict=True))
    return Layout(shape, np.dtype(dtype), chunk, (z, y, x), packing)


def open_level(image: StoredImage, level: int) -> DiskArray:
    """One level of a judged image, z-y-x, read through the shared cache, or through that of :func:`own_cache`.

    A damaged chunk, or an absent one in a store of ours, is an InvalidVolume when it is read.
    """
    stored = image.arrays[level]
    with refusing(str(stored.folder), _DAMAGED):
        store = open_foreign(stored, fill=not image.ours)
    if tuple(store.shape) != stored.shape:
        raise AssertionError(f"tensorstore reads {store.shape} where the gate read {stored.shape}")
    guard = ChunkGuard(image.root, stored)
    order = np.argsort(np.argsort(image.axes))

    def begin_box(box: Region) -> Callable[[], npt.NDArray[Any]]:
        index: list[Any] = [0] * len(stored.shape)
        for axis, side in zip(image.axes, box, strict=True):
            index[axis] = side
        with refusing(str(stored.folder), _DAMAGED):
            guard.check(index)
            block = store[tuple(index)].read()

        def wait() -> npt.NDArray[Any]:
            with refusing(str(stored.folder), _DAMAGED):
                read: npt.NDArray[Any] = block.result()
            return read.transpose(order)

        return wait

    z, y, x = (stored.shape[axis] for axis in image.axes)
    return DiskArray((z, y, x), np.dtype(store.dtype.numpy_dtype), lambda box: begin_box(box)(), begin_box=begin_box)


def create_array(folder: Path, layout: Layout) -> tensorstore.TensorStore:
    """A new array at ``folder`` (whatever was there is deleted), with a checksum for each chunk.

    Chunks of nothing but background are stored too, so that an absent one is known to be lost.
    """
    index_codecs = [_bytes(), {"name": "crc32c"}]
    codecs = [_bytes(), _packed(layout), {"name": "crc32c"}]
    first = layout.leading
    sharding = {"chunk_shape": (*first, *layout.chunk), "codecs": codecs, "index_codecs": index_codecs}
    metadata = {
        "shape": (*first, *layout.shape),
        "data_type": str(layout.dtype),
        "fill_value": 0,
        "dimension_names": [*("c" for _ in first), "z", "y", "x"],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": (*first, *layout.shard)}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
    }
    return _open_writable(folder, {"metadata": metadata}, tensorstore.OpenMode(create=True, delete_existing=True))


def reopen_array(folder: Path) -> tensorstore.TensorStore:
    """An array of ours, to read and write what it holds; nothing is cached."""
    return _open_writable(folder, {}, tensorstore.OpenMode(open=True))


def read_array(folder: Path) -> tensorstore.TensorStore:
    """An array of ours, to read through the shared cache what is there and will not be written again."""
    fixed = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder)}, "fill_missing_data_reads": False}
    with refusing(str(folder), _DAMAGED):
        return tensorstore.open(fixed, read=True, open=True, context=_reading()).result()


def read_back(store: tensorstore.TensorStore, region: Region | None = None) -> npt.NDArray[Any]:
    """What was written at ``region`` (everywhere when ``None``), with its checksums checked.

    Raises
    ------
    InvalidVolume
        If anything is absent or is not what was written.
    """
    name = str(store.kvstore.path) if store.kvstore else "The array"
    with refusing(name, "The disk lost what was written: try again, or choose another disk."):
        block: npt.NDArray[Any] = (store if region is None else store[(..., *region)]).read().result()
    return block


def write_block(store: tensorstore.TensorStore, region: Region, block: npt.NDArray[Any]) -> None:
    """Write one block of :attr:`Layout.blocks`, all its channels, as one file that is there wholly or not at all.

    Raises
    ------
    ValueError
        If ``region`` is not a whole shard: two writers of parts of one would lose each other's.
    UserError
        If the disk does not take it.
    """
    finish_block(begin_block(store, region, block))


def begin_block(store: tensorstore.TensorStore, region: Region, block: npt.NDArray[Any]) -> tensorstore.WriteFutures:
    """Begin what :func:`write_block` does, on other threads; ``block`` must stay as it is until it is finished."""
    _require_whole_shard(store, region)
    with writing():
        return store[(..., *region)].write(np.ascontiguousarray(block))


def finish_block(begun: tensorstore.WriteFutures) -> None:
    """Wait for a block that was begun."""
    with writing():
        begun.result()


def sync_block(folder: Path, layout: Layout, region: Region) -> None:
    """Wait until the file of the block at ``region``, and the folders above it, are on the disk."""
    file = block_file(folder, layout, region)
    sync_file(file)
    for place in list(file.parents)[: 5 if layout.channels else 4]:
        sync_folder(place)


def block_file(folder: Path, layout: Layout, region: Region) -> Path:
    """The file that holds the block at ``region``."""
    z, y, x = (side.start // step for side, step in zip(region, layout.shard, strict=True))
    first = ("0",) if layout.channels else ()
    return folder.joinpath("c", *first, str(z), str(y), str(x))


@contextmanager
def own_cache(total: int) -> Iterator[None]:
    """Give what is opened meanwhile a cache of its own, of so many bytes; it goes when the last of it is let go."""
    before = _own.set(_new_cache(total))
    try:
        yield
    finally:
        _own.reset(before)


@contextmanager
def writing() -> Iterator[None]:
    """Turn a disk's refusal into a sentence; tensorstore reports it as a ValueError with the system's words in it."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise UserError(
            f"The disk did not take what was written: {reason}.", "Free some space and try again."
        ) from error


def _require_whole_shard(store: tensorstore.TensorStore, region: Region) -> None:
    shard: Any = store.chunk_layout.write_chunk.shape
    for side, step, size in zip(region, shard[-3:], store.shape[-3:], strict=True):
        if side.start % step or side.stop != min(side.start + step, size):
            raise ValueError(f"{region} is not a whole shard of {shard} in {store.shape}")


def _packed(layout: Layout) -> dict[str, Any]:
    if layout.packing == "zstd":
        return {"name": "zstd", "configuration": {"level": 1}}
    blosc = {"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "typesize": layout.dtype.itemsize, "blocksize": 0}
    return {"name": "blosc", "configuration": blosc}


def _bytes() -> dict[str, Any]:
    return {"name": "bytes", "configuration": {"endian": "little"}}


def _open_writable(folder: Path, spec: dict[str, Any], mode: tensorstore.OpenMode) -> tensorstore.TensorStore:
    fixed = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(folder)},
        "fill_missing_data_reads": False,
        "store_data_equal_to_fill_value": True,
    }
    with writing():
        return tensorstore.open(fixed | spec, read=True, write=True, open_mode=mode, context=_uncached()).result()


def open_foreign(stored: StoredArray, fill: bool) -> tensorstore.TensorStore:
    """An array that the gate has judged, read through the shared cache; with ``fill`` absent chunks are background."""
    context = _reading()
    kvstore: dict[str, Any] = {"driver": "file", "path": f"{stored.folder}/"}
    if stored.instead:
        context = tensorstore.Context({"memory_key_value_store": {}}, parent=context)
        memory = {"driver": "memory", "path": ".zarray"}
        tensorstore.KvStore.open({"driver": "memory"}, context=context).result()[".zarray"] = stored.instead.encode()
        layers = [{"base": kvstore}, {"base": memory, "exact": ".zarray"}]
        kvstore = {"driver": "kvstack", "layers": layers}
    return tensorstore.open(
        {
            "driver": "zarr3" if stored.zarr_format == 3 else "zarr",
            "kvstore": kvstore,
            "fill_missing_data_reads": fill,
            "recheck_cached_data": "open",
            "recheck_cached_metadata": "open",
        },
        read=True,
        open=True,
        context=context,
    ).result()


def _reading() -> tensorstore.Context:
    return _own.get() or _shared()


@cache
def _shared() -> tensorstore.Context:
    return _new_cache(CACHE_BYTES)


def _new_cache(total: int) -> tensorstore.Context:
    return tensorstore.Context({"cache_pool": {"total_bytes_limit": total}})


@cache
def _uncached() -> tensorstore.Context:
    """For writing; the callers fsync themselves, once for a tree or once for a block."""
    return tensorstore.Context({"cache_pool": {"total_bytes_limit": 0}, "file_io_sync": False})
