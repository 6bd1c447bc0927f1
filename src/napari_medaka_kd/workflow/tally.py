"""Tally: how far a review is, and how long the rest will take."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from napari_medaka_kd.review import Decision, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LATEST = 50  # verdicts that say how fast somebody is


@dataclass(frozen=True)
class Tally:
    """How far the review is.

    Attributes
    ----------
    done, flagged, left
        Proposals that are judged, that somebody was unsure of, and that are open.
    seconds_each
        The median time of the reviewer's latest verdicts; 0 while there is none.
    seconds_left
        For what is open, at that pace; ``None`` while it is not known.
    mine_today
        Verdicts of the reviewer's that were given since midnight and stand.
    """

    done: int
    flagged: int
    left: int
    seconds_each: float
    seconds_left: float | None
    mine_today: int


def count(decisions: Mapping[Decision | None, int], mine: Iterable[Verdict]) -> Tally:
    """The tally of so many proposals by ``decisions``, for the reviewer whose standing verdicts are ``mine``.

    ``mine`` come the latest first, and are asked for no further than needed.
    """
    counts: Counter[str] = Counter()
    for decision, number in decisions.items():
        counts[state(decision)] += number
    midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    seconds: list[float] = []
    today = 0
    for verdict in mine:
        today += verdict.instant >= midnight
        if len(seconds) < _LATEST and verdict.seconds > 0:
            seconds.append(verdict.seconds)
        if verdict.instant < midnight and len(seconds) == _LATEST:
            break
    each = statistics.median(seconds) if seconds else 0.0
    left = counts["open"]
    return Tally(counts["judged"], counts["flagged"], left, each, each * left if each else None, today)


def state(decision: Decision | None) -> str:
    """``open``, ``flagged`` where somebody was unsure, or ``judged``."""
    if decision is None:
        return "open"
    return "flagged" if decision is Decision.UNSURE else "judged"
