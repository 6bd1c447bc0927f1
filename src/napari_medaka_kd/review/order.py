"""What to look at next."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .standing import Standing
from .verdict import ReviewItem, Verdict, by_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Set

Order: TypeAlias = Literal["worst", "informative", "mixed", "organ", "animal"]

_UNKNOWN = -1.0  # before every score
#: By order: the sort key of an item and its score.
_RANKS: dict[str, Callable[[ReviewItem, float], Any]] = {
    "worst": lambda _, score: _known(score),
    "informative": lambda _, score: _known(abs(score - 0.5)),
    "organ": lambda item, score: (item.organ, _known(score)),
    "animal": lambda item, score: (item.case, _known(score)),
}
_GROUPED = ("organ", "animal")


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
    """``wanted``, some of the items of ``scores``, in the order in which to look at them.

    Parameters
    ----------
    scores
        The probability that a person would accept an item; NaN where it is not known, and these come first.
    order
        ``worst``: rising score. ``informative``: nearest to 0.5 first. ``mixed``: these two by turns. ``organ``,
        ``animal``: one organ or animal after the other, the worst first in each.
    random_share
        How many places (0 … 1) go to items drawn at random: they alone say how good the unseen ones are. None where
        the order keeps organs or animals together.

    As long as the scores stay, taking the first item out of ``wanted`` leaves the order of the rest as it was.
    """
    items = sorted(scores, key=by_place)
    if order in _GROUPED:
        return tuple(_ranked(items, wanted, scores, order))
    pending = set(wanted)
    turns = ("worst", "informative") if order == "mixed" else (order,)
    sources = [_without_repeats(_ranked(items, wanted, scores, turn), pending) for turn in turns]
    dice = random.Random(seed)
    draws = [dice.random() for _ in items]
    lots = _without_repeats(dice.sample(items, len(items)), pending)
    chosen = []
    for place in range(len(items) - len(pending), len(items)):
        source = lots if draws[place] < random_share else sources[place % len(sources)]
        item = next(source)
        pending.remove(item)
        chosen.append(item)
    return tuple(chosen)


def _ranked(
    items: list[ReviewItem], wanted: Set[ReviewItem], scores: Mapping[ReviewItem, float], order: str
) -> list[ReviewItem]:
    rank = _RANKS[order]
    return sorted((item for item in items if item in wanted), key=lambda item: rank(item, scores[item]))


def _known(value: float) -> float:
    return _UNKNOWN if math.isnan(value) else value


def _without_repeats(items: Iterable[ReviewItem], pending: set[ReviewItem]) -> Iterator[ReviewItem]:
    """``items``, leaving out what has gone from ``pending`` by the time its turn comes."""
    return (item for item in items if item in pending)
