"""From scores and verdicts to trust: a person's word first, then the quality classifier's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.quality.record import Record, open_record
from napari_medaka_kd.review import Decision, ReviewItem, decision_for, fold, read_verdicts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medaka_kd.project import Project


@dataclass(frozen=True)
class Trust:
    """How far a teacher's labels are believed.

    Attributes
    ----------
    values
        By case, then by (class, number of the slab): 0…1.
    slab
        Voxels in z of a slab; 0: the whole animal is one.
    """

    values: Mapping[str, Mapping[tuple[int, int], float]]
    slab: int

    def kept(self) -> float:
        """The share of the units that are believed at all."""
        units = [value for case in self.values.values() for value in case.values()]
        return sum(value > 0 for value in units) / max(1, len(units))

    def digest(self) -> str:
        """A hash of all of it."""
        rows = sorted((case, unit, value) for case, units in self.values.items() for unit, value in units.items())
        return hashlib.sha256(repr((self.slab, rows)).encode()).hexdigest()


def acceptance(project: Project, teacher: str) -> Trust:
    """What verdicts and quality scores say of ``teacher``'s label maps of the cases without a person's labels.

    Accepted: believed. Rejected: not. Unreviewed, or unsure: as far as the classifier thinks it acceptable, from its
    threshold on. A person's word always overrules the classifier's.

    Raises
    ------
    UserError
        If no such case has been scored.
    """
    records = scored(project, teacher)
    verdicts = fold(read_verdicts(project.review_folder), checkpoint=teacher)
    values = {
        case: {
            (score.organ, number(score.slab[0], record.slab)): _trust(
                decision_for(verdicts, ReviewItem(case, project.schema.ids[score.organ - 1], score.slab)),
                score.score,
                record.threshold,
            )
            for score in record.scores
        }
        for case, record in records.items()
    }
    return Trust(values, next(iter(records.values())).slab)


def scored(project: Project, teacher: str) -> Mapping[str, Record]:
    """The quality records of ``teacher``'s label maps of the cases that are neither labelled nor held out."""
    records = {
        case.id: open_record(case.folder, case.schema)
        for case in project.cases
        if not case.labelled and not case.held_out and (case.folder / "quality.json").is_file()
    }
    records = {case: record for case, record in records.items() if record.checkpoint == teacher}
    if not records:
        raise UserError(f"No unlabelled case has been scored for {teacher!r}.", "Run: medaka-kd segment, then score.")
    return records


def number(first: int, slab: int) -> int:
    """Which slab begins at slice ``first``."""
    return first // slab if slab else 0


def _trust(decision: Decision | None, score: float, threshold: float) -> float:
    if decision in (Decision.ACCEPTED, Decision.CORRECTED):
        return 1.0
    if decision == Decision.REJECTED:
        return 0.0
    return score if score >= threshold else 0.0
