"""Tables that a spreadsheet opens."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def as_csv(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> bytes:
    """A comma-separated table in UTF-8; NaN and ``None`` are empty cells."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    # NaN is the one value that differs from itself.
    table.writerows(["" if cell != cell else cell for cell in row] for row in rows)
    return text.getvalue().encode()
