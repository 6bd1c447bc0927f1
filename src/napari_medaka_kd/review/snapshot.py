"""Snapshot: what was read of a project's logs, in one file beside them, so that a million rows are parsed once only.

It is a cache: a reader believes it only where each log still holds, at the row up to which it was read, the hash that
the snapshot names, and reads and checks the rows behind as ever. Missing, damaged or of another version, it is made
again.
"""

from __future__ import annotations

import json
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.volumes.atomic import replace_file

from .rows import Mark
from .table import DECISIONS, REST, ROW, Table, Words

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SNAPSHOT = ".verdicts.snapshot"
_FORMAT = 1
_MOST_BYTES = 2**32  # some fifty million verdicts
_ITEM = np.dtype([("case", "<i4"), ("organ", "<i4"), ("first", "<i4"), ("last", "<i4")])


def keep_snapshot(folder: Path, table: Table, marks: Mapping[str, Mark]) -> None:
    """Write ``table``, and how far each log in ``folder`` was read for it; nothing where the disk takes none."""
    cases: Words[str] = Words()
    items = np.array([(cases.code(case), *place) for case, *place in table.items.values], _ITEM)
    head = {
        **_version(),
        "marks": {name: [mark.row, mark.hash] for name, mark in marks.items()},
        "cases": cases.values,
        "checkpoints": table.checkpoints.values,
        "reviewers": table.reviewers.values,
        "rest": table.rest.values,
        "items": len(items),
    }
    data = b"\n".join([json.dumps(head).encode(), items.tobytes() + table.rows.tobytes()])
    with suppress(OSError, OverflowError):
        replace_file(folder / SNAPSHOT, zlib.crc32(data).to_bytes(4, "little") + data)


def read_snapshot(folder: Path) -> tuple[Table, dict[str, Mark]] | None:
    """(the table, how far each log was read for it, by file name); ``None`` where there is none, or no whole one."""
    path = folder / SNAPSHOT
    try:
        if path.is_symlink() or path.stat().st_size > _MOST_BYTES:
            return None
        data = memoryview(path.read_bytes())
        line = bytes(data[4 : 4 + 2**26]).find(b"\n") + 4
        if zlib.crc32(data[4:]) != int.from_bytes(data[:4], "little") or line < 4:
            return None
        head = json.loads(bytes(data[4:line]))
        if any(head[key] != value for key, value in _version().items()):
            return None
        return _table(head, data[line + 1 :])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, MemoryError):
        return None


def _version() -> dict[str, Any]:
    return {"format": _FORMAT, "fields": sorted(REST), "decisions": list(DECISIONS), "row": list(ROW.names or ())}


def _table(head: dict[str, Any], data: memoryview) -> tuple[Table, dict[str, Mark]]:
    """Raises ValueError where a row speaks of what is not there."""
    items = np.frombuffer(data, _ITEM, int(head["items"]))
    rows = np.frombuffer(data[items.nbytes :], ROW)
    marks = {str(name): Mark(int(row), str(link)) for name, (row, link) in head["marks"].items()}
    table = Table()
    table.checkpoints, table.reviewers = Words(map(str, head["checkpoints"])), Words(map(str, head["reviewers"]))
    table.rest = Words(tuple([tuple(v) if type(v) is list else v for v in values]) for values in head["rest"])
    _require(items["case"], len(head["cases"]))
    for name, known in (
        ("item", items), ("rest", table.rest), ("checkpoint", table.checkpoints), ("reviewer", table.reviewers),
        ("decision", DECISIONS),
    ):  # fmt: skip
        _require(rows[name], len(known))
    if sum(mark.row for mark in marks.values()) != len(rows):
        raise ValueError("other rows than were read")
    cases = [str(case) for case in head["cases"]]
    table.items = Words((cases[case], *place) for case, *place in items.tolist())
    table.fill(rows)
    return table, marks


def _require(codes: np.ndarray[Any, Any], known: int) -> None:
    if len(codes) and not (codes.min() >= 0 and codes.max() < known):
        raise ValueError("a code without a meaning")
