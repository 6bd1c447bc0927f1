"""Readiness: whether there is enough to distil a student from, organ by organ, and what to review first."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.project import MANUAL
from napari_medaka_kd.review import Decision, ReviewItem
from napari_medaka_kd.words import counted

from .desk import Desk, Filter, Proposal
from .kinds import finds_things
from .leakage import find_leaks
from .outline import outline
from .stopping import taught_unseen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_medaka_kd.project import Project
    from napari_medaka_kd.settings import Unreviewed

_FEW = 20  # verdicts that begin to show whether the scores can be believed
_JUDGED = 3  # verdicts on an organ from which on "mostly" means something
_NEXT, _NEXT_EACH = 12, 3  # items to review next; of one organ


@dataclass(frozen=True)
class OrganReadiness:
    """What a student could learn of one organ.

    Attributes
    ----------
    labelled
        Animals with a person's label of it that are not held out.
    accepted, rejected, corrected, open
        Proposals by what holds for them; one that somebody was unsure of is open.
    believed
        Open ones that teach unseen.
    """

    organ: int
    name: str
    labelled: int
    accepted: int
    rejected: int
    corrected: int
    open: int
    believed: int

    @property
    def sources(self) -> int:
        """How many labels and proposals of it a student would learn from."""
        return self.labelled + self.accepted + self.corrected + self.believed

    @property
    def judged(self) -> int:
        return self.accepted + self.rejected + self.corrected


@dataclass(frozen=True)
class Readiness:
    """Whether there is enough to distil a student from.

    Attributes
    ----------
    warnings
        What would make the student, or the test of it, worse; a sentence each.
    review_next
        Open proposals of the organs that need a verdict most.
    ready
        Whether distilling can begin, warnings or not.
    sentence
        The same in words, or what to do first.
    """

    teacher: str
    organs: tuple[OrganReadiness, ...]
    warnings: tuple[str, ...]
    review_next: tuple[ReviewItem, ...]
    ready: bool
    sentence: str

    def text(self) -> str:
        """As a person reads it."""
        heads = ("organ", "labelled", "accepted", "rejected", "corrected", "open", "believed")
        rows = [(o.name, o.labelled, o.accepted, o.rejected, o.corrected, o.open, o.believed) for o in self.organs]
        width = max(len(str(row[0])) for row in (heads, *rows))
        table = [
            f"  {row[0]!s:{width}s}"
            + "".join(f"{cell!s:>{len(head) + 2}s}" for head, cell in zip(heads[1:], row[1:], strict=True))
            for row in (heads, *rows)
        ]
        warned = [f"  ! {warning}" for warning in self.warnings]
        names = {organ.organ: organ.name for organ in self.organs}
        coming = [f"  {item.case} {names[item.organ]}{_slices(item)}" for item in self.review_next]
        return "\n".join([self.sentence, *table, *warned, *(["Review next:", *coming] if coming else [])])

    def json(self) -> dict[str, Any]:
        return asdict(self)


def readiness(project: Project, teacher: str, unreviewed: Unreviewed | None = None) -> Readiness:
    """Look at labels, scores and verdicts on ``teacher``'s proposals; nothing is changed.

    Parameters
    ----------
    unreviewed
        What of it will teach; ``None``: as the project's settings say.
    """
    card = _card(project, teacher)
    desk = _desk(project, teacher)
    organs = _organs(project, desk, unreviewed or taught_unseen(project))
    hindrance = _hindrance(project, teacher, card is not None, desk)
    learnable = [organ for organ in organs if organ.sources]
    if not hindrance and not learnable:
        hindrance = "There is nothing to learn from: label an animal, or accept some proposals."
    leaks = find_leaks(project, card.trained_on if card is not None else ())
    warnings = (*leaks, *_of_organs(organs if desk is not None else ()), *_of_review(project, organs, desk))
    return Readiness(
        teacher=teacher,
        organs=organs,
        warnings=warnings,
        review_next=_review_next(desk, organs) if desk is not None else (),
        ready=not hindrance,
        sentence=hindrance or _verdict(len(learnable), len(organs), len(warnings)),
    )


def _card(project: Project, teacher: str) -> Checkpoint | None:
    return Checkpoint.open(project.checkpoint(teacher)) if teacher in project.checkpoints else None


def _desk(project: Project, teacher: str) -> Desk | None:
    """``None`` where nothing is proposed."""
    try:
        return Desk(project, teacher, reviewer="readiness")  # says nothing, whoever is logged in
    except UserError:
        if any(teacher in case.label_names for case in project.cases if not case.labelled and not case.held_out):
            raise
        return None


def _organs(project: Project, desk: Desk | None, unreviewed: Unreviewed) -> tuple[OrganReadiness, ...]:
    taught = [outline(case, MANUAL).organs for case in project.cases if case.labelled and not case.held_out]
    labelled = Counter(organ for organs in taught for organ in organs)
    proposals: dict[int, list[Proposal]] = {organ.id: [] for organ in project.schema.organs}
    for proposal in desk.proposals.values() if desk is not None else ():
        proposals[proposal.item.organ].append(proposal)
    return tuple(
        _organ(organ.id, organ.name, labelled[organ.id], _counts(desk, proposals[organ.id], unreviewed))
        for organ in project.schema.organs
    )


def _organ(organ: int, name: str, labelled: int, counts: Counter[str]) -> OrganReadiness:
    said = {decision: counts[decision] for decision in ("accepted", "rejected", "corrected", "open")}
    return OrganReadiness(organ, name, labelled, **said, believed=counts["believed"])


def _counts(desk: Desk | None, proposals: Iterable[Proposal], unreviewed: Unreviewed) -> Counter[str]:
    """Proposals by decision; ``open`` ones, without one, and ``believed`` ones among these, which teach, too."""
    counts: Counter[str] = Counter()
    for proposal in proposals:
        if proposal.decision in (None, Decision.UNSURE):
            counts["open"] += 1
            teaches = desk is not None and (unreviewed != "accepted" or desk.accepts_unseen(proposal.item))
            counts["believed"] += teaches and not math.isnan(proposal.score)
        else:
            counts[str(proposal.decision)] += 1
    return counts


def _hindrance(project: Project, teacher: str, trained: bool, desk: Desk | None) -> str:
    """What must be done before anything can be distilled; empty where nothing must."""
    if finds_things(project, teacher):
        return f"{teacher!r} finds things that overlap, so it has no organs to teach: choose another teacher."
    if not trained:
        return f"There is no checkpoint {teacher!r} to distil from: train a teacher first."
    if not any(case.labelled and not case.held_out for case in project.cases):
        return "There is no labelled animal to learn from: add one with its labels."
    if desk is None:
        return f"Nothing is proposed yet: let {teacher!r} segment the animals without labels."
    if all(math.isnan(proposal.score) for proposal in desk.proposals.values()):
        return f"The proposals of {teacher!r} are not scored yet: score them first."
    return ""


def _verdict(learnable: int, organs: int, warnings: int) -> str:
    known = f"all {organs} organs have" if learnable == organs else f"{learnable} of {organs} organs have"
    warned = f", with {counted(warnings, 'warning')}" if warnings else ""
    return f"Ready{warned}: {known} something to learn from."


def _of_organs(organs: Sequence[OrganReadiness]) -> list[str]:
    told = []
    for organ in organs:
        if not organ.sources:
            told.append(f"Nothing to learn {organ.name!r} from: accept or correct some, or label it in an animal.")
        elif organ.judged >= _JUDGED and organ.rejected > organ.judged / 2:
            share = f"{organ.rejected} of {organ.judged}"
            told.append(f"Most proposals of {organ.name!r} that were judged were rejected ({share}): correct some.")
    return told


def _of_review(project: Project, organs: Sequence[OrganReadiness], desk: Desk | None) -> list[str]:
    told = []
    judged, total = sum(organ.judged for organ in organs), len(desk.proposals) if desk is not None else 0
    if judged < min(_FEW, total):
        told.append(f"{judged} of {total} proposals are judged: some {min(_FEW, total)} would show if scores hold.")
    if not any(case.held_out and case.labelled for case in project.cases):
        told.append("No labelled animal is held out: there will be no report card of the student.")
    return told


def _review_next(desk: Desk, organs: Sequence[OrganReadiness]) -> tuple[ReviewItem, ...]:
    """Of the organs known least, the most telling proposals; of one that nothing is known of, the best ones."""
    found: list[ReviewItem] = []
    for organ in sorted(organs, key=lambda organ: (organ.sources - organ.believed, organ.judged)):
        items = desk.queue("informative", Filter(organ=organ.organ))
        if not organ.sources:
            items = tuple(sorted(items, key=lambda item: -desk.proposals[item].score))
        found += items[:_NEXT_EACH]
    return tuple(found[:_NEXT])


def _slices(item: ReviewItem) -> str:
    return "" if item.slab is None else f" z {item.slab[0]}-{item.slab[1]}"
