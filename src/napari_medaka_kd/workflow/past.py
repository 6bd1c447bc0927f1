"""Past: which proposals were looked at, when, why and with what outcome, as a sample of all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medaka_kd.quality.fair import Sample
from napari_medaka_kd.review import Decision

if TYPE_CHECKING:
    from napari_medaka_kd.review import Ranking, ReviewItem, Standing

_GOOD = Decision.ACCEPTED  # what was corrected was not acceptable as it came, and what one is unsure of may not be


class Past:
    """What was said of the items of a ranking so far; arrays in its order.

    Attributes
    ----------
    turn
        (n,) float: UTC seconds of the first verdict that covers the item and stands; inf: there is none.
    good, drawn
        (n,) bool: what is said of it now; whether that first verdict was on an item drawn at random.
    """

    def __init__(self, ranking: Ranking) -> None:
        self.ranking = ranking
        count = len(ranking.items)
        self.turn = np.full(count, np.inf)
        self.good, self.drawn = np.zeros(count, bool), np.zeros(count, bool)

    def note(self, item: ReviewItem, standing: Standing) -> None:
        """Take in what stands of ``item`` now."""
        place = self.ranking.place(item)
        said, first = standing.covering(item), standing.first(item)
        if place is not None:
            self.turn[place] = np.inf if first is None else first.instant.timestamp()
            self.drawn[place] = first is not None and first.drawn == "random" and first.item == item
            self.good[place] = said is not None and said.decision is _GOOD

    def sample(self) -> Sample:
        """All of it, as the stop rule looks at it."""
        return Sample(self.ranking.scores, self.turn.copy(), self.good.copy(), self.drawn.copy())
