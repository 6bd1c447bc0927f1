"""Saving a volume: an OME-Zarr 0.5 pyramid, written a block at a time, that is there wholly or not at all."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Progress

from .atomic import claim_writing, sync_folder, sync_tree
from .conversion import Conversion
from .gate import check_header, check_intensities
from .ledger import LEDGER, read_plan
from .open import open_volume
from .pyramid import plan_levels
from .store_array import SCAN_SHARD
from .store_gate import OURS
from .window import Window, narrow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from napari_medaka_kd.job import Job

    from .volume import Volume

_LOCK = ".lock"
_DETACHED = (".mhd", ".nhdr")  # headers whose voxels lie in another file beside them


def save_volume(volume: Volume, path: Path, window: Window | None = None) -> Job[Volume]:
    """Copy ``volume`` to an OME-Zarr pyramid at ``path``, and open that.

    The type is kept, but for float64 (→ float32) and bool (→ uint8). Memory: some blocks of 16.8 M voxels, and a slab
    of 256 MiB (512 where a row of blocks takes more) where the scan is stored as whole slices.

    Until it is complete it lies at ``<path>.partial``, each block synced and noted. Closed, interrupted or killed, and
    called again with the same file, it goes on where it was, to the very same bytes; if all is done, it is just opened.
    When it fails, nothing is left.

    Parameters
    ----------
    window
        Intensities that become 0 … 255, uint8; what is outside is clipped. Without it they are kept as they are.

    Raises
    ------
    UserError
        If ``path`` exists or is being written by another process, or the disk has not 1.2 times the room that the
        pyramid may need.
    InvalidVolume
        If it cannot be a scan (see the gate) or holds NaN or infinity.
    """
    check_header(volume.shape, volume.dtype, volume.voxel_size, volume.name or str(path))
    dtype = np.dtype(np.uint8) if window else _stored_type(volume.dtype)
    plan = _plan(volume, dtype, window)
    if _is_made(path, plan):
        return open_volume(path)
    refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _claimed(path) as partial:
        conversion = _begin(volume, partial, plan)
        try:
            yield from conversion.copy(lambda block: _as_stored(block, dtype, window))
            yield from conversion.build()
            yield Progress("Waiting for the disk", 0, 0)
            conversion.complete(_origin(volume, plan))
        finally:
            conversion.close()
        refuse_existing(path)
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


def is_saved(volume: Volume, path: Path, window: Window | None = None) -> bool:
    """Whether the pyramid at ``path`` is what :func:`save_volume` makes of ``volume``."""
    dtype = np.dtype(np.uint8) if window else _stored_type(volume.dtype)
    return _is_made(path, _plan(volume, dtype, window))


def check_space(folder: Path, size: int) -> None:
    """Refuse to begin what may not fit: ``size`` bytes and a fifth more must be free at ``folder``.

    Raises
    ------
    UserError
        With the bytes needed and the bytes there.
    """
    needed, free = space_for(size), shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"The disk of {str(folder)!r} has {free:,} bytes free, and {needed:,} bytes are needed.",
            f"Free {needed - free:,} bytes, or choose another disk.",
        )


def space_for(size: int) -> int:
    """Bytes that must be free before ``size`` bytes are written."""
    return math.ceil(1.2 * size)


@contextmanager
def _claimed(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` that takes its name if nothing goes wrong; what fails, unlike a stop, leaves nothing."""
    partial = path.with_name(f"{path.name}.partial")
    partial.mkdir(exist_ok=True)
    owner = claim_writing(path, partial / _LOCK)
    try:
        with owner:
            yield partial
        for name in (LEDGER, _LOCK):
            (partial / name).unlink()
        sync_tree(partial)
        partial.rename(path)
    except Exception:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(path.parent)


def _plan(volume: Volume, dtype: np.dtype[Any], window: Window | None) -> dict[str, Any]:
    """All that determines the pyramid: the same plan promises the same bytes."""
    return {
        "source": _fingerprint(volume),
        "name": volume.name,
        "shape": list(volume.shape),
        "dtype": str(dtype),
        "voxel_size": list(volume.voxel_size),
        "shard": list(SCAN_SHARD),
        "window": [window.low, window.high] if window else None,
    }


def _is_made(path: Path, plan: dict[str, Any]) -> bool:
    """Whether the pyramid at ``path`` was made by that very plan."""
    try:
        attributes = json.loads((path / "zarr.json").read_bytes())["attributes"]
        return bool(attributes[OURS]["source"]["plan"] == _sum(plan))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _sum(data: object) -> str:
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()


def _begin(volume: Volume, partial: Path, plan: dict[str, Any]) -> Conversion:
    """Go on with what lies in ``partial`` if it comes of the same plan, else begin anew."""
    levels, dtype = plan_levels(volume.shape, volume.voxel_size), np.dtype(plan["dtype"])
    if read_plan(partial) != plan:
        for leftover in partial.iterdir():
            if leftover.name != _LOCK:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        check_space(partial, sum(math.prod(level.shape) for level in levels) * dtype.itemsize)
    return Conversion(partial, volume, dtype, plan)


def _fingerprint(volume: Volume) -> str:
    """Of names, sizes and times of the files: the same again promise the same voxels."""
    if volume.source is None or not volume.source.exists():
        return str(uuid.uuid4())
    seen: list[Any] = [str(volume.source), *_stamp(volume.source.stat())]
    if volume.source.is_dir() or volume.source.suffix in _DETACHED:
        beside = "" if volume.source.is_dir() else f"{volume.source.stem}."
        with os.scandir(volume.source if not beside else volume.source.parent) as entries:
            seen += sorted([e.name, *_stamp(e.stat())] for e in entries if e.name.startswith(beside) and e.is_file())
    return _sum(seen)


def _stamp(seen: os.stat_result) -> list[int]:
    return [seen.st_size, seen.st_mtime_ns]


def _origin(volume: Volume, plan: dict[str, Any]) -> dict[str, Any]:
    """What the pyramid says of where it comes from; file names without their folders."""
    told: dict[str, Any] = {"file": volume.source.name if volume.source else None, "dtype": str(volume.dtype)}
    return told | {"window": plan["window"], "plan": _sum(plan)}


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


def _as_stored(block: npt.NDArray[Any], dtype: np.dtype[Any], window: Window | None) -> npt.NDArray[Any]:
    check_intensities(block, "The scan")
    if window is not None:
        return narrow(block, window)
    with np.errstate(over="ignore"):
        converted = block.astype(dtype, copy=False)
    check_intensities(converted, "The scan, in 32-bit floating point,")
    return converted
