"""Trust: how far the teacher's label of each organ in each slab is believed when a student learns from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class TrustTable:
    """The trust in each class in each slab of one animal.

    Attributes
    ----------
    table
        (slabs, classes) float32 in 0…1; column 0 is the background's.
    slab
        Voxels in z of one slab; 0 where the whole animal is one.
    """

    table: npt.NDArray[np.float32]
    slab: int


def trust_table(trust: Mapping[tuple[int, int], float], classes: int, depth: int, slab: int) -> TrustTable:
    """From the trust in (class, number of the slab) to a table.

    An organ that nobody spoke of is not believed. The background of a slab is believed as far as its organs are on
    average: where organs are wrong, what surrounds them is too.
    """
    rows = -(-depth // slab) if slab else 1
    table = np.zeros((rows, classes), np.float32)
    spoken: dict[int, list[float]] = {}
    for (organ, row), value in trust.items():
        table[row, organ] = value
        spoken.setdefault(row, []).append(value)
    for row in range(rows):
        table[row, 0] = np.mean(spoken[row]) if row in spoken else 1.0
    return TrustTable(table, slab)
