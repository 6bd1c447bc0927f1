"""Extra: what a label map keeps beside its labels: doubt, disagreement, soft labels; a byte a voxel and channel."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .store_array import LABEL_SHARD, Layout, lay_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from .volume import Shape

_NAME = re.compile(r"[a-z]{1,32}")
_PACKED = 4  # soft labels take an eighth of a byte a voxel and channel, and less (docs/benchmarks.md); twice that


@dataclass(frozen=True)
class Extra:
    """What is written with each block of labels, uint8, on the same grid.

    Attributes
    ----------
    name
        Lower-case letters: the folder within the label map, ``teacher.3/uncertainty``.
    channels
        0: a map (z, y, x), with a pyramid, an image like others. Else (channels, z, y, x), at full resolution alone.
    facts
        What one must know to read it: kept beside it.
    """

    name: str
    channels: int = 0
    facts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.channels < 0:
            raise ValueError(f"{self!r} cannot be kept beside labels")

    def layout(self, shape: Shape) -> Layout:
        """How it lies on disk: as labels do, all channels of a block in one file."""
        return replace(lay_out(shape, np.dtype(np.uint8), LABEL_SHARD), channels=self.channels)

    def bytes_a_voxel(self) -> float:
        """To keep free for it."""
        return self.channels / _PACKED if self.channels else 1

    def plan(self) -> dict[str, Any]:
        """As the ledger has it; :func:`planned` reads it."""
        return {"name": self.name, "channels": self.channels, "facts": dict(self.facts)}


UNCERTAINTY = "uncertainty"  # 255·(1 − the probability of the label)
DISAGREEMENT = "disagreement"  # 255·the weighed share of further looks at the scan that give another label
SOFT = "soft"  # a channel a class: how probable it is against the most probable one


def planned(plan: Mapping[str, Any]) -> tuple[Extra, ...]:
    """The extras of a label map that a ledger speaks of.

    Raises
    ------
    ValueError, KeyError, TypeError
        If it is no such ledger.
    """
    return tuple(Extra(each["name"], int(each["channels"]), each["facts"]) for each in plan["extras"])


def extra_folder(generation: Path, name: str) -> Path | None:
    """Where extra ``name`` of a label map lies; ``None`` where it has none, or a link."""
    folder = generation / name
    return folder if folder.is_dir() and not folder.is_symlink() else None


def by_name(extras: Iterable[Extra]) -> dict[str, Extra]:
    """The extras by their names, each of which must differ.

    Raises
    ------
    ValueError
        If two are called alike.
    """
    given = tuple(extras)
    found = {extra.name: extra for extra in given}
    if len(found) < len(given):
        raise ValueError(f"two extras are called alike: {[extra.name for extra in given]}")
    return found
