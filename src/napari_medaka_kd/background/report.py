"""Reports of a task: one line each in a file, read while it is written, and how fast it goes by them."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_TAIL = 65536  # bytes that hold the latest report, also one with three figures for each of some hundred organs


@dataclass(frozen=True)
class Report:
    """One line of progress, with the time that it was written at, in seconds since the epoch."""

    time: float
    doing: str
    done: int
    total: int
    values: Mapping[str, float]
    said: str = ""


@dataclass(frozen=True)
class Pace:
    """How fast a task goes, in things a second (NaN where it is not known), and how long it may still take."""

    rate: float
    seconds_left: float | None


def pace(reports: Sequence[Report]) -> Pace:
    """From the latest reports of what is being done now."""
    same: list[Report] = []
    for report in reversed(reports):
        if report.doing != reports[-1].doing or (same and report.done > same[-1].done):
            break
        same.append(report)
    if len(same) < 2 or same[0].time <= same[-1].time or same[0].done <= same[-1].done:
        return Pace(nan, None)
    rate = (same[0].done - same[-1].done) / (same[0].time - same[-1].time)
    left = same[0].total - same[0].done
    return Pace(rate, left / rate if same[0].total else None)


def read_reports(file: Path, offset: int) -> tuple[tuple[Report, ...], int]:
    """The reports after byte ``offset``, and the offset to go on from; a line that is being written waits."""
    try:
        with file.open("rb") as stream:
            stream.seek(offset)
            whole, newline, _ = stream.read().rpartition(b"\n")
    except OSError:
        return (), offset
    found = tuple(report for line in whole.splitlines() if (report := _as_report(line)))
    return found, offset + len(whole) + len(newline)


def latest_report(file: Path) -> Report | None:
    """The last whole line; only the end of the file is read."""
    with suppress(OSError):
        found, _ = read_reports(file, max(0, file.stat().st_size - _TAIL))
        return found[-1] if found else None
    return None


def _as_report(line: bytes) -> Report | None:
    with suppress(ValueError, KeyError, TypeError):
        said = json.loads(line)
        values = {str(name): float(value) for name, value in said["values"].items()}
        return Report(
            float(said["time"]),
            str(said["doing"]),
            int(said["done"]),
            int(said["total"]),
            values,
            str(said.get("said", "")),
        )
    return None
