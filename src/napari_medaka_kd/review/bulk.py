"""Bulk: what stands of verdicts by the million, found by sorting their columns instead of one by one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .table import DECISIONS, Ids, Verdicts
from .verdict import Decision, ReviewItem, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from .table import Rows

_UNDONE = DECISIONS.index(Decision.UNDONE)
_AT_ONCE = 64  # verdicts that are made when one of them is asked for


class Bulk:
    """What stands of ``verdicts`` of a checkpoint, or of all.

    Some methods leave out the verdicts on certain items: those that somebody keeps account of elsewhere, as more was
    said on them since.

    Attributes
    ----------
    standing
        Codes of the items on which a verdict stands.
    """

    def __init__(self, verdicts: Verdicts, checkpoint: str | None) -> None:
        self.verdicts, self.table, self.rows = verdicts, verdicts.table, verdicts.rows
        code = None if checkpoint is None else self.table.checkpoints.find(checkpoint)
        self._items = len(self.table.items)
        self._folded = fold_rows(self.rows, self._items, code)
        self.standing: Ids = np.flatnonzero(self._folded.top >= 0)
        self._latest: dict[str, Ids] = {}

    def hard(self) -> list[ReviewItem]:
        """Items that must be folded one verdict after the other; here nothing stands on them."""
        return [self.table.item(code) for code in self._folded.hard.tolist()]

    def items(self) -> Iterator[ReviewItem]:
        """Those on which a verdict stands."""
        return map(self.table.item, self.standing.tolist())

    def on(self, item: ReviewItem) -> Verdict | None:
        """The verdict that stands on that very item."""
        code = self._code(item)
        row = -1 if code < 0 else int(self._folded.top[code])
        return None if row < 0 else self.table.make(self.rows[row].item())

    def said_on(self, item: ReviewItem) -> list[Verdict]:
        """All that was ever said on it, in the order of time but for the same instant."""
        code = self._code(item)
        return [] if code < 0 else self.verdicts.pick(self._folded.rows_of(code))

    def near(self, case: str, organ: int) -> list[ReviewItem]:
        """The items of an organ of a case on which a verdict stands."""
        return [self.table.item(code) for code in self._places.get((case, organ), ())]

    def decisions(self, without: Collection[ReviewItem]) -> Counter[Decision]:
        """How many items stand, by what was said of them."""
        top = self._folded.top.copy()
        top[self._codes(without)] = -1
        counts = np.bincount(self.rows["decision"][top[top >= 0]], minlength=len(DECISIONS))
        return Counter({decision: int(count) for decision, count in zip(DECISIONS, counts, strict=True) if count})

    def shared(self) -> list[ReviewItem]:
        """Items on which more than one reviewer spoke."""
        items, reviewers = (self.rows[name][self._folded.order] for name in ("item", "reviewer"))
        first = reviewers[self._folded.starts[items]]
        return [self.table.item(code) for code in np.unique(items[reviewers != first]).tolist()]

    def said(self, decision: Decision, without: Collection[ReviewItem]) -> list[Verdict]:
        """Every such verdict that was not taken back."""
        alive = self._alive(without)
        return self.verdicts.pick(alive[self.rows["decision"][alive] == DECISIONS.index(decision)])

    def last_word(self, reviewer: str, without: Collection[ReviewItem]) -> list[Verdict]:
        """The latest verdict of ``reviewer`` that was not taken back, also under later words; else nothing."""
        own = self._alive_of(reviewer, without)
        return self.verdicts.pick([own[np.argmax(self.rows["time"][own])]]) if len(own) else []

    def gesture(self, said: Verdict, without: Collection[ReviewItem]) -> list[Verdict]:
        """What its reviewer said at once with ``said``, itself too, as far as it was not taken back."""
        own = self._alive_of(said.reviewer, without)
        return self.verdicts.pick(own[self.rows["gesture"][own] == said.gesture]) if said.gesture else []

    def latest_of(self, reviewer: str, without: Collection[ReviewItem]) -> Iterator[Verdict]:
        """The verdicts of ``reviewer`` that stand, the latest first; each is made when its turn comes."""
        if reviewer not in self._latest:
            top = self._folded.top[self.standing]
            own = top[self.rows["reviewer"][top] == self.table.reviewers.find(reviewer)]
            self._latest[reviewer] = own[np.argsort(self.rows["time"][own])[::-1]]
        own = self._latest[reviewer]
        for start in range(0, len(own), _AT_ONCE):
            yield from (v for v in self.verdicts.pick(own[start : start + _AT_ONCE]) if v.item not in without)

    def _code(self, item: ReviewItem) -> int:
        """-1 for an item of which nobody had spoken then."""
        code = self.table.item_code(item)
        return code if code < self._items else -1

    def _codes(self, items: Collection[ReviewItem]) -> list[int]:
        return [code for item in items if (code := self._code(item)) >= 0]

    def _alive(self, without: Collection[ReviewItem]) -> Ids:
        left_out = np.zeros(self._items, bool)
        left_out[self._codes(without)] = True
        alive = self._folded.alive
        kept: Ids = alive[~left_out[self.rows["item"][alive]]]
        return kept

    def _alive_of(self, reviewer: str, without: Collection[ReviewItem]) -> Ids:
        alive = self._alive(without)
        own: Ids = alive[self.rows["reviewer"][alive] == self.table.reviewers.find(reviewer)]
        return own

    @cached_property
    def _places(self) -> dict[tuple[str, int], list[int]]:
        """Codes of the items on which a verdict stands, by case and organ."""
        found: dict[tuple[str, int], list[int]] = {}
        values = self.table.items.values
        for code in self.standing.tolist():
            found.setdefault(values[code][:2], []).append(code)
        return found


@dataclass(frozen=True)
class Folded:
    """What stands, in numbers of rows.

    Attributes
    ----------
    order, starts
        All rows that count, by item, those of item ``i`` from ``starts[i]`` to ``starts[i + 1]``.
    top
        By item the row that stands, -1 where none does.
    alive
        Every row that was not taken back or replaced, also under later ones.
    hard
        Items that must be folded one verdict after the other; above they are as if nobody had spoken.
    """

    order: Ids
    starts: Ids
    top: Ids
    alive: Ids
    hard: Ids

    def rows_of(self, item: int) -> Ids:
        return self.order[self.starts[item] : self.starts[item + 1]]


def fold_rows(rows: Rows, items: int, checkpoint: int | None) -> Folded:
    """Fold ``rows``, those of a checkpoint's code alone if one is given, on so many ``items``.

    A reviewer's rows of one gesture on one item are one word: the last of them is what it says, the place of the first
    where it stands among the others, and if it says undone, nothing stands. Two things depend on all before and are
    left to :class:`~napari_medaka_kd.review.standing.Standing`: an undo without a gesture, which takes back whatever is
    latest, and a word given again after it was taken back; so are instants that two rows share.
    """
    ids = np.arange(len(rows)) if checkpoint is None else np.flatnonzero(rows["checkpoint"] == checkpoint)
    item, time = rows["item"][ids], rows["time"][ids]
    by_item = np.lexsort((time, item))
    order, item, time = ids[by_item], item[by_item], time[by_item]
    starts = np.searchsorted(item, np.arange(items + 1))
    undone, gesture = rows["decision"][order] == _UNDONE, rows["gesture"][order]
    reviewer = rows["reviewer"][order]

    hard = np.zeros(items, bool)
    hard[item[undone & (gesture == 0)]] = True
    hard[item[1:][(np.diff(item) == 0) & (np.diff(time) == 0)]] = True
    first, last, again = _words(item, reviewer, gesture, undone)
    hard[item[again]] = True

    keep = ~undone[last] & ~hard[item[first]]
    first, last = first[keep], last[keep]
    place = np.argsort(first)  # by item, and in each by time
    first, last = first[place], last[place]
    top = np.full(items, -1, np.int64)
    top[item[first]] = order[last]  # of several the last one counts
    return Folded(order, starts, top, order[last], np.flatnonzero(hard))


def _words(
    item: npt.NDArray[np.int32], reviewer: npt.NDArray[np.int32], gesture: Ids, undone: npt.NDArray[np.bool_]
) -> tuple[Ids, Ids, Ids]:
    """Places of the first and the last row of each word, and of rows that take back and are followed by another."""
    count = len(item)
    alone = np.ones(count, bool)  # the only row on its item
    alone[1:] &= item[1:] != item[:-1]
    alone[:-1] &= item[1:] != item[:-1]
    single, several = np.flatnonzero(alone), np.flatnonzero(~alone)
    own = np.where(gesture == 0, -1 - np.arange(count), gesture)  # without a gesture each is a word of its own
    several = several[np.lexsort((own[several], reviewer[several], item[several]))]
    new = np.ones(len(several), bool)
    for column in (item, reviewer, own):
        new[1:] &= column[several[1:]] == column[several[:-1]]
    new[1:] = ~new[1:]
    begins = np.flatnonzero(new)
    ends = np.append(begins[1:], len(several)) - 1 if len(begins) else begins
    within = np.ones(len(several), bool)
    within[ends] = False
    again = several[within & undone[several]]
    return np.concatenate([single, several[begins]]), np.concatenate([single, several[ends]]), again
