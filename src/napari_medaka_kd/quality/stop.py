"""Stop rule: what is known of the unreviewed, what may be accepted unseen, and whether to go on reviewing."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from napari_medaka_kd.words import counted

from .fair import Sample, Share, acceptable_share
from .promise import SURE, Promise, prove

AHEAD = 20  # verdicts that one thinks ahead
_LITTLE = 0.02  # of the share: what would not change what one does
_ENOUGH = 8  # random verdicts; fewer say too little of how little is changed


@dataclass(frozen=True)
class StopRule:
    """What the verdicts so far say of the unreviewed.

    Attributes
    ----------
    left, draws
        Unreviewed items, and verdicts on items that were drawn at random.
    share
        Of the unreviewed ones that are acceptable; ``None`` where nothing is known of it.
    promise
        What may be accepted unseen with the ``wanted`` precision.
    moves
        By how much (one standard deviation) the share would change with 20 more verdicts; NaN where it is not known.
    scored
        Whether any unreviewed item has a score.
    """

    left: int
    draws: int
    share: Share | None
    promise: Promise
    wanted: float
    moves: float
    scored: bool

    @property
    def settled(self) -> bool:
        """Whether reviewing 20 more would change little: neither the share nor what may be accepted unseen."""
        return not self.left or (self.draws >= _ENOUGH and self.moves <= _LITTLE and self.promise.needed is None)

    def sentence(self) -> str:
        """As a person reads it."""
        if not self.left:
            return "Everything is reviewed."
        if self.share is None:
            return f"Nothing is known of the {self.left} unreviewed yet: no verdict was on one drawn at random."
        low, high = (f"{100 * side:.0f}" for side in (self.share.low, self.share.high))
        known = f"Of {self.left} unreviewed {100 * self.share.value:.0f} % are acceptable ({low} to {high} %)"
        return f"{known}. {self._accepting()} {self._going_on()}"

    def brief(self) -> str:
        """The same in as few words as a narrow panel has room for."""
        if self.share is None:
            return f"{self.left} unreviewed, nothing known of them yet" if self.left else "Everything is reviewed."
        low, high = (f"{100 * side:.0f}" for side in (self.share.low, self.share.high))
        lines = [f"Unreviewed: {100 * self.share.value:.0f} % acceptable ({low} to {high} %)"]
        if self.promise.threshold is not None:
            lines.append(f"{self.promise.accepted} of them may be accepted unseen")
        elif self.promise.needed is not None:
            lines.append(f"To accept any unseen: {self.promise.needed} more random verdicts, all good")
        return "\n".join(lines) + (" · enough reviewed" if self.settled else "")

    def details(self) -> str:
        """What the sentence rests on."""
        return (
            f"Estimated from {counted(self.draws, 'random verdict')}: only these are a fair sample of what nobody has "
            "looked at. In brackets: where the share lies in 95 of 100 reviews.\n"
            f"Accepted unseen: of those from that score on at least {100 * self.wanted:.0f} % are right, in "
            f"{100 * SURE:.0f} of 100 reviews, whenever you stop. Acceptable is what you and the others would accept."
        )

    def json(self) -> dict[str, Any]:
        shown = self.share._asdict() if self.share is not None else None
        return asdict(self) | {"share": shown, "promise": self.promise._asdict(), "settled": self.settled}

    def _accepting(self) -> str:
        known, right = self.promise, f"{100 * self.wanted:.0f} %"
        if not self.scored:
            return "None may be accepted unseen: they have no scores."
        if known.threshold is not None:
            return f"{known.accepted} may be accepted unseen (score ≥ {known.threshold:.2f}): {right} are right."
        if known.needed is None:
            return f"None may be accepted unseen: of no part of them it is in sight that {right} are right."
        return f"None may be accepted unseen yet: {known.needed} more random verdicts, all good, would allow it."

    def _going_on(self) -> str:
        if self.settled:
            return f"{AHEAD} more verdicts would change little."
        if self.left <= AHEAD:
            return f"{counted(self.left, 'verdict')} more and all is reviewed."
        if self.draws < _ENOUGH:
            return "Go on: these are too few random verdicts to go by."
        if self.promise.needed is not None:
            return "In the order at random you are there soonest."
        return f"{AHEAD} more verdicts may move that by {100 * self.moves:.0f} points."


def stop_rule(sample: Sample, wanted: float, pace: float) -> StopRule:
    """What ``sample`` says of the unreviewed.

    Parameters
    ----------
    wanted
        The precision to promise, 0 … 1.
    pace
        The share of verdicts to come that are on items drawn at random.
    """
    share = acceptable_share(sample)
    moves = math.nan
    if share is not None:
        more = min(AHEAD, sample.left) * pace
        moves = math.sqrt(share.variance * more / (sample.draws + more))
    scored = bool((~sample.seen & (sample.scores == sample.scores)).any())
    return StopRule(sample.left, sample.draws, share, prove(sample, wanted), wanted, moves, scored)
