"""Unlike: among equally uncertain items, first the one that is least like all that was looked at before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_BLOCK = 256  # items of similar uncertainty that compete with one another
_NEAR = 1024  # items before and behind a block in that order, likeness to which counts
_NEW = 1e6  # how far everything is from what was looked at while nothing was


class Unlike:
    """Uncertain items, spread over their evidence (farthest-first traversal, Gonzalez 1985).

    Sorted by uncertainty the items form blocks. Within one, the next is that of the highest uncertainty times distance,
    in standardised evidence, to the nearest item of similar uncertainty that was looked at. The blocks depend on the
    scores alone, so that looking at the first leaves the rest as it was; and only one block is ever compared at a time,
    however many items there are.

    Parameters
    ----------
    scores
        (n,) float, NaN where there is none, and these are the most uncertain.
    evidence
        (n, features) float, finite.
    """

    def __init__(self, scores: Floats, evidence: Floats) -> None:
        self._doubt = 1.05 - 2 * np.abs(np.where(np.isnan(scores), 0.5, scores) - 0.5)
        self._order = np.argsort(-self._doubt, kind="stable")
        spread = evidence.std(0)
        self._evidence = (evidence - evidence.mean(0)) / np.where(spread > 1e-9, spread, 1.0)

    def walk(self, open_: Flags, seen: Flags) -> Iterator[int]:
        """The ``open_`` items in their order; both masks (n,) may change between two steps.

        ``seen`` are those that somebody looked at; what goes on the way is marked there by the caller.
        """
        for first in range(0, len(self._order), _BLOCK):
            block = self._order[first : first + _BLOCK]
            around = self._order[max(0, first - _NEAR) : first + _BLOCK + _NEAR]
            while (left := block[open_[block]]).size:
                yield from self._of_block(left, around, open_, seen)

    def _of_block(
        self, left: npt.NDArray[np.intp], around: npt.NDArray[np.intp], open_: Flags, seen: Flags
    ) -> Iterator[int]:
        nearest = np.full(len(left), _NEW)
        known = np.zeros(len(around), bool)
        while True:
            fresh = seen[around] & ~known
            known |= fresh
            if fresh.any():
                np.minimum(nearest, self._away(left, around[fresh]), out=nearest)
            worth = np.where(open_[left], self._doubt[left] * nearest, -1.0)
            best = int(worth.argmax())
            if worth[best] < 0:
                return
            yield int(left[best])

    def _away(self, items: npt.NDArray[np.intp], others: npt.NDArray[np.intp]) -> Floats:
        """(items,) The distance of each to the nearest of ``others``."""
        mine, theirs = self._evidence[items], self._evidence[others]
        squared = (mine**2).sum(1)[:, None] + (theirs**2).sum(1) - 2 * mine @ theirs.T
        nearest: Floats = np.sqrt(np.maximum(squared.min(1), 0.0))
        return nearest
