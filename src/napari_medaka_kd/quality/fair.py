"""What random verdicts say of the unreviewed: how many of them are acceptable, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_Z = 1.959964  # of a 95 % interval
_EACH = 8  # random verdicts in a stratum at least
_STRATA = 5  # at most


@dataclass(frozen=True)
class Sample:
    """A review in the order in which it was done.

    Attributes
    ----------
    scores
        (n,) float; NaN where nobody scored the item.
    turn
        (n,) float: when somebody first looked at it, in any unit; inf: nobody did.
    good
        (n,) bool: whether it was found acceptable, as the verdicts stand now.
    drawn
        (n,) bool: whether that first look was at an item drawn evenly from all that were unreviewed then.
    """

    scores: Floats
    turn: Floats
    good: Flags
    drawn: Flags
    seen: Flags = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", np.isfinite(self.turn))

    @property
    def left(self) -> int:
        """How many are unreviewed."""
        return int((~self.seen).sum())

    @property
    def draws(self) -> int:
        """How many of the reviewed were drawn at random."""
        return int((self.drawn & self.seen).sum())


class Draws(NamedTuple):
    """The random verdicts on a part of the items, in their order.

    Attributes
    ----------
    size, unseen, bad
        Items of that part, those that nobody looked at, and those that were found not acceptable.
    good
        (k,) bool: the verdicts.
    left
        (k,) Items of that part that nobody had looked at before the draw.
    known
        (k,) Acceptable ones of that part found by all looks from that one on, random or not.
    spoilt
        (k,) Others found by all looks before it.
    """

    size: int
    unseen: int
    bad: int
    good: Flags
    left: Floats
    known: Floats
    spoilt: Floats


class Share(NamedTuple):
    """The share of acceptable items among the unreviewed, its 95 % interval, and the variance of the estimate."""

    value: float
    low: float
    high: float
    variance: float


def draws_within(sample: Sample, inside: Flags) -> Draws:
    """The random verdicts on the items ``inside``, (n,) bool."""
    reviewed = np.flatnonzero(inside & sample.seen)
    reviewed = reviewed[np.argsort(sample.turn[reviewed], kind="stable")]
    size, good, drawn = int(inside.sum()), sample.good[reviewed], sample.drawn[reviewed]
    left = size - np.arange(len(reviewed), dtype=np.float64)
    known = np.cumsum(good[::-1])[::-1].astype(np.float64)
    spoilt = np.cumsum(~good, dtype=np.float64) - ~good
    unseen, bad = size - len(reviewed), int((~good).sum())
    return Draws(size, unseen, bad, good[drawn], left[drawn], known[drawn], spoilt[drawn])


def acceptable_share(sample: Sample) -> Share | None:
    r"""The share of acceptable items among the unreviewed; ``None`` where all are reviewed or none was drawn at random.

    A random verdict *y* at a time when *N* were unreviewed says that about *N y* of these were acceptable; those found
    since, *K*, are known, so *N y − K* are left. That is unbiased whatever was reviewed in between and for whatever
    reason, since only the draw must be even. The mean, each draw weighing 1/N², is a martingale's end of variance

    .. math:: \frac{p(1-p)}{\sum 1/N^2}

    which for plain sampling without replacement is the usual one with the correction for a finite population. It is
    taken in strata of the score: what speaks of scores that are all reviewed by now adds no doubt. The interval is
    Wilson's for as many verdicts as would have this variance.
    """
    left, draws = sample.left, sample.draws
    if not left or not draws:
        return None
    total = variance = 0.0
    for inside in _strata(sample):
        here = draws_within(sample, inside)
        if here.unseen:
            weight = 1 / here.left**2
            found = float((weight * (here.left * here.good - here.known)).sum() / weight.sum())
            total += min(max(found, 0.0), here.unseen)
            even = float((weight * here.left * here.good).sum() / (weight * here.left).sum())
            likely = (even * len(weight) + 0.5) / (len(weight) + 1)
            variance += likely * (1 - likely) / float(weight.sum())
    return _interval(min(max(total / left, 0.0), 1.0), variance / left**2, draws)


def _strata(sample: Sample) -> list[Flags]:
    """Masks of items of similar scores, each with some random verdicts; what lies below the unreviewed is apart."""
    scores = np.where(np.isnan(sample.scores), -1.0, sample.scores)
    lowest = scores[~sample.seen].min()
    drawn = np.sort(scores[sample.drawn & sample.seen & (scores >= lowest)])
    count = min(_STRATA, len(drawn) // _EACH)
    edges = [lowest] if count else []
    for part in range(1, count):
        edge = drawn[len(drawn) * part // count]  # of tied scores there may be more than a part
        if np.searchsorted(drawn, edge) - np.searchsorted(drawn, edges[-1]) >= _EACH // 2:
            edges.append(edge)
    number = np.searchsorted(np.array(edges), scores, side="right")
    return [number == each for each in np.unique(number)]


def _interval(value: float, variance: float, draws: int) -> Share:
    """Wilson's interval for as many verdicts as ``variance`` is worth."""
    inner = min(max(value, 0.5 / (draws + 1)), 1 - 0.5 / (draws + 1))
    worth = inner * (1 - inner) / variance
    middle = value + _Z * _Z / (2 * worth)
    half = _Z * math.sqrt(value * (1 - value) / worth + (_Z / (2 * worth)) ** 2)
    scale = 1 + _Z * _Z / worth
    return Share(value, max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale), variance)
