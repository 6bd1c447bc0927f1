"""Saving a volume: an OME-Zarr 0.5 pyramid, written a block at a time, that is there wholly or not at all."""

from __future__ import annotations

import math
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Progress

from .atomic import sync_folder, sync_tree
from .gate import check_header, check_intensities
from .open import open_volume
from .pyramid import average, build_levels, plan_levels, write_image_group
from .store_array import SCAN_SHARD, Layout, create_array, lay_out, write_block
from .tiles import block_grid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt
    import tensorstore

    from napari_medaka_kd.job import Job

    from .pyramid import Level
    from .volume import Region, Volume

_SLAB_BYTES = 512 * 2**20  # read at once from a scan that is stored as whole slices


def save_volume(volume: Volume, path: Path) -> Job[Volume]:
    """Copy ``volume`` to an OME-Zarr pyramid at ``path``, and open that.

    The type is kept, but for float64 (→ float32) and bool (→ uint8). Memory: one block of 16.8 M voxels at a time, or
    a slab of at most 512 MiB where the scan is stored as whole slices. Until it is complete, read back and on the disk
    it lies at ``<path>.partial``; when the job fails or is closed, nothing is left.

    Raises
    ------
    UserError
        If ``path`` exists, or the disk has not 1.2 times the room that the pyramid may need.
    InvalidVolume
        If it cannot be a scan (see the gate) or holds NaN or infinity.
    """
    check_header(volume.shape, volume.dtype, volume.voxel_size, volume.name or str(path))
    levels, dtype = plan_levels(volume.shape, volume.voxel_size), _stored_type(volume.dtype)
    with appearing(path, sum(math.prod(level.shape) for level in levels) * dtype.itemsize) as partial:
        yield from _write(volume, partial, levels, lay_out(volume.shape, dtype, SCAN_SHARD))
        yield Progress("Waiting for the disk", 0, 0)
    return open_volume(path)


@contextmanager
def appearing(path: Path, size: int) -> Iterator[Path]:
    """A folder beside ``path`` that takes its name when all of it is on the disk; gone if anything goes wrong.

    Raises
    ------
    UserError
        If ``path`` exists, or the disk has not 1.2 times the room of ``size`` bytes.
    """
    refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    check_space(path.parent, size)
    partial = path.with_name(f"{path.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        yield partial
        sync_tree(partial)
        refuse_existing(path)
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(path.parent)


def check_space(folder: Path, size: int) -> None:
    """Refuse to begin what may not fit: ``size`` bytes and a fifth more must be free at ``folder``.

    Raises
    ------
    UserError
        With the bytes needed and the bytes there.
    """
    needed, free = math.ceil(1.2 * size), shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"The disk of {str(folder)!r} has {free:,} bytes free, and {needed:,} bytes are needed.",
            f"Free {needed - free:,} bytes, or choose another disk.",
        )


def refuse_existing(path: Path) -> None:
    """Refuse to write over what is there.

    Raises
    ------
    UserError
        If there is anything, be it a link.
    """
    if path.exists() or path.is_symlink():
        raise UserError(f"{str(path)!r} is there already.", "Choose another name, or remove it.")


def _stored_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    native: np.dtype[Any] = np.dtype(dtype).newbyteorder("=")
    if native == np.bool_:
        return np.dtype(np.uint8)
    return np.dtype(np.float32) if native == np.float64 else native


def _write(volume: Volume, folder: Path, levels: tuple[Level, ...], layout: Layout) -> Job[None]:
    name = volume.name or "the scan"
    store, blocks = create_array(folder / "0", layout), len(layout.blocks)
    for done, (region, block) in enumerate(_read_blocks(volume, layout)):
        yield Progress(f"Copying {name}", done, blocks)
        check_intensities(block, name)
        _write_as(store, region, block, layout.dtype)
    yield from build_levels(folder, levels, average, f"Copying {name}")
    write_image_group(folder, levels, {"name": volume.name, "type": "mean", "voxel_size": volume.voxel_size}, {})


def _write_as(store: tensorstore.TensorStore, region: Region, block: npt.NDArray[Any], dtype: np.dtype[Any]) -> None:
    with np.errstate(over="ignore"):
        converted = block.astype(dtype, copy=False)
    check_intensities(converted, "The scan, in 32-bit floating point,")
    write_block(store, region, converted)


def _read_blocks(volume: Volume, layout: Layout) -> Iterator[tuple[Region, npt.NDArray[Any]]]:
    """The blocks of ``layout``; whole slabs are read at once where a part of a slice costs as much as all of it."""
    slab = _slab(volume, layout)
    for outer in block_grid(layout.shape, slab):
        read = volume.read(outer)
        for inner in block_grid((read.shape[0], read.shape[1], read.shape[2]), layout.shard):
            z, y, x = (
                slice(side.start + part.start, side.start + part.stop) for side, part in zip(outer, inner, strict=True)
            )
            yield (z, y, x), read[inner]


def _slab(volume: Volume, layout: Layout) -> tuple[int, int, int]:
    deep, wide, _ = layout.shard
    row = deep * wide * layout.shape[2] * volume.dtype.itemsize
    if not getattr(volume.levels[0], "reads_pages", False) or row > _SLAB_BYTES:
        return layout.shard
    return deep, wide * (_SLAB_BYTES // row), layout.shape[2]
