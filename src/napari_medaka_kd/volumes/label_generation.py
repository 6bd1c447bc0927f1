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
from .label_blocks import NONE, LabelBlocks
from .label_list import enlist
from .labels import LabelMap
from .lazy import DiskArray, as_ids
from .ledger import LEDGER, Ledger
from .open import open_store
from .organ_index import OrganIndex, index_beside, keep_index
from .pyramid import average, build_levels, plan_levels, stride, write_group, write_image_group
from .store_array import writing
from .store_gate import OURS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from napari_medaka_kd.job import Job

    from .labels import LabelSchema
    from .volume import Region, Volume

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
        self._arrays = LabelBlocks(folder, plan)
        self._ledger = Ledger(folder, plan)
        self._ledger.done &= self._arrays.present(self._ledger.done)
        self.blocks: tuple[Region, ...] = self._arrays.blocks
        self._counts: dict[int, npt.NDArray[np.int64]] = {}
        if self._ledger.done:
            self._arrays.reopen()
        else:
            self._arrays.create()
            sync_tree(folder)
            sync_folder(folder.parent)

    @property
    def pending(self) -> tuple[int, ...]:
        """Numbers of the blocks that are still to be written."""
        return tuple(number for number in range(len(self.blocks)) if number not in self._ledger.done)

    def write(self, index: int, labels: npt.NDArray[Any], extras: Mapping[str, npt.NDArray[np.uint8]] = NONE) -> None:
        """Write block ``index``; it is on the disk, and noted, on return.

        Parameters
        ----------
        labels
            Organ ids, of the shape of ``blocks[index]``.
        extras
            By name, each of the same shape, behind its channels if it has any; those that the generation was begun
            with, and no others.

        Raises
        ------
        InvalidVolume
            If an id names no organ.
        UserError
            If the disk does not take it; what was written before stays, and the generation can be resumed.
        """
        self.note(index, self._arrays.write(index, labels, extras))

    def note(self, index: int, counts: npt.NDArray[np.int64]) -> None:
        """Note that block ``index`` is on the disk; one that is noted already is not noted again.

        Parameters
        ----------
        counts
            What :meth:`~.label_blocks.LabelBlocks.write` returned to whoever wrote it.
        """
        if index not in self._ledger.done:
            self._counts[index] = counts
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
            yield from self.complete()
            self._keep_index()
        except InvalidVolume:
            self.discard()
            raise
        yield Progress("Waiting for the disk", 0, 0)
        for left in (self.folder / LOOK, *self.folder.rglob(".*.partial")):  # by a run that was killed, the latter
            left.unlink(missing_ok=True)
        sync_tree(self.folder)
        sync_folder(self.folder.parent)
        former = enlist(self.folder.parent, self.name)
        self.close()
        for name in former:
            shutil.rmtree(self.folder.parent / name, ignore_errors=True)
        return open_generation(self.folder, self.schema)

    def complete(self) -> Job[None]:
        """Add pyramids and metadata to what was written, and read back what has no pyramid; :meth:`commit` does it."""
        levels = plan_levels(self._scan.shape, self._scan.voxel_size)
        image: dict[str, Any] = {"name": self.name, "voxel_size": self._scan.voxel_size}
        doing = f"Completing {self.name}"
        yield from build_levels(self.folder, levels, stride, doing)
        said = {"image-label": describe_labels(self.schema)}
        write_image_group(self.folder, levels, image | {"type": "stride"}, said)
        for name, extra in self._arrays.extras.items():
            facts = {"facts": dict(extra.facts)}
            if extra.channels:
                yield from self._check(name)
                write_group(self.folder / name, {OURS: {"format": 1, **facts}})
            else:
                yield from build_levels(self.folder / name, levels, average, doing)
                write_image_group(self.folder / name, levels, image | {"type": "mean"}, {}, facts)

    def close(self) -> None:
        """Let go of it; it can be resumed."""
        self._ledger.close()

    def discard(self) -> None:
        """Remove what was written."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _check(self, name: str) -> Job[None]:
        """Read back what has no pyramid: a return means that all checksums are right."""
        for number in range(len(self.blocks)):
            yield Progress(f"Completing {self.name}: {name}", number, len(self.blocks))
            self._arrays.check(name, number)

    def _keep_index(self) -> None:
        """Blocks that were written before it was resumed are read again to be counted."""
        shape = self._scan.shape
        for number in range(len(self.blocks)):
            if number not in self._counts:
                self._counts[number] = self._arrays.count(number)
        with writing():
            keep_index(self.folder, OrganIndex.from_counts(shape, np.concatenate(list(self._counts.values()))))


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
