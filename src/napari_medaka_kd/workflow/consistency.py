"""Consistency: how often a reviewer says the same of an item that comes again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medaka_kd.quality.classifier import wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .looks import Again


@dataclass(frozen=True)
class Consistency:
    """A reviewer's agreement with themselves.

    Attributes
    ----------
    asked, same
        Items that came again, and those of which the same was said.
    interval
        95 % interval of that share (Wilson 1927).
    kappa
        Agreement beyond chance (Cohen 1960): 1 is perfect, 0 what chance gives; NaN where only one word was ever said.
    """

    asked: int
    same: int
    interval: tuple[float, float]
    kappa: float

    def sentence(self) -> str:
        """As a person reads it; empty while nothing came again."""
        if not self.asked:
            return ""
        low, high = (f"{100 * side:.0f}" for side in self.interval)
        return f"Asked again you said the same in {self.same} of {self.asked} ({low} to {high} %)."

    def brief(self) -> str:
        """The same in few words."""
        return f"Asked again: the same word {self.same} times of {self.asked}" if self.asked else ""

    def details(self) -> str:
        """The same beyond chance; empty where that says nothing."""
        return (
            ""
            if math.isnan(self.kappa)
            else f"Agreement with yourself beyond chance (Cohen's kappa): {self.kappa:.2f}."
        )


def consistency(repeated: Sequence[Again]) -> Consistency:
    """How consistent somebody is, by what came again."""
    asked, same = len(repeated), sum(again.before == again.after for again in repeated)
    words = {word for again in repeated for word in (again.before, again.after)}
    chance = sum(
        sum(again.before == word for again in repeated) * sum(again.after == word for again in repeated)
        for word in words
    ) / max(1, asked**2)
    kappa = (same / asked - chance) / (1 - chance) if asked and chance < 1 else math.nan
    return Consistency(asked, same, wilson(same, asked), kappa)
