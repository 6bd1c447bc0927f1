"""LabelGeneration: a label map on its way to the disk, block by block; a crash costs one block at most."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.errors import InvalidVolume
from napari_medaka_kd.job import Progress

from .atomic import sync_folder, sync_tree
from .gate import check_ids
from .label_list import enlist
from .labels import LabelMap
from .lazy import DiskArray, as_ids
from .ledger import LEDGER, Ledger
from .open import open_store
from .organ_index import OrganIndex, count_block, index_beside, keep_index
from .pyramid import Shrink, average, build_levels, plan_levels, stride, write_image_group
from .store_array import (
    LABEL_SHARD,
    Layout,
    block_file,
    create_array,
    lay_out,
    read_back,
    reopen_array,
    sync_block,
    write_block,
    writing,
)
from .volume import extent

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import tensorstore

    from napari_medaka_kd.job import Job

    from .labels import LabelSchema
    from .volume import Region, Volume

UNCERTAINTY = "uncertainty"
LOOK = ".look.json"  # where a person looks while the blocks are made


class LabelGeneration:
    """A label map on its way to the disk; made by :func:`begin_labels`.

    Attributes
    ----------
    blocks
        The grid of whole shards, level-0 voxels, (z, y, x); each is written once, as a whole.
    name
        As it will be listed: ``teacher.3``.
    """

    def __init__(self, folder: Path, scan: Volume, plan: dict[str, Any], schema: LabelSchema) -> None:
        self.folder, self.schema = folder, schema
        self.name = folder.name
        self._scan = scan
        self._layouts = _lay_out(scan, schema, uncertainty=bool(plan["uncertainty"]))
        self._ledger = Ledger(folder, plan)
        self._stores = {place: self._open_array(place, layout) for place, layout in self._layouts.items()}
        self.blocks: tuple[Region, ...] = self._layouts[""].blocks
        self._counts: dict[int, npt.NDArray[np.int64]] = {}
        if not self._ledger.done:
            sync_tree(folder)
            sync_folder(folder.parent)

    @property
    def pending(self) -> tuple[int, ...]:
        """Numbers of the blocks that are still to be written."""
        return tuple(number for number in range(len(self.blocks)) if number not in self._ledger.done)

    def write(self, index: int, labels: npt.NDArray[Any], uncertainty: npt.NDArray[np.uint8] | None = None) -> None:
        """Write block ``index``; it is on the disk, and noted, on return.

        Parameters
        ----------
        labels
            Organ ids, of the shape of ``blocks[index]``.
        uncertainty
            0 (sure) … 255, same shape; given if and only if the generation was begun with it.

        Raises
        ------
        InvalidVolume
            If an id names no organ.
        UserError
            If the disk does not take it; what was written before stays, and the generation can be resumed.
        """
        check_ids(labels, self.schema, self.name)
        given = {"": labels, **({UNCERTAINTY: uncertainty} if uncertainty is not None else {})}
        if given.keys() != self._layouts.keys():
            raise ValueError(f"{self.name} takes {list(self._layouts)}, got {list(given)}")
        for place, values in given.items():
            self._write_one(place, self.blocks[index], values)
        ids = labels.astype(self.schema.dtype, copy=False)
        self._counts[index] = count_block(self.blocks[index], ids, self._scan.shape)
        self._ledger.finish(index)

    def commit(self) -> Job[LabelMap]:
        """Complete pyramids and index, list this generation in place of the former one, remove that, and open this.

        Killed at any moment, either the former or this one is listed, and complete.

        Raises
        ------
        ValueError
            If blocks are pending.
        InvalidVolume
            If the disk lost a block; all of it is then to be written again.
        """
        if self.pending:
            raise ValueError(f"{self.name} lacks {len(self.pending)} of {len(self.blocks)} blocks")
        try:
            yield from self._build_pyramids()
            self._keep_index()
        except InvalidVolume:
            self.discard()
            raise
        yield Progress("Waiting for the disk", 0, 0)
        (self.folder / LOOK).unlink(missing_ok=True)
        sync_tree(self.folder)
        sync_folder(self.folder.parent)
        former = enlist(self.folder.parent, self.name)
        self.close()
        for name in former:
            shutil.rmtree(self.folder.parent / name, ignore_errors=True)
        return open_generation(self.folder, self.schema)

    def close(self) -> None:
        """Let go of it; it can be resumed."""
        self._ledger.close()

    def discard(self) -> None:
        """Remove what was written."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _build_pyramids(self) -> Job[None]:
        levels = plan_levels(self._scan.shape, self._scan.voxel_size)
        image: dict[str, Any] = {"name": self.name, "voxel_size": self._scan.voxel_size}
        ways: dict[str, tuple[str, Shrink]] = {"": ("stride", stride), UNCERTAINTY: ("mean", average)}
        for place in self._layouts:
            kind, shrink = ways[place]
            extra = {"image-label": describe_labels(self.schema)} if place == "" else {}
            yield from build_levels(self.folder / place, levels, shrink, f"Completing {self.name}")
            write_image_group(self.folder / place, levels, image | {"type": kind}, extra)

    def _keep_index(self) -> None:
        """Blocks that were written before it was resumed are read again to be counted."""
        shape = self._scan.shape
        for number, region in enumerate(self.blocks):
            if number not in self._counts:
                self._counts[number] = count_block(region, read_back(self._stores[""], region), shape)
        with writing():
            keep_index(self.folder, OrganIndex.from_counts(shape, np.concatenate(list(self._counts.values()))))

    def _write_one(self, place: str, region: Region, values: npt.NDArray[Any]) -> None:
        if values.shape != extent(region):
            raise ValueError(f"a block of {extent(region)} is needed, got one of {values.shape}")
        layout = self._layouts[place]
        write_block(self._stores[place], region, values.astype(layout.dtype, copy=False))
        sync_block(self.folder / place / "0", layout, region)

    def _open_array(self, place: str, layout: Layout) -> tensorstore.TensorStore:
        """The array of ``place``: the one that is there if the ledger speaks of blocks in it, else a new one."""
        folder = self.folder / place / "0"
        self._ledger.done &= {
            number for number in self._ledger.done if _is_there(block_file(folder, layout, layout.blocks[number]))
        }
        return reopen_array(folder) if self._ledger.done else create_array(folder, layout)


def open_generation(folder: Path, schema: LabelSchema) -> LabelMap:
    """A complete generation, in the schema's type.

    Raises
    ------
    InvalidVolume
        If it is damaged, a link, or not on the grid of the scan two folders up.
    """
    store = folder.parent.parent
    if folder.resolve() != store.resolve() / "labels" / folder.name:
        raise InvalidVolume(f"The label map {str(folder)!r} is a link.", "Copy the labels into the store.")
    volume, scan = open_store(folder), open_store(store)
    if volume.shape != scan.shape:
        raise InvalidVolume(
            f"The label map {str(folder)!r} has {volume.shape} voxels, its scan {scan.shape}.", "Make it again."
        )
    levels = tuple(
        as_ids(level, schema, folder.name) if isinstance(level, DiskArray) else level for level in volume.levels
    )
    volume = replace(volume, levels=levels)
    for_good = (folder / LEDGER).is_file()  # another program may change its own labels in place
    return LabelMap(volume, schema, partial(index_beside, folder, volume) if for_good else None)


def describe_labels(schema: LabelSchema) -> dict[str, Any]:
    """The OME-Zarr ``image-label`` of organs: colours, names, and the scan two folders up.

    Written by hand: yaozarrs 0.3.4 drops the names.
    """
    return {
        "version": "0.5",
        "colors": [
            {"label-value": organ.id, "rgba": [*bytes.fromhex(organ.color[1:]), 255]} for organ in schema.organs
        ],
        "properties": [{"label-value": organ.id, "name": organ.name} for organ in schema.organs],
        "source": {"image": "../../"},
    }


def _lay_out(scan: Volume, schema: LabelSchema, uncertainty: bool) -> dict[str, Layout]:
    """By folder within the generation."""
    layouts = {"": lay_out(scan.shape, schema.dtype, LABEL_SHARD)}
    return layouts | ({UNCERTAINTY: lay_out(scan.shape, np.dtype(np.uint8), LABEL_SHARD)} if uncertainty else {})


def _is_there(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0
