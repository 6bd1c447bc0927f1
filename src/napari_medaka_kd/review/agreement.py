"""Agreement: how far reviewers agree beyond chance on what several of them judged, and on which items they do not."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from .verdict import ALL_ORGANS, Decision, ReviewItem, Verdict, by_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FEW = 10  # items; of fewer a kappa says nothing
#: Whether a word calls the proposal acceptable as it was; ``UNSURE`` says neither.
_ACCEPTS = {Decision.ACCEPTED: True, Decision.REJECTED: False, Decision.CORRECTED: False}


@dataclass(frozen=True)
class Agreement:
    """How far two reviewers agree on the items that both accepted or rejected.

    Attributes
    ----------
    organ
        The organ of these items; ``None``: of all of them together.
    both, first_only, second_only, neither
        How many were accepted by whom.
    """

    first: str
    second: str
    organ: int | None
    both: int
    first_only: int
    second_only: int
    neither: int

    @property
    def items(self) -> int:
        return self.both + self.first_only + self.second_only + self.neither

    @property
    def alike(self) -> float:
        """The share of the items on which they agree; NaN where there are none."""
        return (self.both + self.neither) / self.items if self.items else math.nan

    @property
    def kappa(self) -> float:
        """Agreement beyond chance, 1: always, 0: as two who toss coins would, by their shares of accepted items.

        (p_o − p_e) / (1 − p_e) of J. Cohen, A coefficient of agreement for nominal scales, Educational and
        Psychological Measurement 20 (1960) 37, for two categories; NaN where there are no items, or both said the same
        one thing of all.
        """
        chance = self._by_chance
        return (self.alike - chance) / (1 - chance) if chance < 1 else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """An interval around kappa that holds it 19 times in 20, by Cohen's standard error (1960, equation 7)."""
        chance = self._by_chance
        if not chance < 1:
            return math.nan, math.nan
        width = 1.96 * math.sqrt(self.alike * (1 - self.alike) / self.items) / (1 - chance)
        return max(-1.0, self.kappa - width), min(1.0, self.kappa + width)

    def sentence(self) -> str:
        """``ann and bob agree on 47 of 57 items, kappa 0.62 (95 %: 0.41 to 0.83)``."""
        said = f"{self.first} and {self.second} agree on {self.both + self.neither} of {self.items} items"
        if self.items < FEW:
            return f"{said}: too few for a kappa"
        if math.isnan(self.kappa):
            return f"{said}; both {'accepted' if self.both else 'rejected'} all, so there is no kappa"
        low, high = self.interval
        return f"{said}, kappa {self.kappa:.2f} (95 %: {low:.2f} to {high:.2f})"

    @property
    def _by_chance(self) -> float:
        if not self.items:
            return math.nan
        first, second = self.both + self.first_only, self.both + self.second_only
        return (first * second + (self.items - first) * (self.items - second)) / self.items**2


@dataclass(frozen=True)
class Conflict:
    """An item that some accept and others do not.

    Attributes
    ----------
    verdicts
        What each of them said last, by reviewer; all of the same checkpoint's proposal, the very same labels.
    """

    item: ReviewItem
    verdicts: tuple[Verdict, ...]


class Agreements:
    """Agreements and conflicts, kept up to date item by item.

    Compared are the last words of each reviewer on the same item that were not taken back, if they are about the same
    checkpoint and the same labels (``Verdict.digest``; where an early version wrote none, the generation). Corrected
    counts as rejected, for the proposal was not good as it was; unsure does not count.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, int, bool, bool]] = Counter()
        self._conflicts: dict[ReviewItem, tuple[Conflict, ...]] = {}

    def take(self, item: ReviewItem, before: Sequence[Verdict], after: Sequence[Verdict]) -> None:
        """What stands on ``item``, also under later words, was ``before`` and is ``after``."""
        self._counts.subtract(_pairs(item, before))
        self._counts.update(_pairs(item, after))
        found = tuple(_conflicts(item, after))
        if found:
            self._conflicts[item] = found
        else:
            self._conflicts.pop(item, None)

    def add(self, other: Agreements) -> None:
        """Count those of ``other``, too, which are about another checkpoint."""
        self._counts.update(other._counts)

    @property
    def disputed(self) -> int:
        """On how many items somebody disagrees."""
        return len(self._conflicts)

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """By case, organ and slab."""
        return tuple(one for item in sorted(self._conflicts, key=by_place) for one in self._conflicts[item])

    def on(self, item: ReviewItem) -> tuple[Verdict, ...]:
        """The words of a conflict on ``item``, or on its organ or animal as a whole; nothing where there is none."""
        for organ in dict.fromkeys((item.organ, ALL_ORGANS)):
            for slab in dict.fromkeys((item.slab, None)):
                found = self._conflicts.get(ReviewItem(item.case, organ, slab))
                if found:
                    return found[-1].verdicts
        return ()

    def between(self) -> tuple[Agreement, ...]:
        """Of each two reviewers, the pair with the most items first."""
        return self._sum({(*key[:2], None) for key, count in self._counts.items() if count})

    def by_organ(self) -> tuple[Agreement, ...]:
        """Of each two reviewers and organ; :data:`ALL_ORGANS` stands for words on all organs at once."""
        return self._sum({key[:3] for key, count in self._counts.items() if count})

    def _sum(self, wanted: Iterable[tuple[str, str, int | None]]) -> tuple[Agreement, ...]:
        found = []
        for first, second, organ in wanted:
            counts: defaultdict[tuple[bool, bool], int] = defaultdict(int)
            for (one, other, of, *said), count in self._counts.items():
                if (one, other) == (first, second) and organ in (None, of):
                    counts[said[0], said[1]] += count
            cells = (counts[True, True], counts[True, False], counts[False, True], counts[False, False])
            found.append(Agreement(first, second, organ, *cells))
        return tuple(sorted(found, key=lambda one: (-one.items, one.first, one.second, one.organ or 0)))


def _words(stack: Iterable[Verdict]) -> Iterator[dict[str, Verdict]]:
    """By what was judged: the last word of each reviewer, where two or more said yes or no."""
    words: defaultdict[tuple[str, str], dict[str, Verdict]] = defaultdict(dict)
    for verdict in stack:
        made_by_painting = verdict.decision is Decision.CORRECTED and not verdict.digest
        if not made_by_painting:
            words[verdict.checkpoint, verdict.digest or verdict.labels][verdict.reviewer] = verdict
    for said in words.values():
        clear = {name: said[name] for name in sorted(said) if said[name].decision in _ACCEPTS}
        if len(clear) > 1:
            yield clear


def _pairs(item: ReviewItem, stack: Sequence[Verdict]) -> Iterator[tuple[str, str, int, bool, bool]]:
    if len(stack) > 1:
        for words in _words(stack):
            for first, second in combinations(words.values(), 2):
                accepts = _ACCEPTS[first.decision], _ACCEPTS[second.decision]
                yield first.reviewer, second.reviewer, item.organ, *accepts


def _conflicts(item: ReviewItem, stack: Sequence[Verdict]) -> Iterator[Conflict]:
    if len(stack) > 1:
        for words in _words(stack):
            if len({_ACCEPTS[verdict.decision] for verdict in words.values()}) > 1:
                yield Conflict(item, tuple(words.values()))
