"""What every benchmark prints: a Markdown table, or one line of JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from napari_medaka_kd.report import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def in_points(gain: Mapping[str, float]) -> str:
    """A difference of shares, as :func:`napari_medaka_kd.report.difference` gives it: +2.5 [+1.0, +4.0]."""
    mean, low, high = (100 * gain[name] for name in ("mean", "low", "high"))
    return f"{mean:+.1f}" if low != low else f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Markdown that is also readable as it is."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, ["-" * width for width in widths], *rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
    print()


def say_json(data: object) -> None:
    """One line; what is not finite becomes null."""
    print(json.dumps(plain(data)))
