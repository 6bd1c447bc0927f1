"""Pyramids: which coarser levels a volume gets, how they are made, and how OME-Zarr says so."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_medaka_kd.job import Progress

from .store_array import create_array, lay_out, read_back, reopen_array, write_block, writing
from .store_gate import OURS
from .tiles import block_grid
from .volume import extent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt
    import tensorstore

    from napari_medaka_kd.job import Job

    from .volume import Region, Shape, Triple

_COARSE_ENOUGH = 64  # voxels along the longest axis of the last level
_THIN = 8  # an axis of so few voxels is not halved any more
_PART = (64, 128, 256)  # coarse voxels made at a time: at most 8 x 2 M fine ones in memory

#: Makes a coarse block of a fine one by whole steps (z, y, x).
Shrink: TypeAlias = "Callable[[npt.NDArray[Any], Shape], npt.NDArray[Any]]"


@dataclass(frozen=True)
class Level:
    """One level of a pyramid.

    Attributes
    ----------
    step
        Voxels of the next finer level in one of this, (z, y, x); 1 or 2 each.
    factor
        Voxels of level 0 in one of this, (z, y, x).
    """

    shape: Shape
    step: Shape
    factor: Shape


def plan_levels(shape: Shape, voxel_size: Triple) -> tuple[Level, ...]:
    """Level 0 and coarser ones, until the longest axis has 64 voxels.

    An axis whose voxels are more than twice as long as the shortest side waits, so that voxels grow towards cubes.
    """
    levels = [Level(shape, (1, 1, 1), (1, 1, 1))]
    while max(levels[-1].shape) > _COARSE_ENOUGH:
        last = levels[-1]
        sizes = [size * factor for size, factor in zip(voxel_size, last.factor, strict=True)]
        shortest = min(size for size, count in zip(sizes, last.shape, strict=True) if count > _THIN)
        halved = [count > _THIN and size <= 2 * shortest for size, count in zip(sizes, last.shape, strict=True)]
        z, y, x = (2 if half else 1 for half in halved)
        levels.append(Level(_halve(last.shape, (z, y, x)), (z, y, x), _multiply(last.factor, (z, y, x))))
    return tuple(levels)


def average(block: npt.NDArray[Any], step: Shape) -> npt.NDArray[Any]:
    """The mean over boxes of ``step``, rounded half up for integers; what sticks out at the end is repeated."""
    odd = [(0, -size % by) for size, by in zip(block.shape, step, strict=True)]
    block = np.pad(block, odd, mode="edge") if any(after for _, after in odd) else block
    total, wide, count = block, _wider(block.dtype), math.prod(step)
    for axis, by in enumerate(step):
        if by == 2:
            even, uneven = _every_second(axis)
            total = np.add(total[even], total[uneven], dtype=wide)
    if count == 1:
        return np.array(block)
    if block.dtype.kind == "f":
        return (total / count).astype(block.dtype)
    total += count // 2
    total >>= int(math.log2(count))
    return total.astype(block.dtype)


def stride(block: npt.NDArray[Any], step: Shape) -> npt.NDArray[Any]:
    """One voxel of each box of ``step``: labels are never mixed, and thin organs keep their share."""
    return block[:: step[0], :: step[1], :: step[2]]


def build_levels(image: Path, levels: tuple[Level, ...], shrink: Shrink, doing: str) -> Job[None]:
    """Make ``image/1``, ``image/2`` … from ``image/0``, each from the one before, a part at a time.

    Every level is read back to its last chunk on the way, so a return means that all checksums are right.
    """
    for number, level in enumerate(levels[1:], start=1):
        fine = reopen_array(image / str(number - 1))
        layout = lay_out(level.shape, np.dtype(fine.dtype.numpy_dtype), _as_shape(fine.chunk_layout.write_chunk.shape))
        coarse = create_array(image / str(number), layout)
        for done, region in enumerate(layout.blocks):
            yield Progress(f"{doing}: level {number}", done, len(layout.blocks))
            write_block(coarse, region, finer_block(fine, region, level.step, shrink))
    read_back(reopen_array(image / str(len(levels) - 1)))


def finer_block(fine: tensorstore.TensorStore, region: Region, step: Shape, shrink: Shrink) -> npt.NDArray[Any]:
    """What the coarse ``region`` is to hold, made of the voxels of ``fine`` under it, a part at a time."""
    block = np.empty(extent(region), fine.dtype.numpy_dtype)
    for part in block_grid(extent(region), _PART):
        finer = _finer(region, part, step, _as_shape(fine.shape))
        block[part] = shrink(read_back(fine, finer), step)
    return block


def write_image_group(
    folder: Path,
    levels: tuple[Level, ...],
    image: dict[str, Any],
    extra: dict[str, Any],
    about: dict[str, Any] | None = None,
) -> None:
    """Write the OME-Zarr 0.5 metadata of a multiscale image.

    Parameters
    ----------
    image
        ``name``, ``type`` ("mean" or "stride") and ``voxel_size`` (µm); ``origin`` (µm) where that is not 0, 0, 0.
    extra
        What stands beside ``multiscales``: the ``image-label`` of a label map.
    about
        What stands beside our own mark: where the voxels came from.
    """
    multiscale = {
        "name": image["name"],
        "type": image["type"],
        "axes": [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"],
        "datasets": [
            {"path": str(number), "coordinateTransformations": _transforms(level, image)}
            for number, level in enumerate(levels)
        ],
    }
    ome = {"version": "0.5", "multiscales": [multiscale], **extra}
    write_group(folder, {"ome": ome, OURS: {"format": 1, **(about or {})}})


def write_group(folder: Path, attributes: dict[str, Any]) -> None:
    """Write the ``zarr.json`` of a group."""
    with writing():
        (folder / "zarr.json").write_bytes(group_json(attributes))


def group_json(attributes: dict[str, Any]) -> bytes:
    return json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=1).encode()


def _transforms(level: Level, image: dict[str, Any]) -> list[dict[str, Any]]:
    """A mean lies in the middle of the voxels that it is made of, a strided voxel where it was taken."""
    scale = [size * factor for size, factor in zip(image["voxel_size"], level.factor, strict=True)]
    middle = [size * (factor - 1) / 2 for size, factor in zip(image["voxel_size"], level.factor, strict=True)]
    moved = middle if image["type"] == "mean" else [0.0, 0.0, 0.0]
    place = [at + by for at, by in zip(image.get("origin", (0.0, 0.0, 0.0)), moved, strict=True)]
    return [{"type": "scale", "scale": scale}, {"type": "translation", "translation": place}]


def _finer(region: Region, part: Region, step: Shape, fine: Shape) -> Region:
    """The fine voxels under ``part`` of the coarse ``region``."""
    z, y, x = (
        slice((side.start + inner.start) * by, min((side.start + inner.stop) * by, size))
        for side, inner, by, size in zip(region, part, step, fine, strict=True)
    )
    return z, y, x


def _every_second(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    before = (slice(None),) * axis
    return (*before, slice(0, None, 2)), (*before, slice(1, None, 2))


def _wider(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """A type that holds the sum of eight values of ``dtype``."""
    if dtype.kind == "f":
        return np.dtype(np.float64 if dtype.itemsize == 8 else np.float32)
    return np.dtype(f"{dtype.kind}{min(2 * dtype.itemsize, 8)}")


def _halve(shape: Shape, step: Shape) -> Shape:
    z, y, x = (-(-size // by) for size, by in zip(shape, step, strict=True))
    return z, y, x


def _multiply(factor: Shape, step: Shape) -> Shape:
    z, y, x = (one * other for one, other in zip(factor, step, strict=True))
    return z, y, x


def _as_shape(sizes: Any) -> Shape:
    z, y, x = (int(size) for size in sizes)
    return z, y, x
