"""Agreeing: how far the reviewers of a project agree, and on what they do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medaka_kd.review import ALL_ORGANS, Agreement, Agreements, Conflict, Standing, read_verdicts

if TYPE_CHECKING:
    from napari_medaka_kd.project import Project
    from napari_medaka_kd.review import ReviewItem, Verdict
    from napari_medaka_kd.volumes.labels import LabelSchema

_SHOWN = 20  # conflicts in a text


@dataclass(frozen=True)
class Company:
    """How the reviewers of a project stand to one another.

    Attributes
    ----------
    between, by_organ
        Of each two reviewers, on all items and on those of each organ.
    """

    schema: LabelSchema
    between: tuple[Agreement, ...]
    by_organ: tuple[Agreement, ...]
    conflicts: tuple[Conflict, ...]

    def text(self, most: int = _SHOWN) -> str:
        """As a person reads it."""
        if not self.between:
            return "No two reviewers judged the same item of the same label map yet."
        lines = [f"{one.sentence()}." for one in self.between]
        lines += [f"  {worded_organ(self.schema, one.organ)}: {one.sentence()}" for one in self.by_organ]
        lines.append(f"conflicts: {len(self.conflicts) or 'none'}")
        lines += [f"  {worded_conflict(self.schema, conflict)}" for conflict in self.conflicts[:most]]
        rest = len(self.conflicts) - most
        return "\n".join([*lines, *([f"  … and {rest} more"] if rest > 0 else [])])

    def json(self) -> dict[str, Any]:
        """The same for machines."""
        return {
            "agreement": [agreement_facts(self.schema, one) for one in (*self.between, *self.by_organ)],
            "conflicts": [_facts(self.schema, conflict) for conflict in self.conflicts],
        }


def company(project: Project, checkpoint: str = "") -> Company:
    """Agreements and conflicts about the proposals of ``checkpoint``; empty: of each one by itself, put together."""
    verdicts = read_verdicts(project.review_folder)
    known = [checkpoint] if checkpoint else sorted(verdicts.table.checkpoints.values)
    agreements = Agreements()
    conflicts: list[Conflict] = []
    for name in known:
        own = compare(Standing(verdicts, name))
        agreements.add(own)
        conflicts += own.conflicts
    return Company(project.schema, agreements.between(), agreements.by_organ(), tuple(conflicts))


def compare(standing: Standing) -> Agreements:
    """The agreements on all that several reviewers spoke of."""
    agreements = Agreements()
    for item in standing.shared():
        agreements.take(item, (), standing.stack(item))
    return agreements


def agreement_facts(schema: LabelSchema, one: Agreement) -> dict[str, Any]:
    """One agreement for machines; what is not known becomes null."""
    low, high = one.interval
    return {
        "reviewers": [one.first, one.second], "organ": None if one.organ is None else worded_organ(schema, one.organ),
        "items": one.items, "alike": one.alike, "kappa": one.kappa, "low": low, "high": high,
    }  # fmt: skip


def worded_organ(schema: LabelSchema, organ: int | None) -> str:
    if organ is None or organ == ALL_ORGANS:
        return "all organs"
    return next((known.name for known in schema.organs if known.id == organ), f"organ {organ}")


def worded_conflict(schema: LabelSchema, conflict: Conflict) -> str:
    """``fish-3, liver, slices 16 to 31, of teacher: ann accepted, bob rejected (spills over)``."""
    item = conflict.item
    where = [item.case, worded_organ(schema, item.organ)]
    where += [] if item.slab is None else [f"slices {item.slab[0]} to {item.slab[1] - 1}"]
    return f"{', '.join(where)}, of {conflict.verdicts[0].checkpoint}: {worded_words(conflict.verdicts)}"


def worded_words(verdicts: tuple[Verdict, ...]) -> str:
    """``ann accepted, bob rejected (spills over)``."""
    return ", ".join(
        f"{said.reviewer} {said.decision}" + (f" ({', '.join(said.reasons)})" if said.reasons else "")
        for said in verdicts
    )


def _facts(schema: LabelSchema, conflict: Conflict) -> dict[str, Any]:
    item: ReviewItem = conflict.item
    said = [
        {"reviewer": one.reviewer, "decision": str(one.decision), "reasons": list(one.reasons), "time": one.time}
        for one in conflict.verdicts
    ]
    return {
        "case": item.case, "organ": worded_organ(schema, item.organ), "slab": item.slab,
        "checkpoint": conflict.verdicts[0].checkpoint, "verdicts": said,
    }  # fmt: skip
