"""Reasons: why an organ is thought badly of, in words and figures that a biologist can check."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .anatomy import Flag, times
from .evidence import boxes, columns, slabs
from .facts import worst_jump

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from .cohort import Cohort
    from .evidence import Reading, Unit

_MOST = 3
_LOUD = -0.5  # of the logit: what speaks against an organ by less is not told

#: What the numbers are about, so that a flag and a number do not say the same.
_KINDS = {
    "log size off cohort": "volume",
    "volume off cohort": "volume",
    "distance from usual place": "place",
    "place off cohort": "place",
    "log pieces": "pieces",
    "largest piece": "pieces",
    "pieces off": "pieces",
    "jump between slices": "jump",
    "worst jump": "jump",
    "wrong side": "side",
    "neighbours off": "neighbours",
    "asymmetry": "symmetry",
    "holes": "holes",
}

_WORDS = {
    "confidence": "the teacher is unsure of it",
    "least confident tenth": "a part of it is doubtful",
    "confidence around": "its border is doubtful",
    "log size off cohort": "size {times} the cohort's",
    "distance from usual place": "{value:.1f} spreads from its usual place",
    "jump between slices": "jump{where}",
    "log pieces": "in {pieces:.0f} pieces",
    "largest piece": "its largest piece is {percent:.0f} % of it",
    "brightness off cohort": "brightness {value:.1f} spreads off the cohort's",
    "texture": "unusual texture",
    "volume off cohort": "the whole organ's volume is {factor} off the cohort's",
    "place off cohort": "the whole organ lies elsewhere than the cohort's",
    "pieces off": "the whole organ has {factor} too many or too few pieces",
    "wrong side": "the whole organ lies on the other side",
    "neighbours off": "it has the wrong neighbours",
    "asymmetry": "{factor} larger or smaller than the other of its pair",
    "holes": "{percent:.0f} % of it is holes",
    "worst jump": "the whole organ jumps from slice to slice",
    "disagreement": "looked at again, the teacher says otherwise",
    "disagreement around": "looked at again, its border lies elsewhere",
    "critic": "it does not look right to the critic",
}


@dataclass(frozen=True)
class Detail:
    """What the numbers of a unit do not tell: its size against the cohort's, and the slice behind its worst jump."""

    size: float
    jump_at: int


@dataclass(frozen=True)
class Teller:
    """What is needed to word reasons; without it they name neither organ nor slice.

    Attributes
    ----------
    names
        Of the organs; class 1 is first.
    details
        By unit.
    flags
        Of the animal.
    step
        Slices of level 0, as flags count them, in one of those that units count.
    """

    names: tuple[str, ...] = ()
    details: Mapping[Unit, Detail] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    step: float = 1.0

    def reasons(
        self, unit: Unit, row: npt.NDArray[np.float64], contributions: npt.NDArray[np.float64]
    ) -> tuple[str, ...]:
        """Broken rules first, then the two numbers that speak most against the unit; at most three, none twice."""
        slices = (round(unit[1] * self.step), round(unit[2] * self.step))
        flags = [flag for flag in self.flags if flag.is_about(unit[0], slices)]
        told, said = {flag.kind for flag in flags}, [flag.sentence for flag in flags[: _MOST - 1]]
        names = columns(len(row))
        for place in np.argsort(contributions)[:2]:
            feature = names[place]
            kind = _KINDS.get(feature, feature)
            if contributions[place] < _LOUD and kind not in told and len(said) < _MOST:
                told.add(kind)
                said.append(self._worded(unit, feature, float(row[place])))
        return tuple(said)

    def _worded(self, unit: Unit, feature: str, value: float) -> str:
        detail = self.details.get(unit)
        words = _WORDS[feature].format(
            value=value,
            times=f"{math.exp(min(value, 99.0)):.1f}× off" if detail is None else times(detail.size),
            factor=f"{math.exp(min(value, 99.0)):.1f}×",
            pieces=math.exp(min(value, 99.0)),
            percent=100 * value,
            where=" from slice to slice" if detail is None else f" at z = {detail.jump_at}",
        )
        return f"{self.names[unit[0] - 1]}: {words}" if self.names else words


def details_of(reading: Reading, slab: int, cohort: Cohort, step: float = 1.0) -> Mapping[Unit, Detail]:
    """By unit what its numbers do not tell.

    Parameters
    ----------
    step
        Slices of level 0 in one of the reading's.
    """
    found = {}
    for first, last in slabs(len(reading.classes), slab):
        part = reading.classes[first:last]
        for organ, box in boxes(part):
            region = (slice(box[0].start + first, box[0].stop + first), box[1], box[2])
            mask = part[box] == organ
            usual = cohort.compare(organ, mask, region, reading.body, 0.0)
            at = region[0].start + worst_jump(mask, (False, False))[1]
            found[(organ, first, last)] = Detail(math.exp(usual.log_size), round(at * step))
    return found
