"""Verdicts: what people say of a teacher's labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property, total_ordering
from typing import Any

ALL_ORGANS = 0


class Decision(StrEnum):
    """What a person says of an item; ``UNDONE`` takes a verdict on it back."""

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
        return by_place(self) < by_place(other)

    def covers(self, other: ReviewItem) -> bool:
        """Whether a word on this item holds for all of ``other``: the same or all organs, in no fewer slices."""
        if self.case != other.case or self.organ not in (ALL_ORGANS, other.organ):
            return False
        if self.slab is None or other.slab is None:
            return self.slab is None
        return self.slab[0] <= other.slab[0] and other.slab[1] <= self.slab[1]


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
        Who made the labels that were judged, and their generation (``teacher.3``); for ``CORRECTED`` the one that was
        made by painting.
    digest
        Hash of the labels that were on show, see :func:`~napari_medaka_kd.workflow.judged.judged`: the same digest, the
        same thing judged. Empty in logs of version 0.1 and where a label map has no index of its organs.
    gesture
        What a reviewer said at once shares one number, which their log gives; 0: not given yet. A later row of the same
        gesture on the same item replaces the former, or takes just that one back.
    drawn
        Why it came before the reviewer: ``random`` where it was drawn evenly from all that nobody had looked at,
        ``repeat`` where they had judged it before; empty: for what it is, or it is not known.
    """

    item: ReviewItem
    decision: Decision
    reviewer: str
    time: str
    seconds: float = 0.0
    reasons: tuple[str, ...] = ()
    checkpoint: str = ""
    labels: str = ""
    digest: str = ""
    gesture: int = field(default=0, compare=False)
    drawn: str = ""

    def __post_init__(self) -> None:
        if self.instant.tzinfo is None:
            raise ValueError(f"{self.time!r} does not say in which time zone")
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise ValueError(f"{self.seconds} is not a length of time")

    @cached_property
    def instant(self) -> datetime:
        return datetime.fromisoformat(self.time)


def now() -> str:
    """The time in UTC, ISO 8601 with microseconds."""
    return write_time(datetime.now(UTC))


def write_time(instant: datetime) -> str:
    """ISO 8601 with microseconds; of one time zone, these sort as text."""
    return instant.isoformat(timespec="microseconds")


def by_place(item: ReviewItem) -> tuple[str, int, tuple[int, int]]:
    """Sort key: by case, organ and slab, the whole animal first; faster than comparing the items."""
    return item.case, item.organ, item.slab or (-1, -1)


def by_time(verdict: Verdict) -> tuple[Any, ...]:
    """Sort key: by time; at the same instant by all the rest, so that the order they came in never matters."""
    return (
        verdict.instant, verdict.reviewer, verdict.item, verdict.decision, verdict.seconds,
        verdict.reasons, verdict.checkpoint, verdict.labels, verdict.digest, verdict.time,
    )  # fmt: skip
