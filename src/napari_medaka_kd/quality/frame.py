"""Frame: where organs lie with respect to each other, whatever the animal's pose; who is on the wrong side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = npt.NDArray[np.float64]
Pairs = tuple[tuple[int, int], ...]

_FLAT = 0.1  # of the length; where organs' places are flatter than this, their line does not tell left from right
_FEWEST = 5  # organs in common; of fewer, any one moves the fit as much as itself
_ROUNDS = 8
_NEAR = 0.08  # of the size: by so little organs vary anyway; only what lies farther off counts less in a fit
_FAR = 0.35  # of the size: an organ so far off tells a mirrored scan from exchanged labels


@dataclass(frozen=True)
class Fit:
    """An animal laid over the usual places: ``place → scale·turn @ place + shift``."""

    scale: float
    turn: Floats  # (3, 3)
    shift: Floats  # (3,)

    def apply(self, places: Floats) -> Floats:
        moved: Floats = self.scale * places @ self.turn.T + self.shift
        return moved


@dataclass(frozen=True)
class Stance:
    """How an animal's organs lie against the usual places.

    Attributes
    ----------
    away
        (classes,): how far each organ is from its usual place, in units of the animal's size; NaN where unknown.
    unit
        µm of that unit: the root mean square distance of the organs from their middle; NaN where unknown.
    side
        By pair: 1 on the usual sides, −1 swapped; NaN where unknown.
    mirrored
        Whether most of the pairs lie on the wrong side. If so, ``why`` is ``labels`` where other organs show that the
        left and right ones were exchanged, ``scan`` where they show that all of the animal is a mirror image, and
        empty where they do not tell.
    across
        (classes,): how far left of the middle each organ lies, in half the distances of the pairs; NaN where unknown.
    """

    away: Floats
    unit: float
    side: Floats
    mirrored: bool
    across: Floats
    why: str = ""


@dataclass(frozen=True)
class _Laid:
    """How far organs are then, in what unit (µm), all of them together, and the farthest."""

    away: Floats
    unit: float
    off: float
    worst: float


@dataclass(frozen=True)
class Frame:
    """The usual places of organs.

    Attributes
    ----------
    places
        (classes, 3), NaN where unknown; class 0 always is. Root mean square distance from their middle 1.
    pairs
        (left, right) classes.
    """

    places: Floats
    pairs: Pairs

    def stance(self, places: Floats) -> Stance:
        """How the organs at ``places`` ((classes, 3) in µm, NaN where absent) lie."""
        side = self._sides(places)
        known = side[np.isfinite(side)]
        opposed, usual = int((known < 0).sum()), int((known > 0).sum())
        mirrored = opposed > usual
        right = self._exchanged(places, side > 0 if mirrored else side < 0)
        if not mirrored:
            mirrors = (False,) if known.size else (False, True)  # without pairs a mirror image is none the worse
            best = min((self._laid(right, mirror) for mirror in mirrors), key=lambda laid: laid.off)
            return Stance(best.away, best.unit, side, False, self._across(places))
        labels = self._laid(self._exchanged(right, np.isfinite(side)), False)
        scan = self._laid(right, True)
        best = min(labels, scan, key=lambda laid: laid.off)
        off = sorted((labels.worst, scan.worst))
        sure = off[1] > max(_FAR, 2 * off[0])
        why = ("labels" if best is labels else "scan") if sure else ""
        return Stance(best.away, best.unit, side, True, self._across(places), why)

    def _exchanged(self, places: Floats, pairs: npt.NDArray[np.bool_]) -> Floats:
        """``places`` with left and right of those pairs exchanged."""
        changed = places.copy()
        for (left, right), change in zip(self.pairs, pairs, strict=True):
            if change:
                changed[[left, right]] = changed[[right, left]]
        return changed

    def _sides(self, places: Floats) -> Floats:
        """By pair: how much of the usual way from right to left it goes, once the middles lie over each other."""
        ways = np.full(len(self.pairs), np.nan)
        usual, seen = folded(self.places, self.pairs), folded(places, self.pairs)
        fit = fit_places(seen, usual)
        if fit is None or _is_line(usual[_both(usual, seen)]):
            return ways
        for number, (left, right) in enumerate(self.pairs):
            way = self.places[left] - self.places[right]
            ways[number] = fit.scale * fit.turn @ (places[left] - places[right]) @ way / max(way @ way, 1e-12)
        return ways

    def _laid(self, places: Floats, mirror: bool) -> _Laid:
        """An animal, or its mirror image, over the usual places; nowhere where it has too few organs in common."""
        enough = _both(places, self.places).sum() >= _FEWEST
        fit = fit_places(places, self.places, mirror) if enough else None
        if fit is None:
            return _Laid(np.full(len(places), np.nan), math.nan, math.inf, math.inf)
        away = _distance(fit.apply(places), self.places)
        return _Laid(away, 1 / max(fit.scale, 1e-12), float(np.nansum(away)), float(np.nanmax(away)))

    def _across(self, places: Floats) -> Floats:
        ends = np.array([[places[left], places[right]] for left, right in self.pairs]).reshape(-1, 2, 3)
        ends = ends[np.isfinite(ends).all((1, 2))]
        if not len(ends):
            return np.full(len(places), np.nan)
        way, middle = np.median(ends[:, 0] - ends[:, 1], axis=0), ends.mean((0, 1))
        lateral: Floats = (places - middle) @ way / max(float(way @ way) / 2, 1e-12)
        return lateral


def learn_frame(animals: Sequence[Floats], pairs: Pairs) -> Frame:
    """The usual places of animals' organs: the median of them all, laid over each other.

    Parameters
    ----------
    animals
        (classes, 3) each, in µm, NaN where absent; in any pose and size.
    """
    first = max(animals, key=lambda places: int(np.isfinite(places[:, 0]).sum()))
    usual = _unit(first)
    for _ in range(3):
        laid = []
        for places in animals:
            fit = fit_places(folded(places, pairs), folded(usual, pairs)) or fit_places(places, usual)
            if fit is not None:
                laid.append(fit.apply(places))
        usual = _unit(_median(laid)) if laid else usual
    return Frame(usual, pairs)


def folded(places: Floats, pairs: Pairs) -> Floats:
    """``places`` with each pair at its middle, so that they are the same whoever is called left."""
    middle = places.copy()
    for left, right in pairs:
        middle[[left, right]] = (places[left] + places[right]) / 2
    return middle


def fit_places(places: Floats, usual: Floats, mirror: bool = False) -> Fit | None:
    """The turn, scale and shift that lay ``places`` over ``usual``; few that lie elsewhere move it little.

    Least absolute distances by reweighting (Weiszfeld), each round a similarity (Umeyama 1991). ``None`` where fewer
    than three organs are in common.

    Parameters
    ----------
    mirror
        Whether to lay its mirror image there instead.
    """
    both = _both(places, usual)
    if both.sum() < 3:
        return None
    moved, fixed = places[both], usual[both]
    weights = np.ones(len(moved))
    fit = _similar(moved, fixed, weights, mirror)
    for _ in range(_ROUNDS):
        weights = 1 / np.maximum(_distance(fit.apply(moved), fixed), _NEAR)
        fit = _similar(moved, fixed, weights, mirror)
    return fit


def _similar(moved: Floats, fixed: Floats, weights: Floats, mirror: bool) -> Fit:
    share = (weights / weights.sum())[:, None]
    centre, target = (share * moved).sum(0), (share * fixed).sum(0)
    from_, to = moved - centre, fixed - target
    left, sizes, right = np.linalg.svd((share * to).T @ from_)
    hand = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) * (-1 if mirror else 1)])
    turn = left * hand @ right
    scale = float((sizes * hand).sum() / max(float((share * from_**2).sum()), 1e-12))
    return Fit(scale, turn, target - scale * turn @ centre)


def _both(one: Floats, other: Floats) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isfinite(one).all(1) & np.isfinite(other).all(1))


def _distance(one: Floats, other: Floats) -> Floats:
    return np.asarray(np.linalg.norm(one - other, axis=1))


def _is_line(places: Floats) -> bool:
    """Whether ``places`` (n, 3) lie along a line, about which an animal could be turned as one likes."""
    sizes = np.linalg.svd(places - places.mean(0), compute_uv=False)
    return bool(sizes[1] < _FLAT * sizes[0])


def _median(laid: Sequence[Floats]) -> Floats:
    stacked = np.stack(laid)
    known = np.isfinite(stacked).any((0, 2))
    middle = np.full(stacked.shape[1:], np.nan)
    middle[known] = np.nanmedian(stacked[:, known], axis=0)
    return middle


def _unit(places: Floats) -> Floats:
    known = np.isfinite(places).all(1)
    if not known.any():
        return places
    shifted = places - places[known].mean(0)
    return np.asarray(shifted / max(float(np.sqrt((shifted[known] ** 2).sum(1).mean())), 1e-12))
