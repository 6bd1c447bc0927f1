"""Patches: a generation of a label map that differs from another one in a box, and shares the rest with it.

Shards are hard links to those of the other generation until they differ: a shard is only ever written as a new file, so
what two generations share never changes under either of them.
"""

from __future__ import annotations

import os
import shutil
import time
import weakref
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_medaka_kd.errors import InvalidVolume
from napari_medaka_kd.job import Progress

from .atomic import in_use, locked, share, sync_folder, sync_tree
from .gate import check_ids
from .label_generation import describe_labels, open_generation
from .label_list import enlist, generations, listed, next_generation, resolve, split_name
from .lazy import DiskArray, convert
from .ledger import LEDGER, Ledger
from .open import open_store
from .organ_index import cells_in, keep_index, kept_index, recount
from .pyramid import plan_levels, stride, write_image_group
from .shares import on_share
from .store_array import read_back, reopen_array, write_block, writing
from .tiles import block_grid
from .volume import common, extent, within

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from napari_medaka_kd.job import Job

    from .labels import LabelMap, LabelSchema
    from .volume import LazyArray, Region, Shape, Volume

    #: Gives the labels that are to stand in a box of one level.
    Source: TypeAlias = Callable[[Region], npt.NDArray[Any]]

_READ_ON = 600.0  # seconds in which another machine that reads the generation before has noticed that there is a newer


@dataclass(frozen=True)
class Patch:
    """What is to differ.

    Attributes
    ----------
    base
        The generation that it is laid over: ``teacher.2``, ``reviewed.1``.
    region
        Where, in voxels of level 0.
    block
        The organ ids there, (z, y, x).
    """

    base: str
    region: Region
    block: npt.NDArray[Any]


def prepare_patch(store: Path, name: str, patch: Patch, schema: LabelSchema) -> Job[str]:
    """Write the next generation of ``name``: all of the patch's base, but for the box; without a map of doubt.

    Only shards that differ are written, at every level. When the job ends, the generation is on the disk but not
    listed (:func:`list_patch`). A killed or closed job leaves nothing that counts; the next one sweeps it away, and
    with it whatever else of that name is neither listed nor in use: let no two patches of a name be under way.

    Returns
    -------
    The generation: ``reviewed.3``.

    Raises
    ------
    InvalidVolume
        If an id names no organ, or the disk lost what was written.
    UserError
        If the disk does not take it.
    """
    scan, labels = open_store(store), store / "labels"
    if patch.block.shape != extent(patch.region):
        raise ValueError(f"a block of {extent(patch.region)} is needed, got one of {patch.block.shape}")
    check_ids(patch.block, schema, name)
    with locked(labels / ".lock"):
        _sweep(labels, name)
        folder = next_generation(labels, name)
        ledger = Ledger(folder, {"patch of": patch.base})
    try:
        with writing():
            _link(labels / patch.base, folder)
        yield from _lay_in(folder, scan, patch)
        _keep_index(folder, labels / patch.base, patch.region, scan.shape)
        image = {"name": folder.name, "voxel_size": scan.voxel_size, "type": "stride"}
        levels = plan_levels(scan.shape, scan.voxel_size)
        write_image_group(folder, levels, image, {"image-label": describe_labels(schema)})
        sync_tree(folder)
        sync_folder(labels)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        ledger.close()
    return folder.name


def list_patch(store: Path, generation: str) -> None:
    """List ``generation`` in place of the former one of its name, and remove that unless someone reads it.

    Listing it again does nothing, nor does listing one that a newer one has followed.
    """
    labels = store / "labels"
    name, number = split_name(generation)
    if number > max((split_name(known)[1] for known in listed(labels) if split_name(known)[0] == name), default=0):
        enlist(labels, generation)
    with locked(labels / ".lock"):
        _sweep(labels, name, below=number)


def open_held_labels(store: Path, name: str, schema: LabelSchema) -> LabelMap:
    """The label map ``name``, whose generation stays on the disk as long as one of its levels is referenced.

    Raises
    ------
    UserError
        If there is none.
    InvalidVolume
        If it is damaged, or not on the scan's grid.
    """
    labels = store / "labels"
    with locked(labels / ".lock"):  # so that nobody removes it between the list and the hold
        folder = labels / resolve(labels, name)
        hold = _Hold(folder / LEDGER)
    labels_there = open_generation(folder, schema)
    levels = tuple(_held(level, hold) for level in labels_there.volume.levels)
    return replace(labels_there, volume=replace(labels_there.volume, levels=levels))


class _Hold:
    """A file that is held open, which tells others that its folder is in use, until this is dropped."""

    def __init__(self, path: Path) -> None:
        file = path.open("a+b")
        weakref.finalize(self, file.close)
        share(file)


def _held(level: LazyArray, hold: _Hold) -> LazyArray:
    def unchanged(block: npt.NDArray[Any], _: _Hold = hold) -> npt.NDArray[Any]:
        return block

    return convert(level, level.dtype, unchanged) if isinstance(level, DiskArray) else level


def _sweep(labels: Path, name: str, below: int | None = None) -> None:
    """Remove the generations of ``name`` that are neither listed nor in use."""
    done, known = listed(labels), generations(labels, name)
    for (number, folder), (_, after) in zip_longest(known, known[1:], fillvalue=(0, labels)):
        unwanted = folder.name not in done and (below is None or number < below)
        if unwanted and not ((folder / LEDGER).exists() and in_use(folder / LEDGER)) and not _just_left(after):
            shutil.rmtree(folder, ignore_errors=True)


def _just_left(after: Path) -> bool:
    """Whether another machine may still read the generation before ``after``, which on a share nothing else tells."""
    ledger = after / LEDGER
    return on_share(after.parent) and ledger.exists() and abs(time.time() - ledger.stat().st_mtime) < _READ_ON


def _link(base: Path, folder: Path) -> None:
    """Make ``folder`` hold the arrays of ``base``; copies where the file system has no hard links."""
    for place, folders, files in os.walk(base):
        here = folder / Path(place).relative_to(base)
        here.mkdir(exist_ok=True)
        if Path(place) == base:  # its group is described anew, its extras are not of these labels
            files, folders[:] = [], [child for child in folders if child.isdecimal()]
        for file in files:
            try:
                os.link(Path(place, file), here / file)
            except OSError:
                shutil.copy2(Path(place, file), here / file)


def _lay_in(folder: Path, scan: Volume, patch: Patch) -> Job[None]:
    region = patch.region
    yield from _write(folder / "0", region, lambda part: patch.block[within(part, patch.region)])
    for number, level in enumerate(plan_levels(scan.shape, scan.voxel_size)[1:], start=1):
        region = _coarser(region, level.step)
        yield from _write(folder / str(number), region, _strided(folder / str(number - 1), level.step))


def _keep_index(folder: Path, base: Path, region: Region, shape: Shape) -> None:
    """The base's index, with the cells under ``region`` counted anew; none where the base has none."""
    known = kept_index(base, shape)
    if known is not None:
        store = reopen_array(folder / "0")
        labels = DiskArray(shape, np.dtype(store.dtype.numpy_dtype), partial(read_back, store))
        with writing():
            keep_index(folder, recount(known, labels, cells_in([region], shape)))


def _strided(folder: Path, step: Shape) -> Source:
    """Coarse labels of the finer level in ``folder``."""
    fine = reopen_array(folder)

    def read(part: Region) -> npt.NDArray[Any]:
        z, y, x = (slice(s.start * by, (s.stop - 1) * by + 1) for s, by in zip(part, step, strict=True))
        return stride(read_back(fine, (z, y, x)), step)

    return read


def _write(folder: Path, region: Region, source: Source) -> Job[None]:
    """Lay ``source`` into ``region`` of the array in ``folder``, shard by shard; each is read back."""
    store = reopen_array(folder)
    shards = block_grid(_shape(store.shape), _shape(store.chunk_layout.write_chunk.shape))
    parts = [(block, part) for block in shards if (part := common(block, region)) is not None]
    for done, (block, part) in enumerate(parts):
        yield Progress("Writing the correction", done, len(parts))
        values = read_back(store, block).copy()
        fresh = source(part)
        if np.array_equal(values[within(part, block)], fresh):
            continue
        values[within(part, block)] = fresh
        write_block(store, block, values)
        if not np.array_equal(read_back(store, block), values):
            raise InvalidVolume(f"The disk lost what was written to {str(folder)!r}.", "Try again.")


def _coarser(region: Region, step: Shape) -> Region:
    """The coarse voxels that were taken from ``region``."""
    z, y, x = (slice(-(-s.start // by), -(-s.stop // by)) for s, by in zip(region, step, strict=True))
    return z, y, x


def _shape(sizes: Any) -> Shape:
    z, y, x = (int(size) for size in sizes)
    return z, y, x
