"""Mirrors: verdicts that were given elsewhere, kept as they were said in a log of their own beside the others."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.volumes.gate import refusing

from .log import VerdictLog, verify_chain
from .rows import append_rows, begin, opened
from .verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

GESTURES = 2**28  # of a log that is believed
_REMEDY = "Ask whoever sent it to make it again."
_AHEAD = timedelta(days=1)  # that a clock elsewhere may be wrong
_ROWS = "SELECT verdict FROM verdicts ORDER BY row"
_TABLE = "SELECT 1 FROM sqlite_master WHERE name = 'verdicts'"


def mirror(folder: Path, origin: str, verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Append to ``<folder>/<reviewer>~<origin>.sqlite`` those of ``verdicts`` that it lacks, durably, and return them.

    Times stay what they were: a log of its own has no later row that would push them on.

    Parameters
    ----------
    origin
        Tells the log that they come from, which only ever grows, from every other log.
    verdicts
        All of one reviewer's in that log, at least one, each later than the one before.

    Raises
    ------
    UserError
        If other verdicts came from that log before, the reviewer's name cannot name a file, or the disk does not take
        it.
    """
    reviewer = verdicts[0].reviewer
    path = VerdictLog(folder, reviewer).path.with_name(f"{reviewer}~{origin}.sqlite")
    with opened(path) as database:
        database.execute("PRAGMA synchronous = EXTRA")  # as every log is written
        begin(database)
        with database:
            known = _read(database)
            both = min(len(known), len(verdicts))
            if list(verdicts[:both]) != known[:both]:
                raise UserError(
                    f"What {reviewer!r} said there before is no longer what came from there the last time.",
                    "Their log was changed or exchanged for an older copy: give the newest one.",
                )
            return append_rows(database, verdicts[both:], path)


def read_foreign_log(path: Path) -> tuple[Verdict, ...]:
    """The verdicts of a log that somebody sent, in the order they were written; nothing in it is run.

    Raises
    ------
    InvalidVolume
        If it holds anything but plain tables, is not what it was written as, is not of the reviewer that it is named
        after, or of the future.
    """
    with refusing(str(path), _REMEDY):
        _refuse_code(path)
        verify_chain(path)
        with closing(_open(path)) as database:
            verdicts = _read(database)
        VerdictLog(path.parent, path.stem)  # refuses a name that is none
        if any(verdict.reviewer != path.stem for verdict in verdicts):
            raise ValueError(f"it is not the log of {path.stem!r} alone")
        if any(later.instant <= former.instant for former, later in pairwise(verdicts)):
            raise ValueError("its times do not rise")
        if verdicts and verdicts[-1].instant > datetime.now(UTC) + _AHEAD:
            raise ValueError(f"it was written on {verdicts[-1].time[:10]}, which is still to come")
        if any(not 0 <= verdict.gesture < GESTURES for verdict in verdicts):
            raise ValueError("its gestures are not counted as ours are")
    return tuple(verdicts)


def _refuse_code(path: Path) -> None:
    """Refuse a database that is more than tables, and what refuses changes to them: a view may compute without end."""
    with closing(_open(path)) as database:
        parts = database.execute("SELECT type, name, upper(coalesce(sql, '')) FROM sqlite_master").fetchall()
    for kind, name, code in parts:
        harmless = kind in ("table", "index") or (kind == "trigger" and "SELECT RAISE(ABORT" in code)
        if not harmless or "VIRTUAL TABLE" in code or "GENERATED" in code or " AS (" in code:
            raise InvalidVolume(f"{str(path)!r} holds more than verdicts: the {kind} {name!r}.", _REMEDY)


def _open(path: Path) -> sqlite3.Connection:
    """To read alone."""
    database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    database.execute("PRAGMA trusted_schema = OFF")
    return database


def _read(database: sqlite3.Connection) -> list[Verdict]:
    if database.execute(_TABLE).fetchone() is None:
        return []
    return [_parse(text) for (text,) in database.execute(_ROWS)]


def _parse(text: str) -> Verdict:
    """A row, every value of the type that it must have: what is merged is read by everybody ever after."""
    data = json.loads(text)
    unknown = set(data) - {field.name for field in fields(Verdict)}
    if unknown:
        raise UserError(
            f"A verdict says {sorted(unknown)[0]!r}, which a newer version wrote.", "Update napari-medaka-kd."
        )
    return _adapter().validate_python(data)


@cache
def _adapter() -> TypeAdapter[Verdict]:
    return TypeAdapter(Verdict)
