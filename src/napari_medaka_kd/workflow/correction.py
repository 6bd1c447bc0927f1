"""Correction: a crop of one item's labels that is painted stroke by stroke, each of them on the disk at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.review import ALL_ORGANS
from napari_medaka_kd.review.journal import Move, Stroke

if TYPE_CHECKING:
    from napari_medaka_kd.review.journal import Journal, Record
    from napari_medaka_kd.volumes.labels import LabelSchema
    from napari_medaka_kd.volumes.volume import Triple


@dataclass(frozen=True)
class _Edit:
    """A stroke, and what it painted over."""

    stroke: Stroke
    before: npt.NDArray[Any]


class Correction:
    """A writable crop of one item's labels at full resolution; every stroke is on the disk before the call returns.

    Parameters
    ----------
    journal
        Of this crop; its strokes are made again.
    labels
        The crop before any stroke, (z, y, x) organ ids.

    Attributes
    ----------
    item, checkpoint, reviewer
        What is corrected, whose proposal it is, and by whom.
    region
        The crop, in voxels of level 0.
    labels
        The crop as it is now, (z, y, x) organ ids, in an array of its own that keeps its place in memory.
    voxel_size
        (z, y, x) µm.
    """

    def __init__(self, journal: Journal, labels: npt.NDArray[Any], schema: LabelSchema, voxel_size: Triple) -> None:
        begun = journal.begun
        self.item, self.checkpoint, self.reviewer, self.region = (
            begun.item, begun.checkpoint, begun.reviewer, begun.region,
        )  # fmt: skip
        self.journal, self.schema, self.voxel_size = journal, schema, voxel_size
        self._base = labels
        self.labels: npt.NDArray[Any] = np.array(labels, schema.dtype, order="C")
        self._done: list[_Edit] = []
        self._undone: list[_Edit] = []
        for record in journal.records:
            self._replay(record)

    @property
    def can_undo(self) -> bool:
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        return bool(self._undone)

    @property
    def strokes(self) -> int:
        """How many stand."""
        return len(self._done)

    @property
    def changed(self) -> npt.NDArray[np.bool_]:
        """Which voxels of the crop differ from what they were at first."""
        differs: npt.NDArray[np.bool_] = self.labels != self._base
        return differs

    def record(self, painted: npt.NDArray[Any]) -> bool:
        """Keep what differs between ``painted``, the crop after a stroke, and ``labels``; whether anything did.

        Raises
        ------
        UserError
            If an id names no organ, or the disk does not take the stroke; then it was not made.
        """
        if painted.shape != self.labels.shape:
            raise ValueError(f"the crop has {self.labels.shape} voxels, what was painted {painted.shape}")
        return self._make(painted, by_hand=True)

    def undo(self) -> bool:
        """Take the last stroke back; whether there was one."""
        if self._done:
            self.journal.append(Move.UNDO)
            self._take_back()
            return True
        return False

    def redo(self) -> bool:
        """Bring back the stroke that was taken back last; whether there was one."""
        if self._undone:
            self.journal.append(Move.REDO)
            self._bring_back()
            return True
        return False

    def interpolate(self, organ: int) -> bool:
        """Fill ``organ`` in between the slices that were painted by hand, as one stroke; whether anything changed.

        Between two such slices the organ gets the shapes in between, and lies nowhere else; slices where it is absent
        from one of the two stay as they are. :data:`ALL_ORGANS`: each organ of those slices.
        """
        filled = self.labels.copy()
        slices = self.edited_slices()
        for first, last in pairwise(slices):
            for each in self._organs_of(first, last) if organ == ALL_ORGANS else (organ,):
                _fill(filled, self.labels, (first, last), each)
        return self._make(filled, by_hand=False)

    def edited_slices(self) -> tuple[int, ...]:
        """The slices of the crop that were painted by hand, rising."""
        size = self.labels[0].size
        edited = [np.unique(edit.stroke.where // size) for edit in self._done if edit.stroke.painted]
        return tuple(np.unique(np.concatenate(edited)).tolist()) if edited else ()

    def touched(self) -> tuple[int, ...]:
        """The item's organ, then other organs that gained voxels, or lost some to the background."""
        changed = self.changed
        before, after = self._base[changed], self.labels[changed]
        others = {*np.unique(after).tolist(), *np.unique(before[after == 0]).tolist()} - {0, self.item.organ}
        return (self.item.organ, *sorted(others)) if self.item.organ != ALL_ORGANS else (ALL_ORGANS,)

    def close(self) -> None:
        """Let go of it; the strokes wait on the disk. Of a crop without any nothing is kept."""
        if self._done or self._undone:
            self.journal.close()
        else:
            self.journal.remove()

    def _make(self, painted: npt.NDArray[Any], by_hand: bool) -> bool:
        where = np.flatnonzero(painted != self.labels)
        after = painted.reshape(-1)[where]
        if not len(where):
            return False
        unknown = set(np.unique(after).tolist()) - {0, *self.schema.ids}
        if unknown:
            raise UserError(
                f"The project has no organ {', '.join(map(str, sorted(unknown)))}.",
                f"Paint with: {', '.join(f'{organ.id} {organ.name}' for organ in self.schema.organs)}.",
            )
        stroke = Stroke(where.astype(np.uint32), after.astype(self.schema.dtype), by_hand)
        self.journal.append(stroke)
        self._apply(stroke)
        return True

    def _replay(self, record: Record) -> None:
        if isinstance(record, Stroke):
            self._apply(record)
        elif record is Move.UNDO and self._done:
            self._take_back()
        elif record is Move.REDO and self._undone:
            self._bring_back()

    def _apply(self, stroke: Stroke) -> None:
        flat = self.labels.reshape(-1)
        self._done.append(_Edit(stroke, flat[stroke.where]))
        flat[stroke.where] = stroke.after
        self._undone.clear()

    def _take_back(self) -> None:
        edit = self._done.pop()
        self.labels.reshape(-1)[edit.stroke.where] = edit.before
        self._undone.append(edit)

    def _bring_back(self) -> None:
        edit = self._undone.pop()
        self.labels.reshape(-1)[edit.stroke.where] = edit.stroke.after
        self._done.append(edit)

    def _organs_of(self, first: int, last: int) -> tuple[int, ...]:
        return tuple(organ for organ in np.unique(self.labels[[first, last]]).tolist() if organ)


def _fill(filled: npt.NDArray[Any], labels: npt.NDArray[Any], slices: tuple[int, int], organ: int) -> None:
    """Give ``organ`` in ``filled``, between two ``slices``, the shapes between those it has there in ``labels``."""
    from napari_medaka_kd.review.interpolate import between  # scipy, which opening a window need not wait for

    first, last = slices
    before, after = labels[first] == organ, labels[last] == organ
    if before.any() and after.any():
        inner = filled[first + 1 : last]
        inner[labels[first + 1 : last] == organ] = 0
        inner[between(before, after, len(inner))] = organ
