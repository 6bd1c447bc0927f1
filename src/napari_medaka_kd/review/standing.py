"""Standing: what stands of all verdicts, and which of them holds for an item."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from .verdict import ALL_ORGANS, Decision, ReviewItem, Verdict, by_time


class Standing(Mapping[ReviewItem, Verdict]):
    """For each item the latest verdict that was not taken back.

    Parameters
    ----------
    verdicts
        In any order; their times count.
    checkpoint
        Whose labels were judged; ``None`` for anyone's.
    """

    def __init__(self, verdicts: Iterable[Verdict] = (), checkpoint: str | None = None) -> None:
        self.checkpoint = checkpoint
        self._stacks: dict[ReviewItem, list[Verdict]] = {}
        self._near: dict[tuple[str, int], dict[ReviewItem, None]] = {}  # items that stand, by case and organ
        self.add(sorted(verdicts, key=by_time))

    def __getitem__(self, item: ReviewItem) -> Verdict:
        return self._stacks[item][-1]

    def __iter__(self) -> Iterator[ReviewItem]:
        return iter(self._stacks)

    def __len__(self) -> int:
        return len(self._stacks)

    def add(self, verdicts: Iterable[Verdict]) -> None:
        """Take in ``verdicts``, which come in the order of time and are later than all before."""
        for verdict in verdicts:
            if self.checkpoint in (None, verdict.checkpoint):
                self._take(verdict)

    def covering(self, item: ReviewItem) -> Verdict | None:
        """The finest verdict that covers ``item``.

        One on the organ before one on all organs, then the one on the fewest slices, then the latest.
        """
        for organ in dict.fromkeys((item.organ, ALL_ORGANS)):
            near = self._near.get((item.case, organ))
            found = [self._stacks[wide][-1] for wide in near if wide.covers(item)] if near else []
            if found:
                return min(sorted(found, key=by_time, reverse=True), key=_slices) if len(found) > 1 else found[0]
        return None

    def first(self, item: ReviewItem) -> Verdict | None:
        """The earliest verdict that covers ``item``, also under later words."""
        covering = (
            stack
            for organ in dict.fromkeys((item.organ, ALL_ORGANS))
            for wide, stack in ((wide, self._stacks[wide]) for wide in self._near.get((item.case, organ), ()))
            if wide.covers(item)
        )
        return min((verdict for stack in covering for verdict in stack), key=by_time, default=None)

    def said(self, decision: Decision) -> tuple[Verdict, ...]:
        """Every such verdict that was not taken back, also under later words on its item; in no order."""
        return tuple(verdict for stack in self._stacks.values() for verdict in stack if verdict.decision is decision)

    def last_gesture(self, reviewer: str) -> tuple[Verdict, ...]:
        """What stands of the latest gesture of ``reviewer``, also under later words of others; else nothing."""
        own = [verdict for stack in self._stacks.values() for verdict in stack if verdict.reviewer == reviewer]
        if not own:
            return ()
        last = max(own, key=by_time)
        return tuple(verdict for verdict in own if verdict is last or 0 != verdict.gesture == last.gesture)

    def _take(self, verdict: Verdict) -> None:
        stack = self._stacks.setdefault(verdict.item, [])
        place = _place(stack, verdict)
        if verdict.decision is not Decision.UNDONE:
            stack[place:] = [verdict, *stack[place + 1 :]]
            self._near.setdefault((verdict.item.case, verdict.item.organ), {})[verdict.item] = None
        else:
            del stack[place : place + 1]
        if not stack:
            del self._stacks[verdict.item]
            self._near.get((verdict.item.case, verdict.item.organ), {}).pop(verdict.item, None)


def fold(verdicts: Iterable[Verdict], checkpoint: str | None = None) -> Standing:
    """What stands: for each item the latest verdict that was not undone.

    Parameters
    ----------
    verdicts
        In any order; their times count.
    checkpoint
        Whose labels were judged; ``None`` for anyone's.

    An ``UNDONE`` with a gesture takes back what its reviewer said in that gesture of that very item; one without takes
    back the latest standing verdict on it, whoever gave it. The one before stands again; where none stands, it does
    nothing.
    """
    return Standing(verdicts, checkpoint)


def decision_for(standing: Mapping[ReviewItem, Verdict], item: ReviewItem) -> Decision | None:
    """What holds for ``item``, by the finest verdict that covers it, whenever it was given."""
    verdict = verdict_for(standing, item)
    return None if verdict is None else verdict.decision


def verdict_for(standing: Mapping[ReviewItem, Verdict], item: ReviewItem) -> Verdict | None:
    """The verdict that holds for ``item``, see :meth:`Standing.covering`; fast where ``standing`` was folded."""
    known = standing if isinstance(standing, Standing) else Standing(standing.values())
    return known.covering(item)


def _place(stack: list[Verdict], verdict: Verdict) -> int:
    """Where in ``stack`` the verdict is that ``verdict`` replaces or takes back; a new one comes at the end."""
    for place, known in enumerate(stack):
        if verdict.gesture and (known.gesture, known.reviewer) == (verdict.gesture, verdict.reviewer):
            return place
    return len(stack) - (verdict.decision is Decision.UNDONE and not verdict.gesture and len(stack) > 0)


def _slices(verdict: Verdict) -> float:
    slab = verdict.item.slab
    return math.inf if slab is None else slab[1] - slab[0]
