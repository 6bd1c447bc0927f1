"""Verdicts: what people say of a teacher's labels, and what of it stands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import total_ordering
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ALL_ORGANS = 0


class Decision(StrEnum):
    """What a person says of an item; ``UNDONE`` takes the latest verdict on it back."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    CORRECTED = "corrected"
    UNSURE = "unsure"
    UNDONE = "undone"


@total_ordering
@dataclass(frozen=True)
class ReviewItem:
    """What can be judged at once; ordered by case, organ and slab, the whole animal first.

    Attributes
    ----------
    case
        Id of the case.
    organ
        Organ id, or :data:`ALL_ORGANS`.
    slab
        (first, last + 1) slice in z at level 0; ``None`` for the whole animal.
    """

    case: str
    organ: int = ALL_ORGANS
    slab: tuple[int, int] | None = None

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, ReviewItem):
            return NotImplemented
        return self._place < other._place

    @property
    def _place(self) -> tuple[str, int, tuple[int, int]]:
        return self.case, self.organ, self.slab or (-1, -1)


@dataclass(frozen=True)
class Verdict:
    """One row of a log.

    Attributes
    ----------
    time
        ISO 8601 with an offset, best in UTC as :func:`now` gives it.
    seconds
        How long the person looked, finite and not negative.
    reasons
        Why, in words.
    checkpoint, labels
        Who made the labels that were judged, and their generation (``teacher.3``).
    """

    item: ReviewItem
    decision: Decision
    reviewer: str
    time: str
    seconds: float = 0.0
    reasons: tuple[str, ...] = ()
    checkpoint: str = ""
    labels: str = ""

    def __post_init__(self) -> None:
        if self.instant.tzinfo is None:
            raise ValueError(f"{self.time!r} does not say in which time zone")
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise ValueError(f"{self.seconds} is not a length of time")

    @property
    def instant(self) -> datetime:
        return datetime.fromisoformat(self.time)


def now() -> str:
    """The time in UTC, ISO 8601 with microseconds."""
    return write_time(datetime.now(UTC))


def write_time(instant: datetime) -> str:
    """ISO 8601 with microseconds; of one time zone, these sort as text."""
    return instant.isoformat(timespec="microseconds")


def fold(verdicts: Iterable[Verdict], checkpoint: str | None = None) -> dict[ReviewItem, Verdict]:
    """What stands: for each item the latest verdict that was not undone.

    Parameters
    ----------
    verdicts
        In any order; their times count.
    checkpoint
        Whose labels were judged; ``None`` for anyone's.

    An ``UNDONE`` takes back the latest standing verdict on that very item, whoever gave it, so that the one before
    stands again; where none stands, it does nothing.
    """
    standing: dict[ReviewItem, list[Verdict]] = {}
    for verdict in sorted(verdicts, key=by_time):
        if checkpoint is not None and verdict.checkpoint != checkpoint:
            continue
        stack = standing.setdefault(verdict.item, [])
        if verdict.decision is not Decision.UNDONE:
            stack.append(verdict)
        elif stack:
            stack.pop()
    return {item: stack[-1] for item, stack in standing.items() if stack}


def decision_for(folded: Mapping[ReviewItem, Verdict], item: ReviewItem) -> Decision | None:
    """What holds for ``item``, by the finest verdict that covers it, whenever it was given.

    Finest first: organ in slab, organ in the whole animal, all organs in slab, the whole animal.
    """
    for organ, slab in (
        (item.organ, item.slab),
        (item.organ, None),
        (ALL_ORGANS, item.slab),
        (ALL_ORGANS, None),
    ):
        verdict = folded.get(ReviewItem(item.case, organ, slab))
        if verdict is not None:
            return verdict.decision
    return None


def by_time(verdict: Verdict) -> tuple[Any, ...]:
    """Sort key: by time; at the same instant by all the rest, so that the order they came in never matters."""
    return (
        verdict.instant, verdict.reviewer, verdict.item, verdict.decision, verdict.seconds,
        verdict.reasons, verdict.checkpoint, verdict.labels, verdict.time,
    )  # fmt: skip
