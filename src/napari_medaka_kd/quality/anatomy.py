"""Anatomy: a label map against rules and labelled animals, as numbers for the classifier and flags for people."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from .facts import Facts, OrganFacts
from .frame import Frame
from .rules import Rules
from .usual import ANYTHING, Span, Usual, asymmetry, learn_usual, places_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .frame import Stance

#: In this order everywhere; 0 is as it should be, and each grows with what is wrong.
ANATOMY = (
    "volume off cohort",
    "place off cohort",
    "pieces off",
    "wrong side",
    "neighbours off",
    "asymmetry",
    "holes",
    "worst jump",
)

_LEAK = 0.03  # of a surface: more contact than that is no accident of a voxel or two
_OVER = 0.1  # half distances of a pair: how far over the middle is on the other side


@dataclass(frozen=True)
class Flag:
    """Something that breaks a rule.

    Attributes
    ----------
    kind
        ``missing``, ``side``, ``mirrored``, ``pieces``, ``volume``, ``place``, ``neighbours``, ``symmetry``, ``jump``
        or ``holes``.
    organs
        The classes that it is about; none where it is about the animal.
    sentence
        In words, with figures.
    z
        The slice of level 0 at which to look; ``None`` where it is about the whole organ.
    """

    kind: str
    organs: tuple[int, ...]
    sentence: str
    z: int | None = None

    def is_about(self, organ: int, slab: tuple[int, int]) -> bool:
        """Whether it is seen in the slices of ``slab`` of that class."""
        return organ in self.organs and (self.z is None or slab[0] <= self.z < slab[1])


@dataclass(frozen=True)
class Anatomy:
    """Rules, and the labelled animals that say what else is usual."""

    rules: Rules
    cohort: tuple[Facts, ...]

    @cached_property
    def usual(self) -> Usual:
        """What is usual; where guessing was turned off, nothing but what a rule compares with."""
        learned = learn_usual(self.cohort, self.rules)
        if self.rules.guess:
            return learned
        return replace(learned, frame=None, touching=frozenset(), strangers=frozenset())

    def to_json(self) -> str:
        """What :meth:`from_json` reads."""
        cohort = [facts.model_dump() for facts in self.cohort]
        return json.dumps({"rules": self.rules.model_dump(), "cohort": cohort})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Rules and animals as they were kept.

        Raises
        ------
        ValueError
            If it is anything else.
        """
        data = json.loads(text)
        cohort = tuple(Facts.model_validate(facts) for facts in data["cohort"])
        return cls(Rules.model_validate(data["rules"]), cohort)

    def numbers(self, facts: Facts) -> Mapping[int, npt.NDArray[np.float64]]:
        """By class: the numbers that :data:`ANATOMY` names, float64, finite, 0 where nothing is known."""
        stance, factors = self._stance(facts), self.usual.factors(facts)
        broken = [pair for pair, _ in self._broken(facts)]
        found = {}
        for organ, seen in facts.organs.items():
            side = [way for pair, way in zip(self.rules.pairs, stance.side, strict=True) if organ in pair]
            row = (
                abs(math.log(factors.get(organ, 1.0))),
                min(stance.away[organ], 10.0),
                _off(len(seen.pieces), self._pieces(organ)),
                min(max((1 - side[0]) / 2, 0.0), 1.0) if side else 0.0,
                float(sum(organ in pair for pair in broken)),
                asymmetry(facts, organ, self.rules),
                seen.holes,
                seen.jump,
            )
            found[organ] = np.nan_to_num(np.array(row, np.float64))
        return found

    def flags(self, facts: Facts) -> tuple[Flag, ...]:
        """What breaks a rule, the gravest first."""
        flags = [*self._absent(facts), *self._sides(facts)]
        flags += [Flag("neighbours", pair, said) for pair, said in self._broken(facts)]
        stance, factors = self._stance(facts), self.usual.factors(facts)
        for organ, seen in facts.organs.items():
            flags += [*self._count(organ, seen), *self._size(organ, seen, factors.get(organ))]
            flags += [*self._place(organ, stance), *self._symmetry(facts, organ), *self._shape(organ, seen)]
        return tuple(sorted(flags, key=lambda flag: _GRAVEST.index(flag.kind)))

    def _stance(self, facts: Facts) -> Stance:
        classes = len(self.rules.names) + 1
        frame = self.usual.frame or Frame(np.full((classes, 3), np.nan), self.rules.pairs)
        return frame.stance(places_of(facts, classes))

    def _span(self, organ: int) -> Span:
        return self.usual.spans.get(organ, ANYTHING) if self.rules.guess else ANYTHING

    def _pieces(self, organ: int) -> tuple[int, int]:
        return self.rules.of(organ).pieces or self._span(organ).pieces

    def _absent(self, facts: Facts) -> Iterator[Flag]:
        for organ in range(1, len(self.rules.names) + 1):
            if self._span(organ).always and organ not in facts.organs:
                yield Flag("missing", (organ,), f"{self.rules.name(organ)}: missing")

    def _sides(self, facts: Facts) -> Iterator[Flag]:
        stance = self._stance(facts)
        known = [(pair, way) for pair, way in zip(self.rules.pairs, stance.side, strict=True) if np.isfinite(way)]
        wrong = [pair for pair, way in known if way < 0]
        if stance.mirrored and len(wrong) == len(known):
            which = "all left and right organs" if len(known) > 1 else self._both(wrong[0])
            yield Flag("mirrored", () if len(known) > 1 else wrong[0], _MIRRORED[stance.why].format(which))
        else:
            odd = [pair for pair, _ in known if pair not in wrong] if stance.mirrored else wrong
            yield from (Flag("side", pair, f"{self._both(pair)} are swapped") for pair in odd)
        for organ in facts.organs:
            side, lateral = self.rules.of(organ).side, stance.across[organ]
            if side and lateral * (1 if side == "left" else -1) < -_OVER:
                yield Flag("side", (organ,), f"{self.rules.name(organ)}: not on the {side}")

    def _both(self, pair: tuple[int, int]) -> str:
        return f"{self.rules.name(pair[0])} and {self.rules.name(pair[1])}"

    def _broken(self, facts: Facts) -> list[tuple[tuple[int, int], str]]:
        """Organs that do not touch and must, or do and must not, each pair once."""
        shares = {(one, other): share for one, other, share in facts.contacts}
        said = []
        for one, other in combinations(sorted(facts.organs), 2):
            share, pair = shares.get((one, other), 0.0), (one, other)
            if share == 0 and pair in self.must_touch:
                said.append((pair, f"{self._both(pair)} do not touch"))
            if share > _LEAK and (pair in self._never or pair in self.usual.strangers - self.must_touch):
                said.append((pair, f"{self._both(pair)} touch"))
        return said

    @cached_property
    def must_touch(self) -> frozenset[tuple[int, int]]:
        """(class, larger class) of those that have to touch."""
        return self.usual.touching | _pairs({organ: demand.touches for organ, demand in self.rules.demands.items()})

    @cached_property
    def _never(self) -> frozenset[tuple[int, int]]:
        return _pairs({organ: demand.apart for organ, demand in self.rules.demands.items()})

    def _count(self, organ: int, seen: OrganFacts) -> Iterator[Flag]:
        (fewest, most), count = self._pieces(organ), len(seen.pieces)
        if not fewest <= count <= most:
            bound = str(fewest) if fewest == most else f"at least {fewest}" if count < fewest else f"at most {most}"
            whose = "expected" if self.rules.of(organ).pieces else "usual"
            word = "in one piece" if count == 1 else f"in {count} pieces"
            yield Flag("pieces", (organ,), f"{self.rules.name(organ)}: {word} ({bound} {whose})")

    def _size(self, organ: int, seen: OrganFacts, factor: float | None) -> Iterator[Flag]:
        demand, name, room = (
            self.rules.of(organ),
            self.rules.name(organ),
            math.exp(min(self._span(organ).doubling, 100.0)),
        )
        low, high = demand.volume or (1 / room, room)
        if factor is not None and not low <= factor <= high:
            yield Flag("volume", (organ,), f"{name}: volume {times(factor)} the cohort")
        low, high = demand.volume_mm3 or (0, math.inf)
        if not low <= seen.volume / 1e9 <= high:
            yield Flag("volume", (organ,), f"{name}: {seen.volume / 1e9:.3g} mm³, not {low:g} to {high:g} mm³")

    def _place(self, organ: int, stance: Stance) -> Iterator[Flag]:
        if stance.away[organ] > self._span(organ).away:
            far = length(stance.away[organ] * stance.unit)
            yield Flag("place", (organ,), f"{self.rules.name(organ)}: {far} from its usual place")

    def _symmetry(self, facts: Facts, organ: int) -> Iterator[Flag]:
        name, partner, demanded = self.rules.name(organ), self.rules.partner(organ), self.rules.of(organ).ratio
        ratio = asymmetry(facts, organ, self.rules)
        if ratio <= (math.log(demanded) if demanded else self._span(organ).ratio):
            return
        much = times(math.exp(ratio))
        if not partner:
            yield Flag("symmetry", (organ,), f"{name}: one is {much} the other")
        elif facts.organs[organ].volume > facts.organs[partner].volume:
            yield Flag("symmetry", (organ, partner), f"{name}: {much} {self.rules.name(partner)}")

    def _shape(self, organ: int, seen: OrganFacts) -> Iterator[Flag]:
        name, span, demanded = self.rules.name(organ), self._span(organ), self.rules.of(organ).holes
        if seen.jump > span.jump:
            yield Flag("jump", (organ,), f"{name}: jump at z = {seen.jump_at}", seen.jump_at)
        if seen.holes > (span.holes if demanded is None else demanded):
            yield Flag("holes", (organ,), f"{name}: {100 * seen.holes:.0f} % of it is holes")


_GRAVEST = (
    "mirrored", "side", "missing", "volume", "pieces", "place", "neighbours", "symmetry", "jump", "holes",
)  # fmt: skip


#: By what the other organs show.
_MIRRORED = {
    "": "{} are swapped, or the scan is mirrored",
    "labels": "{} are swapped",
    "scan": "the scan is mirrored, so that {} are on the wrong side",
}


def times(factor: float) -> str:
    """A factor as people say it: 2.3×, 0.41×."""
    return f"{factor:.1f}×" if factor >= 1 else f"{factor:.2f}×"


def length(um: float) -> str:
    """µm as people say it: 320 µm, 1.4 mm."""
    return f"{um / 1000:.1f} mm" if um >= 1000 else f"{um:.0f} µm"


def _off(count: int, wanted: tuple[int, int]) -> float:
    """|log| of how many times too many or too few."""
    return abs(math.log(count / min(max(count, wanted[0]), wanted[1])))


def _pairs(others: Mapping[int, tuple[int, ...]]) -> frozenset[tuple[int, int]]:
    return frozenset((min(one, other), max(one, other)) for one, them in others.items() for other in them)
