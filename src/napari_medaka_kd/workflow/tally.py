"""Tally: how far a review is, and how long the rest will take."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from napari_medaka_kd.review import Decision, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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


def count(decisions: Iterable[Decision | None], mine: Sequence[Verdict]) -> Tally:
    """The tally of proposals with these ``decisions``, for the reviewer whose standing verdicts are ``mine``."""
    counts = Counter(map(state, decisions))
    latest = sorted((verdict for verdict in mine if verdict.seconds > 0), key=lambda verdict: verdict.instant)
    each = statistics.median([verdict.seconds for verdict in latest[-_LATEST:]]) if latest else 0.0
    midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    today = sum(verdict.instant >= midnight for verdict in mine)
    left = counts["open"]
    return Tally(counts["judged"], counts["flagged"], left, each, each * left if each else None, today)


def state(decision: Decision | None) -> str:
    """``open``, ``flagged`` where somebody was unsure, or ``judged``."""
    if decision is None:
        return "open"
    return "flagged" if decision is Decision.UNSURE else "judged"
