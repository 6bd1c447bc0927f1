"""Corrected labels: a checkpoint's proposals with all that people painted laid over them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.project import REVIEWED
from napari_medaka_kd.review import ALL_ORGANS, Decision, Standing, Verdict, VerdictReader, Verdicts
from napari_medaka_kd.volumes.label_list import split_name
from napari_medaka_kd.volumes.label_patch import open_held_labels
from napari_medaka_kd.volumes.labels import LabelMap
from napari_medaka_kd.volumes.lazy import DiskArray
from napari_medaka_kd.volumes.organ_index import OrganIndex, cells_in, index_of, recount
from napari_medaka_kd.volumes.pyramid import plan_levels
from napari_medaka_kd.volumes.volume import whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from napari_medaka_kd.project import Case, Project
    from napari_medaka_kd.volumes.volume import LazyArray, Region

    #: Slices, (first, last + 1), and the organs that people painted in them.
    Units = tuple[tuple[tuple[int, int], npt.NDArray[np.bool_]], ...]


def corrections(project: Project) -> Mapping[str, tuple[Verdict, ...]]:
    """By case, the verdicts whose labels people painted, of any checkpoint's proposals.

    A correction stands until it is taken back: later words on its item are words on the corrected labels.
    """
    return _watch(project.review_folder).corrections()


def as_facts(painted: Iterable[Verdict]) -> list[str]:
    """What ``painted`` says, as a fact that labels or a training depend on."""
    return sorted(f"{said.item.organ} {said.item.slab} {said.labels}" for said in painted)


def lay_over(project: Project, case: Case, checkpoint: str) -> LabelMap:
    """The proposals of ``checkpoint`` with every correction that stands laid over, read lazily at every level.

    Where an organ was corrected, in the slices that were judged, it lies exactly where people say; what they took from
    it is what they say, too. Corrections of another checkpoint's proposals count as well: they are people's labels.

    Raises
    ------
    UserError
        If there are no such proposals.
    """
    proposed = case.labels(checkpoint)
    painted = corrections(project).get(case.id, ())
    if not painted:
        return proposed
    said = open_held_labels(case.store, REVIEWED, case.schema)
    reviewed, volume = said.volume, proposed.volume
    units = _units(painted, volume.shape[0])
    plan = plan_levels(volume.shape, volume.voxel_size)
    levels = tuple(
        _Overlay(below, above, units, level.factor[0]).array()
        for below, above, level in zip(volume.levels, reviewed.levels, plan, strict=True)
    )

    def index() -> OrganIndex:
        """The index of the proposals; counted anew is where people's word counts and there is any organ."""
        below, above = index_of(proposed), index_of(said)
        judged = cells_in([(slice(*rows), *whole(volume.shape)[1:]) for rows, _ in units], volume.shape)
        return recount(below, levels[0], np.intersect1d(judged, np.union1d(below.cells, above.cells)))

    return LabelMap(replace(volume, levels=levels), case.schema, index)


@dataclass(frozen=True)
class _Overlay:
    """One level: what is proposed, what people say, and where their word counts.

    Attributes
    ----------
    step
        Slices of level 0 in one of this level.
    """

    proposed: LazyArray
    reviewed: LazyArray
    units: Units
    step: int

    def array(self) -> DiskArray:
        z, y, x = self.proposed.shape
        return DiskArray((z, y, x), self.proposed.dtype, self.read)

    def read(self, box: Region) -> npt.NDArray[Any]:
        """The labels in ``box``."""
        proposed = np.asarray(self.proposed[box])
        parts = [(self._rows(box[0], slices), organs) for slices, organs in self.units]
        parts = [(rows, organs) for rows, organs in parts if rows.start < rows.stop]
        if not parts:
            return proposed
        first, last = min(rows.start for rows, _ in parts), max(rows.stop for rows, _ in parts)
        z = slice(box[0].start + first, box[0].start + last)
        reviewed = np.asarray(self.reviewed[z, box[1], box[2]])
        labels = proposed.copy()
        for rows, organs in parts:
            said = reviewed[rows.start - first : rows.stop - first]
            own = organs[proposed[rows]] | organs[said]
            labels[rows][own] = said[own]
        return labels

    def _rows(self, z: slice, slices: tuple[int, int]) -> slice:
        """Which of the slices ``z`` of this level were taken from ``slices`` of level 0, counted from ``z``'s first."""
        start, stop = (-(-at // self.step) - z.start for at in slices)
        return slice(max(start, 0), min(stop, z.stop - z.start))


class _Watch:
    """Follows the verdicts of a project, from several threads."""

    def __init__(self, folder: Path) -> None:
        self._reader, self._lock = VerdictReader(folder), Lock()
        self._seen: Verdicts | None = None
        self._found: Mapping[str, tuple[Verdict, ...]] = {}

    def corrections(self) -> Mapping[str, tuple[Verdict, ...]]:
        with self._lock:
            verdicts = self._reader.read()
            if verdicts is not self._seen:
                self._seen, self._found = verdicts, _find(verdicts)
            return self._found


@lru_cache(maxsize=8)
def _watch(folder: Path) -> _Watch:
    return _Watch(folder)


def _find(verdicts: Verdicts) -> Mapping[str, tuple[Verdict, ...]]:
    """What was taken back is told checkpoint by checkpoint, for so it was said."""
    found: defaultdict[str, list[Verdict]] = defaultdict(list)
    by_checkpoint: defaultdict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts.of_items_with(Decision.CORRECTED):
        by_checkpoint[verdict.checkpoint].append(verdict)
    for said in by_checkpoint.values():
        for verdict in Standing(said).said(Decision.CORRECTED):
            if split_name(verdict.labels)[0] == REVIEWED:
                found[verdict.item.case].append(verdict)
    return {case: tuple(painted) for case, painted in found.items()}


def _units(painted: Iterable[Verdict], depth: int) -> Units:
    organs: defaultdict[tuple[int, int], npt.NDArray[np.bool_]] = defaultdict(lambda: np.zeros(65_536, bool))
    for verdict in painted:
        known = organs[verdict.item.slab or (0, depth)]
        known[slice(None) if verdict.item.organ == ALL_ORGANS else verdict.item.organ] = True
    return tuple(organs.items())
