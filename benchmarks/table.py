"""What every benchmark prints: a Markdown table with paired differences and their intervals, or one line of JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Difference:
    """A mean paired difference and its 95 % interval (Student's t); NaN ends where there is one pair only."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, mine: Sequence[float], theirs: Sequence[float]) -> Difference:
        """Of pairs in the same order."""
        pairs = np.subtract(mine, theirs)
        mean = float(pairs.mean())
        if len(pairs) < 2:
            return cls(mean, math.nan, math.nan)
        half = float(stats.t.ppf(0.975, len(pairs) - 1) * pairs.std(ddof=1) / math.sqrt(len(pairs)))
        return cls(mean, mean - half, mean + half)

    def __str__(self) -> str:
        """Shares as points: +2.5 [+1.0, +4.0]."""
        ends = "" if math.isnan(self.low) else f" [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"
        return f"{100 * self.mean:+.1f}{ends}"


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Markdown that is also readable as it is."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, ["-" * width for width in widths], *rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
    print()


def say_json(data: object) -> None:
    """One line; what is not finite becomes null."""
    print(json.dumps(_plain(data)))


def _plain(data: Any) -> Any:
    if is_dataclass(data) and not isinstance(data, type):
        return _plain(asdict(data))
    if isinstance(data, dict):
        return {str(name): _plain(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
