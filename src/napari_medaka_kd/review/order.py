"""What to look at next."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Literal, TypeAlias

from .verdict import ReviewItem, Verdict, decision_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

Order: TypeAlias = Literal["worst", "informative", "mixed"]


def queue(
    scores: Mapping[ReviewItem, float],
    folded: Mapping[ReviewItem, Verdict],
    order: Order = "mixed",
    seed: int = 0,
    random_share: float = 0.1,
) -> tuple[ReviewItem, ...]:
    """What to look at next: the items of ``scores`` on which there is no decision yet.

    Parameters
    ----------
    scores
        The probability that a person would accept an item; NaN where it is not known, and these come first.
    order
        ``worst``: rising score. ``informative``: nearest to 0.5 first. ``mixed``: by turns.
    random_share
        How many places (0 … 1) go to items drawn at random: they alone say how good the unseen ones are.

    As long as the scores stay, judging the first item leaves the rest of the queue as it was.
    """
    items = sorted(scores)
    pending = {item for item in items if decision_for(folded, item) is None}
    ranks: dict[str, Callable[[float], float]] = {
        "worst": lambda score: score,
        "informative": lambda score: abs(score - 0.5),
    }

    def rank(turn: str) -> list[ReviewItem]:
        known = {item: -1.0 if math.isnan(scores[item]) else ranks[turn](scores[item]) for item in pending}
        return sorted(pending, key=lambda item: (known[item], item))

    turns = ("worst", "informative") if order == "mixed" else (order,)
    sources = [_without_repeats(rank(turn), pending) for turn in turns]
    dice = random.Random(seed)
    draws = [dice.random() for _ in items]
    lots = _without_repeats([item for item in dice.sample(items, len(items)) if item in pending], pending)
    chosen = []
    for place in range(len(items) - len(pending), len(items)):
        source = lots if draws[place] < random_share else sources[place % len(sources)]
        item = next(source)
        pending.remove(item)
        chosen.append(item)
    return tuple(chosen)


def _without_repeats(items: Iterable[ReviewItem], pending: set[ReviewItem]) -> Iterator[ReviewItem]:
    """``items``, leaving out what has gone from ``pending`` by the time its turn comes."""
    return (item for item in items if item in pending)
