"""What to look at next."""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from .lots import draw_lots
from .standing import Standing
from .unlike import Unlike
from .verdict import ReviewItem, Verdict, by_place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence, Set

Order: TypeAlias = Literal["mixed", "worst", "informative", "organ", "animal", "random"]
Flags = npt.NDArray[np.bool_]

_TURNS = {"mixed": ("worst", "informative")}
_MIXED_IN = 2  # times as many random places where the order is mixed
_SELDOM = 1e-6  # a share that is none
_UNKNOWN = -1.0  # before every score
_CHUNK = 4096


class Rhythm(NamedTuple):
    """Which places of a queue go to items drawn at random.

    Attributes
    ----------
    every
        The last of any so many places in a row, unless one was drawn before; 0: none.
    since
        Places since the last one.
    """

    every: int
    since: int

    @property
    def due(self) -> bool:
        """Whether the next place goes to a random item."""
        return 0 < self.every <= self.since + 1

    def after(self, drawn: bool) -> Rhythm:
        """The rhythm one place later."""
        return Rhythm(self.every, 0 if drawn else self.since + 1)


def pace(order: Order, share: float) -> int:
    """One of how many places is drawn at random, for at least ``share`` of them; twice as many where it is mixed."""
    wanted = 1.0 if order == "random" else min(1.0, share * (_MIXED_IN if order == "mixed" else 1))
    return int(1 / wanted + 1e-9) if wanted > _SELDOM else 0


class Ranking:
    """The items of a review, sorted once; what comes next is read off without sorting again.

    Parameters
    ----------
    scores
        The probability that a person would accept an item; NaN where it is not known, and these come first.
    evidence
        (n, features) finite float, in the order of ``scores``, for ``informative`` to tell items apart; ``None``: it
        goes by the scores alone.
    seed
        Of the lots; one for all who draw from the same items.

    Attributes
    ----------
    items
        In the order of case, organ and slab; masks and places count in it.
    seed
        Of the lots.
    """

    def __init__(
        self, scores: Mapping[ReviewItem, float], evidence: npt.NDArray[np.float64] | None = None, seed: str = ""
    ) -> None:
        given = list(scores)
        places = sorted(range(len(given)), key=lambda place: by_place(given[place]))
        self.items: tuple[ReviewItem, ...] = tuple(given[place] for place in places)
        self.scores = np.array([scores[item] for item in self.items], np.float64)
        self._evidence = None if evidence is None or not len(evidence) else evidence[places]
        self.seed = seed
        self._sorted: dict[str, npt.NDArray[np.intp]] = {}

    def place(self, item: ReviewItem) -> int | None:
        """Where ``item`` is among the items."""
        return self._places.get(item)

    def walk(self, open_: Flags, seen: Flags, order: Order, rhythm: Rhythm) -> Iterator[tuple[int, bool]]:
        """The places of the ``open_`` items in which to look at them, and whether each was drawn at random.

        Parameters
        ----------
        open_, seen
            (n,) Which items are wanted, and which ones somebody looked at.
        order
            ``worst``: rising score. ``informative``: uncertain, and unlike what was looked at, see :class:`Unlike`.
            ``mixed``: these two by turns. ``organ``, ``animal``: one organ or animal after the other, the worst first
            in each. ``random``: all are drawn.
        rhythm
            When an item is drawn at random instead: the next open one by its lot, whatever its score. These are a fair
            sample of what is left; the others, chosen for what they are, would make it look worse than it is.

        As long as the scores stay, looking at the first leaves the order of the rest as it was. Each step costs the
        same, however many items there are.
        """
        open_, seen = open_.copy(), seen.copy()
        sources = [self._source(turn, open_, seen) for turn in _TURNS.get(order, (order,))]
        lots = self._source("random", open_, seen)
        for turn in itertools.count(int(np.count_nonzero(seen))):
            drawn = rhythm.due
            place = next(lots if drawn else sources[turn % len(sources)], None)
            if place is None:
                return
            open_[place], seen[place] = False, True
            rhythm = rhythm.after(drawn)
            yield place, drawn

    def first_lot(self, open_: Flags) -> int | None:
        """The open item with the lowest lot, which is drawn next."""
        return next(self._source("random", open_, open_), None)

    @cached_property
    def _places(self) -> dict[ReviewItem, int]:
        return {item: place for place, item in enumerate(self.items)}

    @cached_property
    def _unlike(self) -> Unlike | None:
        return None if self._evidence is None else Unlike(self.scores, self._evidence)

    def _source(self, turn: str, open_: Flags, seen: Flags) -> Iterator[int]:
        if turn == "informative" and self._unlike is not None:
            yield from self._unlike.walk(open_, seen)
            return
        ranked = self._ranked(turn)
        for first in range(0, len(ranked), _CHUNK):
            chunk = ranked[first : first + _CHUNK]
            for place in chunk[open_[chunk]]:
                if open_[place]:  # another source may have taken it since
                    yield int(place)

    def _ranked(self, turn: str) -> npt.NDArray[np.intp]:
        if turn not in self._sorted:
            self._sorted[turn] = np.lexsort((np.arange(len(self.items)), *self._keys(turn)))
        return self._sorted[turn]

    def _keys(self, turn: str) -> Sequence[npt.NDArray[np.generic]]:
        """What to sort by, the most important last."""
        known = np.where(np.isnan(self.scores), _UNKNOWN, self.scores)
        if turn == "random":
            return (draw_lots(self.items, self.seed),)
        if turn == "informative":
            return (np.where(np.isnan(self.scores), _UNKNOWN, np.abs(self.scores - 0.5)),)
        if turn == "organ":
            return (known, np.array([item.organ for item in self.items], np.int64))
        if turn == "animal":
            return (known, np.array([item.case for item in self.items], np.str_))
        return (known,)


def queue(
    scores: Mapping[ReviewItem, float],
    folded: Mapping[ReviewItem, Verdict],
    order: Order = "mixed",
    seed: int = 0,
    random_share: float = 0.1,
) -> tuple[ReviewItem, ...]:
    """What to look at next: the items of ``scores`` on which there is no decision yet, see :func:`arrange`."""
    standing = folded if isinstance(folded, Standing) else Standing(folded.values())
    pending = {item for item in scores if standing.covering(item) is None}
    return arrange(scores, pending, order, seed, random_share)


def arrange(
    scores: Mapping[ReviewItem, float],
    wanted: Set[ReviewItem],
    order: Order = "mixed",
    seed: int = 0,
    random_share: float = 0.1,
) -> tuple[ReviewItem, ...]:
    """``wanted``, some of the items of ``scores``, in the order in which to look at them, see :meth:`Ranking.walk`.

    Parameters
    ----------
    random_share
        How many places (0 … 1) at least go to items drawn at random, whatever the order; where it is mixed, twice as
        many.
    """
    ranking = Ranking(scores, seed=str(seed))
    open_ = np.array([item in wanted for item in ranking.items], bool)
    every = pace(order, random_share)
    done = len(open_) - int(open_.sum())
    rhythm = Rhythm(every, (done - 1) % every if every else 0)
    return tuple(ranking.items[place] for place, _ in ranking.walk(open_, ~open_, order, rhythm))
