"""What a checkpoint proposes for animals without labels: organs slab by slab where scored, else whole."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.quality.record import FILE, Record, open_record
from napari_medaka_kd.review import ReviewItem
from napari_medaka_kd.volumes.label_store import generation

from .outline import outline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medaka_kd.project import Case, Project

UNSCORED: tuple[float, tuple[str, ...]] = (float("nan"), ())


@dataclass(frozen=True)
class Proposals:
    """What a checkpoint proposes for one animal.

    Attributes
    ----------
    labels
        The generation of its label map: ``teacher.2``.
    units
        By item, sorted: score (NaN where there is none) and the reasons for it.
    threshold
        The classifier accepts from this score on; above 1 where nothing is scored.
    flags
        What breaks a rule of the animal's anatomy, in words.
    evidence
        What each was scored by, in the order of the units; empty where nothing is scored.
    """

    case: Case
    labels: str
    units: Mapping[ReviewItem, tuple[float, tuple[str, ...]]]
    threshold: float
    flags: tuple[str, ...] = ()
    evidence: tuple[tuple[float, ...], ...] = ()

    @cached_property
    def depth(self) -> int:
        """Slices of the scan."""
        return self.case.volume.shape[0]

    @property
    def slabs(self) -> tuple[tuple[int, int], ...]:
        """The ranges of slices that the units speak of; the whole depth where they speak of the whole animal."""
        ranges = {item.slab for item in self.units if item.slab is not None}
        return tuple(sorted(ranges)) or ((0, self.depth),)


def read_proposals(project: Project, checkpoint: str) -> Mapping[str, Proposals]:
    """The proposals by case, of those that are neither labelled nor held out and have a label map by ``checkpoint``.

    Raises
    ------
    UserError
        If there is no such case.
    """
    open_cases = [case for case in project.cases if not case.held_out]
    found = {}
    for case in open_cases:
        names = case.label_names
        if checkpoint in names and not case.labelled:
            found[case.id] = _read(case, checkpoint)
    if not found:
        raise UserError(
            f"Nothing is proposed by {checkpoint!r} for an animal without labels.", "Run: medaka-kd segment."
        )
    return found


def evidence_of(found: Mapping[str, Proposals]) -> npt.NDArray[np.float64] | None:
    """(n, features) what the proposals of all cases were scored by; ``None`` where that is not the same for each."""
    rows = [row for case in found.values() for row in case.evidence]
    alike = len({len(row) for row in rows}) == 1 and len(rows) == sum(len(case.units) for case in found.values())
    return np.array(rows, np.float64) if alike and rows[0] else None


def _read(case: Case, checkpoint: str) -> Proposals:
    labels = generation(case.store, checkpoint)
    record = _record(case, checkpoint, labels)
    if record is None:
        whole = {ReviewItem(case.id, organ): UNSCORED for organ in outline(case, checkpoint).organs}
        return Proposals(case, labels, whole, 2.0)
    ids = case.schema.ids
    units = {ReviewItem(case.id, ids[s.organ - 1], s.slab): s for s in record.scores}
    known = dict(sorted(units.items()))
    scores = {item: (s.score, s.reasons) for item, s in known.items()}
    return Proposals(case, labels, scores, record.threshold, record.flags, tuple(s.evidence for s in known.values()))


def _record(case: Case, checkpoint: str, labels: str) -> Record | None:
    """The scores of this very label map; ``None`` where there are none, or of another one only."""
    if not (case.folder / FILE).is_file():
        return None
    record = open_record(case.folder, case.schema)
    return record if (record.checkpoint, record.labels) == (checkpoint, labels) else None
