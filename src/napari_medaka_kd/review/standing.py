"""Standing: what stands of all verdicts, and which of them holds for an item."""

from __future__ import annotations

import math
from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from heapq import merge

from .bulk import Bulk
from .table import Verdicts
from .verdict import ALL_ORGANS, Decision, ReviewItem, Verdict, by_time


class Standing(Mapping[ReviewItem, Verdict]):
    """For each item the latest verdict that was not taken back.

    Parameters
    ----------
    verdicts
        In any order; their times count. Those that :func:`~napari_medaka_kd.review.log.read_verdicts` gives are folded
        by the million a second.
    checkpoint
        Whose labels were judged; ``None`` for anyone's.
    """

    def __init__(self, verdicts: Iterable[Verdict] = (), checkpoint: str | None = None) -> None:
        self.checkpoint = checkpoint
        self._stacks: dict[ReviewItem, list[Verdict]] = {}  # folded one by one: these count, not what _bulk says
        self._said: dict[ReviewItem, list[Verdict]] = {}  # all on the items of _stacks, in the order of time
        self._near: dict[tuple[str, int], dict[ReviewItem, None]] = {}  # items that stand
        self._bulk = Bulk(verdicts, checkpoint) if isinstance(verdicts, Verdicts) else None
        if self._bulk is None:
            self.add(verdicts)
        else:
            for item in self._bulk.hard():
                self._open(item)

    def __getitem__(self, item: ReviewItem) -> Verdict:
        stack = self._stacks.get(item)
        if stack:
            return stack[-1]
        found = self._bulk.on(item) if self._bulk is not None and stack is None else None
        if found is None:
            raise KeyError(item)
        return found

    def __iter__(self) -> Iterator[ReviewItem]:
        if self._bulk is not None:
            yield from (item for item in self._bulk.items() if item not in self._stacks)
        yield from (item for item, stack in self._stacks.items() if stack)

    def __len__(self) -> int:
        elsewhere = 0 if self._bulk is None else sum(self._bulk.on(item) is None for item in self._stacks)
        bulk = 0 if self._bulk is None else len(self._bulk.standing) - len(self._stacks) + elsewhere
        return bulk + sum(map(bool, self._stacks.values()))

    def add(self, verdicts: Iterable[Verdict]) -> None:
        """Take in more ``verdicts``, in any order."""
        touched: dict[ReviewItem, None] = {}
        for verdict in verdicts:
            if self.checkpoint in (None, verdict.checkpoint):
                insort(self._open(verdict.item), verdict, key=by_time)
                touched[verdict.item] = None
        for item in touched:
            self._fold(item)

    def covering(self, item: ReviewItem) -> Verdict | None:
        """The finest verdict that covers ``item``.

        One on the organ before one on all organs, then the one on the fewest slices, then the latest.
        """
        own = self.get(item)
        if own is not None:
            return own
        for organ in dict.fromkeys((item.organ, ALL_ORGANS)):
            near = self._near_of(item.case, organ)
            found = [self[wide] for wide in near if wide.covers(item)] if near else []
            if found:
                return min(sorted(found, key=by_time, reverse=True), key=_slices) if len(found) > 1 else found[0]
        return None

    def first(self, item: ReviewItem) -> Verdict | None:
        """The earliest verdict that covers ``item``, also under later words."""
        near = [w for organ in dict.fromkeys((item.organ, ALL_ORGANS)) for w in self._near_of(item.case, organ)]
        said = (verdict for wide in near if wide.covers(item) for verdict in self.stack(wide))
        return min(said, key=by_time, default=None)

    def stack(self, item: ReviewItem) -> list[Verdict]:
        """What was said on that very item and not taken back, the verdict that stands last."""
        if item in self._stacks:
            return list(self._stacks[item])
        return [] if self._bulk is None else stack_of(sorted(self._bulk.said_on(item), key=by_time))

    def decisions(self) -> Counter[Decision]:
        """How many items stand, by what was said of them."""
        found = Counter(stack[-1].decision for stack in self._stacks.values() if stack)
        return found if self._bulk is None else found + self._bulk.decisions(self._stacks)

    def shared(self) -> Iterator[ReviewItem]:
        """Items on which more than one reviewer spoke, whatever stands of it."""
        if self._bulk is not None:
            yield from (item for item in self._bulk.shared() if item not in self._stacks)
        yield from (item for item, said in self._said.items() if len({verdict.reviewer for verdict in said}) > 1)

    def said(self, decision: Decision) -> tuple[Verdict, ...]:
        """Every such verdict that was not taken back, also under later words on its item; in no order."""
        found = [v for stack in self._stacks.values() for v in stack if v.decision is decision]
        return (*found, *(self._bulk.said(decision, self._stacks) if self._bulk is not None else ()))

    def last_gesture(self, reviewer: str) -> tuple[Verdict, ...]:
        """What stands of the latest gesture of ``reviewer``, also under later words of others; else nothing."""
        own = [verdict for stack in self._stacks.values() for verdict in stack if verdict.reviewer == reviewer]
        bulk = [] if self._bulk is None else self._bulk.last_word(reviewer, self._stacks)
        last = max((*own, *bulk), key=by_time, default=None)
        if last is None:
            return ()
        own += [] if self._bulk is None else self._bulk.gesture(last, self._stacks)
        return tuple(verdict for verdict in own if 0 != verdict.gesture == last.gesture) or (last,)

    def latest_of(self, reviewer: str) -> Iterator[Verdict]:
        """The verdicts of ``reviewer`` that stand, the latest first."""
        tops = (stack[-1] for stack in self._stacks.values() if stack)
        own = sorted((top for top in tops if top.reviewer == reviewer), key=by_time, reverse=True)
        others = iter(()) if self._bulk is None else self._bulk.latest_of(reviewer, self._stacks)
        return merge(own, others, key=by_time, reverse=True)

    def _open(self, item: ReviewItem) -> list[Verdict]:
        """All that was said on ``item``, to which more may be added; from now on it is folded one by one."""
        if item not in self._stacks:
            self._said[item] = sorted(self._bulk.said_on(item), key=by_time) if self._bulk is not None else []
            self._stacks[item] = []
            self._fold(item)
        return self._said[item]

    def _fold(self, item: ReviewItem) -> None:
        near = self._near_of(item.case, item.organ)
        self._stacks[item] = stack_of(self._said[item])
        if self._stacks[item]:
            near[item] = None
        else:
            near.pop(item, None)

    def _near_of(self, case: str, organ: int) -> dict[ReviewItem, None]:
        if (case, organ) not in self._near:
            self._near[case, organ] = dict.fromkeys(() if self._bulk is None else self._bulk.near(case, organ))
        return self._near[case, organ]


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


def stack_of(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """What stands on one item, the last one on top, of all that was said on it in the order of time."""
    stack: list[Verdict] = []
    for verdict in verdicts:
        place = _place(stack, verdict)
        if verdict.decision is Decision.UNDONE:
            del stack[place : place + 1]
        else:
            stack[place:] = [verdict, *stack[place + 1 :]]
    return stack


def _place(stack: list[Verdict], verdict: Verdict) -> int:
    """Where in ``stack`` the verdict is that ``verdict`` replaces or takes back; a new one comes at the end."""
    for place, known in enumerate(stack):
        if verdict.gesture and (known.gesture, known.reviewer) == (verdict.gesture, verdict.reviewer):
            return place
    return len(stack) - (verdict.decision is Decision.UNDONE and not verdict.gesture and len(stack) > 0)


def _slices(verdict: Verdict) -> float:
    slab = verdict.item.slab
    return math.inf if slab is None else slab[1] - slab[0]
