"""What to look at next, and how the proposals stand: the scores of a project in the reviewer's words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_medaka_kd.review import Order, ReviewItem, fold, queue, read_verdicts

from .anatomy import listed
from .trusting import scored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medaka_kd.project import Project
    from napari_medaka_kd.quality.quality import QualityScore
    from napari_medaka_kd.quality.record import Record

_CASES = 10  # whose broken rules are listed


@dataclass(frozen=True)
class Glance:
    """Scores at a glance: how many proposals there are, how many would be accepted, the worst with their reasons.

    ``flags`` says by case what breaks a rule of its anatomy.
    """

    checkpoint: str
    units: int
    accepted: int
    threshold: float
    worst: tuple[dict[str, Any], ...]
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def text(self) -> str:
        lines = [f"{self.accepted} of {self.units} organs by {self.checkpoint!r} score at least {self.threshold:.2f}."]
        for row in self.worst:
            why = "; ".join(row["reasons"]) or "no single reason"
            lines.append(f"  {row['score']:.2f}  {row['case']} {row['organ']} z {row['z'][0]}-{row['z'][1]}: {why}")
        if self.flags:
            lines.append(f"{sum(map(len, self.flags.values()))} rules of anatomy are broken:")
        for case, flags in list(self.flags.items())[:_CASES]:
            lines.append(f"  {case}: {listed(flags)}")
        if len(self.flags) > _CASES:
            lines.append(f"  … and in {len(self.flags) - _CASES} more animals: see their quality.json.")
        return "\n".join(lines)

    def json(self) -> dict[str, Any]:
        return vars(self)


def scores_at_a_glance(project: Project, checkpoint: str, worst: int = 5) -> Glance:
    """Count and sort what :func:`score` left on disk."""
    records = scored(project, checkpoint)
    rows = _rows(records)
    threshold = next(iter(records.values())).threshold
    rows.sort(key=lambda row: row[1].score)
    names = ("", *project.schema.names)
    lowest = tuple(
        {"case": case, "organ": names[s.organ], "z": s.slab, "score": s.score, "reasons": s.reasons}
        for case, s in rows[:worst]
    )
    flags = {case: record.flags for case, record in records.items() if record.flags}
    return Glance(checkpoint, len(rows), sum(s.score >= threshold for _, s in rows), threshold, lowest, flags)


def next_items(project: Project, checkpoint: str, order: Order = "mixed", seed: int = 0) -> tuple[ReviewItem, ...]:
    """The proposals nobody has judged yet, in the ``order`` in which to look at them."""
    scores: Mapping[ReviewItem, float] = {
        ReviewItem(case, project.schema.ids[score.organ - 1], score.slab): score.score
        for case, score in _rows(scored(project, checkpoint))
    }
    return queue(scores, fold(read_verdicts(project.review_folder), checkpoint=checkpoint), order, seed)


def _rows(records: Mapping[str, Record]) -> list[tuple[str, QualityScore]]:
    return [(case, score) for case, record in records.items() for score in record.scores]
