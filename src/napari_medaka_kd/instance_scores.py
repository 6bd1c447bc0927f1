"""How well instances that may overlap were found: the aggregated Jaccard index and average precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from .volumes.instances import Instance, overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

Pair: TypeAlias = "tuple[Sequence[Instance], Sequence[Instance]]"
#: IoU from 0.5 to 0.95, as COCO has them.
THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


def aggregated_jaccard(truth: Sequence[Instance], found: Sequence[Instance]) -> float:
    """AJI (Kumar et al. 2017), 0 … 1; 1 where there is neither a true nor a found one.

    ``Σ|G and F| / (Σ|G or F| + Σ|U|)``: each true one G with the found one F that it is most like, U the found ones
    that none is most like. A true one that nothing touches counts its own size in the union.
    """
    both, either = _tables(truth, found)
    mine, sizes = np.array([each.size for each in truth]), np.array([each.size for each in found])
    used, above, below = np.zeros(len(found), bool), 0, 0
    for row, size in enumerate(mine):
        best = int(np.argmax(both[row] / either[row])) if len(found) else -1
        if best < 0 or not both[row, best]:
            below += int(size)
            continue
        used[best] = True
        above += int(both[row, best])
        below += int(either[row, best])
    below += int(sizes[~used].sum())
    return above / below if below else 1.0


def average_precision(images: Sequence[Pair], likeness: float = 0.5) -> float:
    """The area under precision over recall of all found ones, surest first; NaN where there is no true one.

    A found one is right if a true one that no surer one took is like it by an IoU of ``likeness`` at least; it takes
    the one that it is most like. Precision at a recall is the best at that recall or above (VOC 2010, all points).

    Parameters
    ----------
    images
        (true, found) of each image.
    """
    truths = sum(len(truth) for truth, _ in images)
    if not truths:
        return float("nan")
    marks = [mark for truth, found in images for mark in _marks(truth, found, likeness)]
    right = np.array([mark[1] for mark in sorted(marks, key=lambda mark: -mark[0])], bool)
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best[right].sum() / truths)


def mean_average_precision(images: Sequence[Pair], thresholds: Sequence[float] = THRESHOLDS) -> float:
    """The mean of :func:`average_precision` over ``thresholds``."""
    return float(np.mean([average_precision(images, each) for each in thresholds]))


def _marks(truth: Sequence[Instance], found: Sequence[Instance], likeness: float) -> list[tuple[float, bool]]:
    """(score, whether it is right) of each found one of an image."""
    both, either = _tables(truth, found)
    alike = both / either
    marks = []
    for column in sorted(range(len(found)), key=lambda place: -found[place].score):
        best = int(np.argmax(alike[:, column])) if len(truth) else -1
        right = best >= 0 and bool(alike[best, column] >= likeness)
        if right:
            alike[best] = -1  # taken
        marks.append((found[column].score, right))
    return marks


def _tables(
    truth: Sequence[Instance], found: Sequence[Instance]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Voxels of the intersection and of the union of each true (row) and each found one (column)."""
    both = np.array([[overlap(one, other) for other in found] for one in truth], np.int64)
    both = both.reshape(len(truth), len(found))
    mine, theirs = (np.array([each.size for each in group], np.int64) for group in (truth, found))
    return both, mine[:, None] + theirs[None, :] - both
