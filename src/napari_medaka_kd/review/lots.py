"""Lots: every item has a number drawn once and for all, by which a fair sample of any of them can be taken."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .verdict import ReviewItem


def draw_lots(items: Iterable[ReviewItem], seed: str) -> npt.NDArray[np.uint64]:
    """The lot of each of ``items``, evenly distributed 64-bit numbers; about a second for a million.

    It depends on the item and on ``seed`` alone: not on its score, on other items, on who asks, nor on the machine. So
    items that are added later fall into their places among the others, and all reviewers draw from one urn.
    """
    before = hashlib.blake2b(f"{seed}\n".encode(), digest_size=8)
    found = bytearray()
    for item in items:
        lot = before.copy()
        lot.update(f"{item.case}\n{item.organ}\n{item.slab}".encode())
        found += lot.digest()
    return np.frombuffer(bytes(found), "<u8").astype(np.uint64)
