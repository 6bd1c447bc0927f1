"""Looks: what one reviewer looked at one by one, when the next random item is due, and which to ask about again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from napari_medaka_kd.review import Decision, Rhythm, draw_lots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_medaka_kd.review import ReviewItem, Verdict

SOON = 40  # looks before an item may come again: too many for a person to remember it
_LONG_AGO = 10**9
_ASKED_AGAIN = (Decision.ACCEPTED, Decision.REJECTED)


class Again(NamedTuple):
    """What somebody said of an item, and what they said when it came again."""

    item: ReviewItem
    before: Decision
    after: Decision


class Looks:
    """The looks of one reviewer at one checkpoint's proposals; a gesture is one look, however much it is about.

    Attributes
    ----------
    count
        How many there were.
    """

    def __init__(self, reviewer: str, checkpoint: str, verdicts: Iterable[Verdict] = ()) -> None:
        self.reviewer, self.checkpoint = reviewer, checkpoint
        self.count = 0
        self._since_random, self._since_repeat = _LONG_AGO, 0
        self._gestures: dict[int, ReviewItem] = {}  # by number: the first item that it was about
        self._said: dict[ReviewItem, tuple[int, Verdict]] = {}  # the look at it, and the word
        self._again: dict[int, Again] = {}  # by gesture
        self.take(verdicts)

    @property
    def repeated(self) -> tuple[Again, ...]:
        """The items that came again and were judged then."""
        return tuple(self._again.values())

    def take(self, verdicts: Iterable[Verdict]) -> None:
        """Take in ``verdicts`` of anyone, in the order of their time."""
        for verdict in verdicts:
            if (verdict.reviewer, verdict.checkpoint) == (self.reviewer, self.checkpoint):
                self._take(verdict)

    def rhythm(self, every: int) -> Rhythm:
        """When the next random item is due."""
        return Rhythm(every, self._since_random)

    def to_repeat(self, share: float, seed: str, may: Callable[[ReviewItem, Verdict], bool]) -> ReviewItem | None:
        """An item to ask about again, if it is time for one; evenly drawn from those that never came again.

        Parameters
        ----------
        share
            Of the looks, 0 … 1.
        may
            Whether that word on the item still stands and can be asked for again.
        """
        if share <= 0 or self._since_repeat + 1 < 1 / share:
            return None
        known = {again.item for again in self._again.values()}
        ripe = [
            item
            for item, (look, said) in self._said.items()
            if self.count - look >= SOON and item not in known and said.decision in _ASKED_AGAIN and may(item, said)
        ]
        lots = draw_lots(ripe, f"{seed}\nagain\n{len(known)}")
        return ripe[int(lots.argmin())] if ripe else None

    def _take(self, verdict: Verdict) -> None:
        if verdict.decision is Decision.UNDONE:
            self._take_back(verdict)
            return
        if verdict.gesture not in self._gestures:
            self._gestures[verdict.gesture] = verdict.item
            self.count += 1
            self._since_random, self._since_repeat = self._since_random + 1, self._since_repeat + 1
        elif verdict.item != self._gestures[verdict.gesture]:
            self._said.pop(self._gestures[verdict.gesture], None)  # one word on several: not a look at that item
        self._note(verdict)

    def _note(self, verdict: Verdict) -> None:
        if verdict.drawn == "random":
            self._since_random = 0
        elif verdict.drawn == "repeat":
            self._since_repeat = 0
            if verdict.item in self._said:
                before = self._said[verdict.item][1].decision
                self._again.setdefault(verdict.gesture, Again(verdict.item, before, verdict.decision))
        if verdict.item == self._gestures[verdict.gesture]:
            self._said[verdict.item] = (self.count, verdict)

    def _take_back(self, verdict: Verdict) -> None:
        """What was taken back is due again, as what it was."""
        if verdict.drawn == "random":
            self._since_random = _LONG_AGO
        if self._again.pop(verdict.gesture, None) is not None:
            self._since_repeat = _LONG_AGO
        else:
            self._said.pop(verdict.item, None)
