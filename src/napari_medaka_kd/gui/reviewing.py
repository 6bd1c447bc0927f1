"""Reviewing: the queue, the item on show, and the word on it. Evented; knows neither Qt nor napari."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.workflow.desk import Desk, Filter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_medaka_kd.project import Project
    from napari_medaka_kd.review import Order, ReviewItem

#: What the chips offer after a reject.
REASONS = ("missing part", "spills over", "wrong place", "wrong organ", "ragged", "artefact")
AHEAD = 3  # items to prefetch
_LOOKED_AWAY = 300.0  # seconds; whoever takes longer for one item was not looking


class Reviewing:
    """The review of one checkpoint's proposals, one item at a time.

    Attributes
    ----------
    item, selection
        The proposal on show; what the next verdict is about, the item alone unless something was marked.
    queue
        Items still to look at, in their order.
    last, reasons
        What the last verdict was about, if it was a reject, and the reasons given for it so far.
    """

    item_changed = Signal(object)  # ReviewItem | None
    selection_changed = Signal(object)  # tuple of ReviewItem
    verdicts_changed = Signal()  # anyone's: queue, tally and grid may differ
    said = Signal(str)

    def __init__(self, reviewer: str) -> None:
        self.reviewer = reviewer
        self.order: Order = "mixed"
        self.leave()

    def leave(self) -> None:
        """Review nothing."""
        self.desk: Desk | None = None
        self.keep = Filter()
        self.queue: tuple[ReviewItem, ...] = ()
        self.item: ReviewItem | None = None
        self.selection: tuple[ReviewItem, ...] = ()
        self.last: tuple[ReviewItem, ...] = ()
        self.reasons: tuple[str, ...] = ()
        self._index, self._since = 0, time.monotonic()
        self.item_changed.emit(None)

    def sit_down(self, project: Project, checkpoint: str) -> None:
        """Begin to review the checkpoint's proposals, if there are any."""
        try:
            self.desk = Desk(project, checkpoint, self.reviewer, self.order)
        except UserError:
            self.desk = None
        self.arrange()

    def reload(self, project: Project, checkpoint: str) -> None:
        """Look at the proposals anew; what was on show is left if its animal is under review no more."""
        if self.desk is None:
            self.sit_down(project, checkpoint)
            return
        try:
            self.desk.reload()
        except UserError:
            self.leave()
        if self.item is not None and self.item.case not in {item.case for item in self.known}:
            self.item, self.last = None, ()
            self.item_changed.emit(None)
            self.select(())
        self.arrange()

    @property
    def known(self) -> tuple[ReviewItem, ...]:
        """All items that can be judged."""
        return tuple(self.desk.proposals) if self.desk is not None else ()

    @property
    def upcoming(self) -> tuple[ReviewItem, ...]:
        """The next items of the queue."""
        following = self._place() + 1 if self.item in self.queue else 0
        return self.queue[following : following + AHEAD]

    @property
    def seconds(self) -> float:
        """How long the item has been on show."""
        return min(time.monotonic() - self._since, _LOOKED_AWAY)

    def why(self, item: ReviewItem) -> str:
        """Why the queue holds ``item`` just now: ``random``, ``repeat``, or empty for what it is."""
        return "" if self.desk is None else self.desk.course.why((item,))

    def arrange(self, order: Order | None = None, keep: Filter | None = None) -> None:
        """Make the queue anew, in another order or of other items."""
        self.order, self.keep = order or self.order, keep or self.keep
        if self.desk is not None:
            self.queue = self.desk.queue(self.order, self.keep)
        self.verdicts_changed.emit()

    def show(self, item: ReviewItem) -> None:
        """Look at a proposal."""
        self.item, self._since = item, time.monotonic()
        self._index = self._place()
        self.item_changed.emit(item)
        self.select((item,))

    def select(self, items: Iterable[ReviewItem]) -> None:
        """Mark what the next verdict is about."""
        self.selection = tuple(items)
        self.selection_changed.emit(self.selection)

    def step(self, by: int) -> None:
        """Go on by so many places in the queue, or back; round and round."""
        if not self.queue:
            self.said.emit("The queue is empty: change the filter, or segment more animals.")
            return
        at = self._place() + by if self.item in self.queue else min(self._index, len(self.queue) - 1)
        self.show(self.queue[at % len(self.queue)])

    def next_organ(self, by: int) -> None:
        """The same slab of the animal's next proposed organ, or of the one before."""
        if self.item is None:
            return
        here = sorted(item for item in self.known if item.case == self.item.case and item.slab == self.item.slab)
        if here:
            at = here.index(self.item) if self.item in here else 0
            self.show(here[(at + by) % len(here)])

    def judge(self, decision: str, reasons: Sequence[str] = ()) -> None:
        """Say what is marked is accepted, rejected or unsure; it is on the disk before the next one is shown.

        Raises
        ------
        UserError
            If nothing is marked, or the disk does not take it.
        """
        if self.desk is None or not self.selection:
            raise UserError("There is nothing to judge.", "Segment an animal first, then choose an item of the queue.")
        judged = self.selection
        self.desk.judge(judged, decision, reasons, self.seconds)
        self.last, self.reasons = judged if decision == "rejected" else (), tuple(reasons)
        self.go_on(judged)

    def amend(self, reasons: Sequence[str]) -> None:
        """Say why, of the reject just given."""
        if self.desk is not None and self.last:
            self.desk.amend(reasons)
            self.reasons = tuple(reasons)
            self.verdicts_changed.emit()

    def toggle_reason(self, reason: str) -> None:
        """Give a reason for the reject just given, or take it back."""
        others = tuple(given for given in self.reasons if given != reason)
        self.amend(others if reason in self.reasons else (*others, reason))

    def undo(self) -> None:
        """Take one's last verdict back, and look at its item again."""
        items = self.desk.undo() if self.desk is not None else ()
        if not items:
            self.said.emit("There is no verdict of yours to take back.")
            return
        self.last = ()
        self.arrange()
        if items[0] in set(self.known):
            self.show(items[0])
        self.said.emit("Taken back.")

    def pin(self, items: Iterable[ReviewItem]) -> None:
        """Look at these next."""
        if self.desk is not None:
            self.desk.pin(items)
            self.arrange()

    def listen(self) -> None:
        """Notice what other reviewers said in the meantime."""
        if self.desk is not None and self.desk.refresh():
            self.arrange()

    def go_on(self, judged: tuple[ReviewItem, ...]) -> None:
        """Show what follows ``judged`` in the queue; single items leave it, a wider word makes it anew."""
        self._index = self._place()
        again = self.desk.course.again if self.desk is not None else None
        gone = set(judged)
        rest = tuple(item for item in self.queue if item not in gone)
        single = len(rest) == len(self.queue) - len(gone)
        if self.keep.show == "open" and single and (again is None or again in self.queue):
            self.queue = rest
            self.verdicts_changed.emit()
        else:
            self.arrange()
        if not self.queue:
            self.select(())  # or one more key would overrule the last verdict
            self.said.emit("That was the last one of this queue.")
        elif self.item in self.queue:
            self.step(1)
        else:
            self.show(self.queue[min(self._index, len(self.queue) - 1)])

    def resume(self, kept: Any) -> None:
        """Show the item that :meth:`place_kept` spoke of, or the first of the queue."""
        wanted = [item for item in self.known if kept == _as_list(item)]
        for item in (*wanted, *self.queue)[:1]:
            self.show(item)

    def place_kept(self) -> list[Any] | None:
        """The item on show as JSON."""
        return None if self.item is None else _as_list(self.item)

    def _place(self) -> int:
        return self.queue.index(self.item) if self.item in self.queue else self._index


def _as_list(item: ReviewItem) -> list[Any]:
    return [item.case, item.organ, None if item.slab is None else list(item.slab)]
