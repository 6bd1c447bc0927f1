"""From which score on the unreviewed may be accepted unseen, so that the wanted share of them is right."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .fair import Draws, Floats, Sample, draws_within

if TYPE_CHECKING:
    from collections.abc import Callable

SURE = 0.93  # in this share of reviews the promise holds, however often and whenever one looks
_STEPS = 10  # sets that are tried: the best tenth of the unreviewed by score, the best two tenths …
_STARTS = (3, 5, 10)  # tenths that are tried whatever became of smaller sets
_GRID = (np.arange(64) + 0.5) / 64
_MOST = 100  # further random verdicts that are worth thinking of


class Promise(NamedTuple):
    """What may be accepted unseen.

    Attributes
    ----------
    threshold
        Unreviewed ones may be accepted from this score on; ``None``: none.
    accepted
        How many that are.
    needed
        While none are: about how many further random verdicts, were they all good, would change that; ``None`` where
        that is out of sight.
    """

    threshold: float | None
    accepted: int
    needed: int | None = None


def prove(sample: Sample, wanted: float) -> Promise:
    """The lowest threshold for which ``wanted`` precision among the unreviewed is proven by random verdicts.

    Each of ten sets of unreviewed items, those of the highest scores, is held against its opposite: that more than
    1 − ``wanted`` of it are bad. A mixture of better shares bets against that on every random verdict; if it were true,
    a capital of 1/a would come up once in 1/a reviews at most, however often one looks (Ville 1939; prior-posterior
    ratios for sampling without replacement, Waudby-Smith and Ramdas 2020). The sets are tried in a fixed order from
    three starts, each for a third of the risk, and a larger one only after the smaller (Wiens 2003), so that
    choosing among them costs no more.
    """
    scored = sample.scores[~sample.seen & ~np.isnan(sample.scores)]
    if not len(scored):
        return Promise(None, 0)
    rising = np.sort(scored)[::-1]
    thresholds = [float(rising[math.ceil(len(rising) * (step + 1) / _STEPS) - 1]) for step in range(_STEPS)]
    capital = math.log(len(_STARTS) / (1 - SURE))

    def proven(step: int) -> bool:
        return bool(_capitals(draws_within(sample, sample.scores >= thresholds[step]), wanted)[-1] >= capital)

    last = max(_reach(proven, start - 1) for start in _STARTS)
    if last < 0:
        return Promise(None, 0, _needed(sample, [thresholds[start - 1] for start in _STARTS], wanted, capital))
    return Promise(thresholds[last], int((scored >= thresholds[last]).sum()))


def _reach(proven: Callable[[int], bool], start: int) -> int:
    """The last of the sets from ``start`` on that are proven one after the other; −1 where the first is not."""
    end = start
    while end < _STEPS and proven(end):
        end += 1
    return end - 1 if end > start else -1


def _capitals(draws: Draws, wanted: float) -> Floats:
    """Log of what betting against more than 1 − ``wanted`` of the unseen being bad has won, before and after draws."""
    least = draws.bad + math.floor((1 - wanted) * draws.unseen + 1e-9) + 1  # bad ones in all, if that were so
    better = 1.5 * (1 - wanted) * _GRID**3 * draws.size
    worse = np.append(_GRID[draws.size * _GRID > least] * draws.size, least)
    bets = np.logaddexp.reduce(_likely(better, draws), axis=0) - math.log(len(better))
    against = _likely(worse, draws).max(0)
    possible = np.isfinite(against)
    return np.where(possible, bets - np.where(possible, against, 0.0), np.inf)


def _likely(bad: Floats, draws: Draws) -> Floats:
    """(b, k + 1): log-likelihood of the verdicts before and after each, were there ``bad`` (b,) bad ones in all."""
    chance = (bad[:, None] - draws.spoilt) / draws.left
    said = np.where(draws.good, 1 - chance, chance)
    logs = np.where(said > 0, np.log(np.maximum(said, 1e-300)), -np.inf)
    return np.concatenate((np.zeros((len(bad), 1)), np.cumsum(logs, axis=1)), axis=1)


def _needed(sample: Sample, thresholds: list[float], wanted: float, capital: float) -> int | None:
    """About how many more random verdicts, all good, would prove one of the sets; ``None``: too many."""
    least = math.inf
    for threshold in thresholds:
        draws = draws_within(sample, sample.scores >= threshold)
        more = min(draws.unseen - 1, _MOST)
        reached = np.flatnonzero(_capitals(_with_good(draws, more), wanted)[len(draws.good) :] >= capital)
        if len(reached):
            least = min(least, reached[0] * sample.left / draws.unseen)
    return None if least >= min(sample.left, _MOST + 1) else math.ceil(least)


def _with_good(draws: Draws, more: int) -> Draws:
    """``draws``, and so ``more`` of them that turned out well."""
    coming = draws.unseen - np.arange(more, dtype=np.float64)
    return draws._replace(
        good=np.append(draws.good, np.ones(more, bool)),
        left=np.append(draws.left, coming),
        spoilt=np.append(draws.spoilt, np.full(more, float(draws.bad))),
    )
