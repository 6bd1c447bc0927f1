"""Usual: what the labelled animals have in common, and from where on an organ is unlike them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .frame import Frame, learn_frame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .facts import Facts, OrganFacts
    from .rules import Rules

_SCALED = 4  # organs in common from which on an animal's size is told from them
_TOUCHING = 0.08  # of a surface: who touches that much in every labelled animal must touch
_ENOUGH = 3  # labelled animals, fewer say nothing of who touches whom


@dataclass(frozen=True)
class Span:
    """What is usual of one organ, with the room that few animals leave open.

    Attributes
    ----------
    volume
        µm³, for an animal of the cohort's median size.
    doubling
        The log of the factor by which it may be larger or smaller.
    pieces
        Fewest and most.
    away, ratio, jump, holes
        The most, as in :class:`~.frame.Stance` and :class:`~.facts.OrganFacts`; the ratio as its log.
    always
        Whether every labelled animal has it.
    """

    volume: float
    doubling: float
    pieces: tuple[int, int]
    away: float
    ratio: float
    jump: float
    holes: float
    always: bool


#: Of an organ that no labelled animal has.
ANYTHING = Span(math.nan, math.inf, (1, 10**9), math.inf, math.inf, math.inf, math.inf, False)


@dataclass(frozen=True)
class Usual:
    """What the labelled animals have in common; nothing where there are none."""

    spans: Mapping[int, Span]
    frame: Frame | None
    touching: frozenset[tuple[int, int]]
    strangers: frozenset[tuple[int, int]]

    def factors(self, facts: Facts) -> Mapping[int, float]:
        """By class: the organ's volume against the usual one, for the animal's size.

        The size is the median of those factors; where fewer than four organs are in common the volumes are compared
        as they are.
        """
        raw = {
            organ: math.log(found.volume / self.spans[organ].volume)
            for organ, found in facts.organs.items()
            if organ in self.spans and found.volume > 0
        }
        size = float(np.median(list(raw.values()))) if len(raw) >= _SCALED else 0.0
        return {organ: math.exp(value - size) for organ, value in raw.items()}


def learn_usual(cohort: Sequence[Facts], rules: Rules) -> Usual:
    """What the label maps of ``cohort`` have in common."""
    classes = len(rules.names) + 1
    places = [places_of(facts, classes) for facts in cohort]
    frame = learn_frame(places, rules.pairs) if cohort else None
    volumes = _volumes(cohort)
    rough = Usual({organ: _rough(volume) for organ, volume in volumes.items()}, None, frozenset(), frozenset())
    factors = [rough.factors(facts) for facts in cohort]
    stances = [frame.stance(place) for place in places] if frame else []
    spans = {}
    for organ, volume in volumes.items():
        aways = [stance.away[organ] for stance in stances]
        ratios = [asymmetry(facts, organ, rules) for facts in cohort]
        known = [facts.organs[organ] for facts in cohort if organ in facts.organs]
        off = _most([abs(math.log(each.get(organ, 1.0))) for each in factors])
        spans[organ] = Span(volume, max(math.log(2), 1.5 * off), *_shape(known, len(cohort), aways, ratios))
    return Usual(spans, frame, *_neighbours(cohort, set(spans)))


def places_of(facts: Facts, classes: int) -> npt.NDArray[np.float64]:
    """(classes, 3) in µm; NaN where an organ is absent."""
    places = np.full((classes, 3), np.nan)
    for organ, found in facts.organs.items():
        if organ < classes:
            places[organ] = found.centre
    return places


def asymmetry(facts: Facts, organ: int, rules: Rules) -> float:
    """|log| of the ratio to its partner's volume, or of its two largest pieces where a ratio is demanded; else 0."""
    partner, mine = rules.partner(organ), facts.organs.get(organ)
    if mine is None:
        return 0.0
    if partner:
        other = facts.organs.get(partner)
        return abs(math.log(mine.volume / other.volume)) if other is not None else 0.0
    if rules.of(organ).ratio is None or len(mine.pieces) < 2:
        return 0.0
    return math.log(mine.pieces[0] / mine.pieces[1])


def _volumes(cohort: Sequence[Facts]) -> dict[int, float]:
    organs = sorted({organ for facts in cohort for organ in facts.organs})
    return {
        organ: float(np.median([facts.organs[organ].volume for facts in cohort if organ in facts.organs]))
        for organ in organs
    }


def _is_steady(shares: Sequence[float]) -> bool:
    """Whether organs that touch so much in some animals can be counted on to touch in the next."""
    return min(shares) >= _TOUCHING and float(np.mean(shares) - 3 * np.std(shares, ddof=1)) > 0


def _rough(volume: float) -> Span:
    return Span(volume, 0, (1, 1), 0, 0, 0, 0, False)


def _shape(
    known: Sequence[OrganFacts], animals: int, aways: Sequence[float], ratios: Sequence[float]
) -> tuple[tuple[int, int], float, float, float, float, bool]:
    """All of an organ's span but its size; the fewer animals, the more room."""
    return (
        _pieces([len(organ.pieces) for organ in known]),
        max(0.2 + 0.06 / animals, 2 * _most(aways)),
        max(math.log(1.6), math.log(1.3) + _most(ratios)),
        max(0.6 + 0.3 / animals, 0.3 + _most([organ.jump for organ in known])),
        max(0.05, 2 * _most([organ.holes for organ in known])),
        len(known) == animals,
    )


def _pieces(counts: Sequence[int]) -> tuple[int, int]:
    """Those that were seen and some more, for a tail may hang on by a voxel; fewer only where all are alike."""
    fewest, most = min(counts), max(counts)
    slack = max(2 if len(counts) < _ENOUGH else 1, most - fewest)
    return (fewest if fewest == most and len(counts) >= _ENOUGH else 1), most + slack


def _most(values: Sequence[float]) -> float:
    return float(np.nanmax([0.0, *values]))


def _neighbours(
    cohort: Sequence[Facts], organs: set[int]
) -> tuple[frozenset[tuple[int, int]], frozenset[tuple[int, int]]]:
    """Who always touches, and who never does."""
    if len(cohort) < _ENOUGH:
        return frozenset(), frozenset()
    known = [{(one, other): share for one, other, share in facts.contacts} for facts in cohort]
    pairs = {(one, other) for one in organs for other in organs if one < other}
    always = {pair for pair in pairs if _is_steady([shares.get(pair, 0.0) for shares in known])}
    return frozenset(always), frozenset(pair for pair in pairs if not any(pair in shares for shares in known))
