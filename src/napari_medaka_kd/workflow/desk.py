"""Desk: a reviewer's seat at one checkpoint's proposals: what is proposed, what was said, what comes next."""

from __future__ import annotations

import getpass
import itertools
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.review import (
    ALL_ORGANS,
    Decision,
    Order,
    ReviewItem,
    Standing,
    Verdict,
    VerdictLog,
    VerdictReader,
    decision_for,
    now,
)

from .agreeing import compare
from .course import Course
from .judged import judged
from .looks import Looks
from .proposals import Proposals, read_proposals
from .shown import Filter, Grid, Proposal
from .stopping import accept_from, rank, review_settings
from .tally import Tally, count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from napari_medaka_kd.project import Project

__all__ = ["Decision", "Desk", "Filter", "Grid", "Order", "Proposal", "ReviewItem", "Tally", "Verdict"]


_OPEN = Filter()
Row: TypeAlias = "tuple[npt.NDArray[np.float64], npt.NDArray[np.str_], npt.NDArray[np.bool_]]"  # of a Grid


class Desk:
    """A reviewer's seat at one checkpoint's proposals.

    Parameters
    ----------
    checkpoint
        Whose label maps are judged.
    reviewer
        Empty: whoever is logged in.
    order, seed
        How :meth:`queue` sorts where it is not told, and what its random draws begin from.

    Raises
    ------
    UserError
        If ``checkpoint`` proposed nothing for an animal without labels, or the reviewer's name cannot name a file.

    Attributes
    ----------
    proposals
        By item, sorted; a scored animal's organs slab by slab, else its organs as a whole.
    cases
        Ids of the animals under review.
    agreements
        How far reviewers agree about these proposals, and on which they do not.
    course
        What comes next and why, and when it is enough. What comes again looks as if nobody had judged it yet.
    """

    def __init__(
        self, project: Project, checkpoint: str, reviewer: str = "", order: Order = "mixed", seed: int = 0
    ) -> None:
        self.project, self.checkpoint = project, checkpoint
        self.reviewer = reviewer or getpass.getuser()
        self.order, self.seed = order, seed
        self._log = VerdictLog(project.review_folder, self.reviewer)
        self._reader = VerdictReader(project.review_folder)
        self._pinned: tuple[ReviewItem, ...] = ()
        self._proposals: dict[ReviewItem, Proposal] = {}
        self._by_case: dict[str, list[ReviewItem]] = {}
        self._rows: dict[tuple[str, int], Row] = {}
        self.reload()

    @property
    def proposals(self) -> Mapping[ReviewItem, Proposal]:
        return self._proposals

    @property
    def cases(self) -> tuple[str, ...]:
        return tuple(self._found)

    def reload(self) -> None:
        """Look at cases, label maps and scores anew, after one of them was made.

        Raises
        ------
        UserError
            If nothing is proposed any more.
        """
        self._found: Mapping[str, Proposals] = read_proposals(self.project, self.checkpoint)
        self._verdicts = self._reader.read()
        self._standing = Standing(self._verdicts, self.checkpoint)
        self.agreements = compare(self._standing)
        scored = {item: (score, why) for case in self._found.values() for item, (score, why) in case.units.items()}
        self._by_case = {case: list(found.units) for case, found in self._found.items()}
        self._rows = {}
        ranking = rank(self.project, self.checkpoint, self._found, self.seed)
        self._proposals = {item: Proposal(item, *scored[item]) for item in ranking.items}
        self.course = Course(ranking, review_settings(self.project), self._looks())
        for case in self._found:
            self._weigh(ReviewItem(case, ALL_ORGANS))
        self._ask_again()

    def refresh(self) -> bool:
        """Take in what anyone said since; cheap enough to be asked every second.

        Returns
        -------
        Whether something was said of this checkpoint's proposals.
        """
        before, self._verdicts = self._verdicts, self._reader.read()
        if self._verdicts is before:
            return False
        fresh = self._verdicts.since(before)
        if fresh is None:  # a log was exchanged: anything may differ
            self._standing = Standing(self._verdicts, self.checkpoint)
            self.agreements = compare(self._standing)
            self.course.restart(self._looks())
            for case in self._found:
                self._weigh(ReviewItem(case, ALL_ORGANS))
            self._ask_again()
            return True
        self._take(fresh)
        touched = {verdict.item for verdict in fresh if verdict.checkpoint == self.checkpoint}
        for said in touched:
            self._weigh(said)
        self._ask_again()
        return bool(touched)

    def queue(self, order: Order | None = None, keep: Filter = _OPEN) -> tuple[ReviewItem, ...]:
        """What to look at, in this order: what was pinned, then what ``keep`` takes."""
        taken = np.array([keep.takes(proposal) for proposal in self._proposals.values()], bool)
        whole, drawing = (keep.organ, keep.case, keep.show) == (0, "", "open"), keep.show == "open"
        ranked = self.course.queue(taken, order or self.order, whole, drawing)
        pinned = set(self._pinned)
        return (*self._pinned, *(item for item in ranked if item not in pinned))

    def upcoming(self, count: int, order: Order | None = None) -> tuple[ReviewItem, ...]:
        """The next ``count`` of all that nobody looked at, at the same cost however many there are."""
        walk = self.course.walk(np.isinf(self.course.past.turn), order or self.order, whole=True, drawing=True)
        return tuple(itertools.islice(walk, count))

    def accepts_unseen(self, item: ReviewItem) -> bool:
        """Whether that proposal scores high enough to be accepted unseen."""
        own = self._found[item.case].threshold
        return self._proposals[item].score >= accept_from(self.course.settings, self.course.stop(), own)

    def flags(self, case: str) -> tuple[str, ...]:
        """What breaks a rule of that animal's anatomy, in words; nothing where it is not under review."""
        return self._found[case].flags if case in self._found else ()

    def pin(self, items: Iterable[ReviewItem]) -> tuple[ReviewItem, ...]:
        """Look at ``items`` next, judged or not, until they are judged again.

        Returns
        -------
        Those that are pinned: the ones whose animal is under review.
        """
        asked = tuple(dict.fromkeys(item for item in items if item.case in self._found))
        self._pinned = (*asked, *(item for item in self._pinned if item not in set(asked)))
        return asked

    def judge(
        self, items: Sequence[ReviewItem], decision: str, reasons: Sequence[str] = (), seconds: float = 0.0
    ) -> tuple[Verdict, ...]:
        """Say ``decision`` of all ``items`` in one gesture; all of it is on the disk when this returns, or nothing.

        Parameters
        ----------
        items
            Of any grain: an organ or all of them, in any range of slices or the whole animal.
        seconds
            How long the person looked, at all of them together.

        Raises
        ------
        UserError
            If there is no item, an animal is not under review, an organ, slice or decision is not known, or the
            disk does not take it.
        """
        said = _decision(decision)
        items = tuple(dict.fromkeys(items))
        if not items:
            raise UserError("There is nothing to judge.", "Choose an item first.")
        for item in items:
            self._require(item)
        each, why = seconds / len(items), self.course.why(items)
        given = [
            Verdict(
                item, said, self.reviewer, now(), each, tuple(reasons), self.checkpoint, *self._labels(item), drawn=why
            )
            for item in items
        ]
        written = self._log.append_all(given)
        self._pinned = tuple(item for item in self._pinned if item not in set(items))
        self.refresh()
        return written

    def undo(self) -> tuple[ReviewItem, ...]:
        """Take this reviewer's last gesture back, be it of today or not; what stood before stands again.

        Returns
        -------
        What it was about; nothing where no gesture of theirs stands.
        """
        self.refresh()
        last = self._standing.last_gesture(self.reviewer)
        if last:
            back = Decision.UNDONE
            self._log.append_all([replace(v, decision=back, time=now(), seconds=0.0, reasons=()) for v in last])
            self.refresh()
        return tuple(verdict.item for verdict in last)

    def amend(self, reasons: Sequence[str]) -> None:
        """Say why, of this reviewer's last gesture, in place of the reasons given before."""
        self.refresh()
        last = self._standing.last_gesture(self.reviewer)
        if any(verdict.reasons != tuple(reasons) for verdict in last):
            self._log.append_all([replace(verdict, reasons=tuple(reasons), time=now()) for verdict in last])
            self.refresh()

    def grid(self, case: str) -> Grid:
        """Scores and verdicts of ``case``, organs x slabs; one column where it is judged as a whole.

        Raises
        ------
        UserError
            If it is not under review.
        """
        found = self._case(case)
        organs = self.project.schema.ids
        rows = [self._row(case, organ) for organ in organs]
        score, decision, proposed = (np.stack(kind) for kind in zip(*rows, strict=True))
        return Grid(organs, found.slabs, score, decision, proposed)

    def tally(self) -> Tally:
        """How far the review is, and how long the rest will take."""
        decisions = Counter(proposal.decision for proposal in self._proposals.values())
        if self.course.again is not None:  # it looks open, but is not
            decisions[None] -= 1
            decisions[decision_for(self._standing, self.course.again)] += 1
        return count(decisions, self._standing.latest_of(self.reviewer))

    # ---- inside ------------------------------------------------------------------------------------------------

    def _looks(self) -> Looks:
        return Looks(self.reviewer, self.checkpoint, self._verdicts.of(self.reviewer, self.checkpoint))

    def _ask_again(self) -> None:
        """Have an item come again, as if nobody had judged it, if it is time for one."""
        again = self.course.ask_again(self._standing, {case: found.labels for case, found in self._found.items()})
        if again is not None:
            self._weigh(again)

    def _take(self, fresh: Sequence[Verdict]) -> None:
        """Take in what was said; who agrees with whom may differ."""
        items = {verdict.item for verdict in fresh if verdict.checkpoint == self.checkpoint}
        before = {item: self._standing.stack(item) for item in items}
        self._standing.add(fresh)
        self.course.take(fresh)
        for item in items:
            self.agreements.take(item, before[item], self._standing.stack(item))

    def _weigh(self, said: ReviewItem) -> None:
        """Look up anew what holds for the proposals that a word on ``said`` covers."""
        for item in self._by_case.get(said.case, ()):
            if said.covers(item):
                self._proposals[item] = self._with_verdict(self._proposals[item])
                self.course.past.note(item, self._standing)
        for organ in self.project.schema.ids if said.organ == ALL_ORGANS else (said.organ,):
            self._rows.pop((said.case, organ), None)

    def _with_verdict(self, proposal: Proposal) -> Proposal:
        said = self._standing.covering(proposal.item)
        if said is None or proposal.item == self.course.again:
            return Proposal(proposal.item, proposal.score, proposal.reasons)
        words = said.decision, said.reviewer, said.reasons, self.agreements.on(proposal.item)
        return Proposal(proposal.item, proposal.score, proposal.reasons, *words)

    def _row(self, case: str, organ: int) -> Row:
        """A row of the grid, made anew only where something was said of the organ: thousands of cells take 25 ms."""
        if (case, organ) not in self._rows:
            cells = [self._cell(case, organ, slab) for slab in self._found[case].slabs]
            self._rows[case, organ] = (
                np.array([cell.score for cell, _ in cells], np.float64),
                np.array([str(cell.decision or "") for cell, _ in cells]),
                np.array([known for _, known in cells], bool),
            )
        return self._rows[case, organ]

    def _cell(self, case: str, organ: int, slab: tuple[int, int]) -> tuple[Proposal, bool]:
        """What there is of ``organ`` in ``slab``, and whether it is proposed there."""
        for wanted in (slab, None):
            known = self._proposals.get(ReviewItem(case, organ, wanted))
            if known is not None:
                return known, True
        said = self._standing.covering(ReviewItem(case, organ, slab))
        own = said.decision if said is not None and said.item.organ == organ else None
        return Proposal(ReviewItem(case, organ, slab), np.nan, decision=own), False

    def _case(self, case: str) -> Proposals:
        if case not in self._found:
            raise UserError(
                f"Case {case!r} has no proposals by {self.checkpoint!r} to judge.",
                f"Under review are: {', '.join(self._found)}.",
            )
        return self._found[case]

    def _labels(self, item: ReviewItem) -> tuple[str, str]:
        """The generation that is judged, and its digest."""
        found = self._found[item.case]
        return found.labels, judged(self.project, found.case, found.labels, item)

    def _require(self, item: ReviewItem) -> None:
        found = self._case(item.case)
        if item.organ not in (ALL_ORGANS, *self.project.schema.ids):
            raise UserError(f"The project has no organ {item.organ}.", f"It has: {self.project.schema.ids}.")
        if item.slab is not None and not 0 <= item.slab[0] < item.slab[1] <= found.depth:
            raise UserError(
                f"Case {item.case!r} has slices 0 to {found.depth - 1}, so none from {item.slab[0]} to "
                f"{item.slab[1] - 1}.",
                "Give the first slice, and one past the last.",
            )


def _decision(word: str) -> Decision:
    known = [str(decision) for decision in Decision if decision is not Decision.UNDONE]
    if word not in known:
        raise UserError(f"{word!r} is no verdict.", f"Say one of: {', '.join(known)}.")
    return Decision(word)
