"""Course: the way of one reviewer through the proposals: what comes next and why, and when it is enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medaka_kd.quality.stop import StopRule, stop_rule
from napari_medaka_kd.review import Order, Ranking, ReviewItem, Rhythm, Standing, Verdict, pace

from .consistency import Consistency, consistency
from .past import Past

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from napari_medaka_kd.settings import ReviewSettings

    from .looks import Looks


class Course:
    """The way of one reviewer through the items of a ranking.

    Attributes
    ----------
    again
        The item that comes again to see if the reviewer agrees with themselves.
    """

    def __init__(self, ranking: Ranking, settings: ReviewSettings, looks: Looks) -> None:
        self.ranking, self.settings, self.looks = ranking, settings, looks
        self.past = Past(ranking)
        self.again: ReviewItem | None = None
        self._order: Order = "mixed"  # how the queue was arranged last
        self._fair = True  # whether it was of all that is open
        self._stop: StopRule | None = None

    def take(self, verdicts: Iterable[Verdict]) -> None:
        """Take in what anyone said since, in the order of time; the past is told of it item by item."""
        for said in verdicts:
            self.looks.take((said,))
            mine = (said.reviewer, said.checkpoint) == (self.looks.reviewer, self.looks.checkpoint)
            self.again = None if mine and said.item == self.again else self.again
        self._stop = None

    def restart(self, looks: Looks) -> None:
        """Begin anew with other ``looks``: logs were exchanged, or something came late."""
        self.looks, self.again, self._stop = looks, None, None

    def ask_again(self, standing: Standing, labels: dict[str, str]) -> ReviewItem | None:
        """An item that from now on comes again, if it is time for one; ``labels``: the present generation by case."""

        def may(item: ReviewItem, said: Verdict) -> bool:
            here = self.ranking.place(item) is not None and said.labels == labels.get(item.case)
            return here and standing.covering(item) == said

        if self.again is not None:
            return None
        self.again = self.looks.to_repeat(self.settings.repeats, self.ranking.seed, may)
        return self.again

    def queue(self, wanted: npt.NDArray[np.bool_], order: Order, whole: bool, drawing: bool) -> list[ReviewItem]:
        """:meth:`walk` to the end; what comes again is the second."""
        items = list(self.walk(wanted, order, whole, drawing))
        if self.again in items:
            items.remove(self.again)
            items.insert(min(1, len(items)), self.again)
        return items

    def walk(self, wanted: npt.NDArray[np.bool_], order: Order, whole: bool, drawing: bool) -> Iterator[ReviewItem]:
        """The ``wanted`` items, (n,) bool, in their order; each costs the same, however many there are.

        Parameters
        ----------
        whole
            Whether these are all that are open. Random draws among a part of them are fair for that part alone and are
            not noted as such.
        drawing
            Whether any are drawn at random.
        """
        self._order, self._fair = order, whole
        every = pace(order, self.settings.random) if drawing else 0
        rhythm = self.looks.rhythm(every)
        if not whole:
            rhythm = Rhythm(every, (self.looks.count - 1) % every if every else 0)
        walk = self.ranking.walk(wanted, np.isfinite(self.past.turn), order, rhythm)
        return (self.ranking.items[place] for place, _ in walk)

    def why(self, items: Sequence[ReviewItem]) -> str:
        """Why ``items`` are looked at, were they judged now: ``random``, ``repeat``, or empty for any other reason."""
        if len(items) != 1:
            return ""
        if items[0] == self.again:
            return "repeat"
        due = self._fair and self.looks.rhythm(self._pace).due
        first = self.ranking.first_lot(np.isinf(self.past.turn)) if due else None
        return "random" if first is not None and self.ranking.items[first] == items[0] else ""

    def stop(self) -> StopRule:
        """What is known of the unreviewed, and whether to go on."""
        if self._stop is None:
            self._stop = stop_rule(self.past.sample(), self.settings.precision, 1 / self._pace)
        return self._stop

    def consistency(self) -> Consistency:
        """How far the reviewer agrees with themselves."""
        return consistency(self.looks.repeated)

    @property
    def _pace(self) -> int:
        return pace(self._order, self.settings.random)
