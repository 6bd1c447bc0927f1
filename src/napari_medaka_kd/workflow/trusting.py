"""From scores and verdicts to trust: a person's word first, then the quality classifier's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.quality.record import FILE, Record, open_record
from napari_medaka_kd.review import Decision, ReviewItem, Standing, Verdict, fold, read_verdicts, verdict_for
from napari_medaka_kd.volumes.label_store import generation

from .corrected import corrections
from .stopping import accept_from, review_settings, stop_rule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medaka_kd.project import Case, Project
    from napari_medaka_kd.settings import Unreviewed

    Slices = tuple[int, int]


@dataclass(frozen=True)
class Trust:
    """How far a teacher's labels are believed.

    Attributes
    ----------
    values
        By case, then by (class, number of the slab): 0…1.
    slab
        Voxels in z of a slab; 0: the whole animal is one.
    slabs
        By case where it differs: 1 where people spoke of parts of a slab.
    """

    values: Mapping[str, Mapping[tuple[int, int], float]]
    slab: int
    slabs: Mapping[str, int] = field(default_factory=dict)

    def slab_of(self, case: str) -> int:
        """Voxels in z of a slab of ``case``."""
        return self.slabs.get(case, self.slab)

    def kept(self) -> float:
        """The share of the units that are believed at all."""
        units = [value for case in self.values.values() for value in case.values()]
        return sum(value > 0 for value in units) / max(1, len(units))

    def digest(self) -> str:
        """A hash of all of it."""
        rows = sorted((case, unit, value) for case, units in self.values.items() for unit, value in units.items())
        finer = (sorted(self.slabs.items()),) if self.slabs else ()
        return hashlib.sha256(repr((self.slab, rows, *finer)).encode()).hexdigest()


def acceptance(project: Project, teacher: str, unreviewed: Unreviewed = "accepted") -> Trust:
    """What verdicts and quality scores say of ``teacher``'s label maps of the cases without a person's labels.

    Accepted or corrected: believed. Rejected: not. Unreviewed, or unsure: as far as the classifier thinks it
    acceptable, from the threshold on that random verdicts have proven; while they have not, from its own or not at all,
    as the project's settings say. A person's word always overrules the classifier's, a finer one a coarser. What was
    corrected in another checkpoint's proposals is believed until somebody speaks of it here.

    Parameters
    ----------
    unreviewed
        ``weighed``: these are believed as far as their score, whatever it is; ``all``: wholly.

    Raises
    ------
    UserError
        If no such case has been scored.
    """
    records = scored(project, teacher)
    cases = {case.id: case for case in project.cases}
    standing = fold(read_verdicts(project.review_folder), checkpoint=teacher)
    painted = corrections(project)
    settings, rule = review_settings(project), stop_rule(project, teacher)
    values, slabs = {}, {}
    for case, record in records.items():
        threshold = accept_from(settings, rule, record.threshold) if unreviewed == "accepted" else 0.0
        scores = tuple(replace(each, score=1.0) for each in record.scores) if unreviewed == "all" else record.scores
        believed = replace(record, threshold=threshold, scores=scores)
        weighing = _Weighing(cases[case], believed, standing, painted.get(case, ()))
        values[case] = weighing.values()
        if weighing.finer:
            slabs[case] = 1
    return Trust(values, next(iter(records.values())).slab, slabs)


def scored(project: Project, teacher: str) -> Mapping[str, Record]:
    """The quality records of ``teacher``'s present label maps of the cases that are neither labelled nor held out."""
    records = {}
    for case in project.cases:
        if teacher in case.label_names and not case.labelled and not case.held_out and (case.folder / FILE).is_file():
            record = open_record(case.folder, case.schema)
            if (record.checkpoint, record.labels) == (teacher, generation(case.store, teacher)):
                records[case.id] = record
    if not records:
        raise UserError(f"No unlabelled case has been scored for {teacher!r}.", "Run: medaka-kd segment, then score.")
    return records


def number(first: int, slab: int) -> int:
    """Which slab begins at slice ``first``, or nearest to it where slabs are not quite ``slab`` slices apart."""
    return (first + slab // 2) // slab if slab else 0


class _Weighing:
    """Whom to believe of one case, unit by unit; units are slices where people spoke of parts of a scored slab."""

    def __init__(self, case: Case, record: Record, standing: Standing, painted: tuple[Verdict, ...]) -> None:
        self.case, self.record, self.standing, self.painted = case, record, standing, painted
        scored_slabs = sorted({score.slab for score in record.scores})
        depth = case.volume.shape[0]
        spoken = [item.slab for item in standing if item.case == case.id and item.slab is not None]
        spoken += [said.item.slab or (0, depth) for said in painted]
        self.finer = not all(_fits(slab, scored_slabs) for slab in spoken)
        self.slabs = [(z, z + 1) for z in range(depth)] if self.finer else scored_slabs

    def values(self) -> dict[tuple[int, int], float]:
        """The trust by (class, number of the slab)."""
        slab, ids = 1 if self.finer else self.record.slab, self.case.schema.ids
        return {
            (organ, number(slices[0], slab)): self._trust(ReviewItem(self.case.id, ids[organ - 1], slices), score)
            for (organ, slices), score in self._scores().items()
        }

    def _scores(self) -> dict[tuple[int, Slices], float]:
        """The scores by (class, slices), and 0 for what nobody scored but somebody painted."""
        scores = {
            (score.organ, slices): score.score
            for score in self.record.scores
            for slices in ([(z, z + 1) for z in range(*score.slab)] if self.finer else [score.slab])
        }
        painted: dict[tuple[int, Slices], float] = {
            (organ, slices): 0.0
            for organ, known in enumerate(self.case.schema.ids, start=1)
            for slices in (self.slabs if self.painted else ())
            if self._is_painted(ReviewItem(self.case.id, known, slices))
        }
        return scores | {unit: score for unit, score in painted.items() if unit not in scores}

    def _trust(self, item: ReviewItem, score: float) -> float:
        said = verdict_for(self.standing, item)
        decision = said.decision if said is not None else Decision.CORRECTED if self._is_painted(item) else None
        if decision in (Decision.ACCEPTED, Decision.CORRECTED):
            return 1.0
        if decision == Decision.REJECTED:
            return 0.0
        return score if score >= self.record.threshold else 0.0

    def _is_painted(self, item: ReviewItem) -> bool:
        return any(said.item.covers(item) for said in self.painted)


def _fits(slab: Slices, known: list[Slices]) -> bool:
    """Whether ``slab`` is made up of whole ``known`` ones, which do not overlap."""
    inside = [last - first for first, last in known if slab[0] <= first and last <= slab[1]]
    return sum(inside) == slab[1] - slab[0]
