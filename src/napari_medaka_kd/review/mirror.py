"""Mirrors: verdicts that were given elsewhere, kept as they were said in a log of their own beside the others."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.volumes.gate import refusing

from .log import VerdictLog
from .rows import append_rows, opened, read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .verdict import Verdict

_REMEDY = "Ask whoever sent it to make it again."


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
        database.execute("BEGIN IMMEDIATE")
        with database:
            found = read_rows(path)
            known = found[0] if found else []
            both = min(len(known), len(verdicts))
            if list(verdicts[:both]) != list(known[:both]):
                raise UserError(
                    f"What {reviewer!r} said there before is no longer what came from there the last time.",
                    "Their log was changed or exchanged for an older copy: give the newest one.",
                )
            return append_rows(database, verdicts[both:], path)


def read_foreign_log(path: Path) -> tuple[Verdict, ...]:
    """The verdicts of a log that somebody sent, in the order they were written; nothing is written, nor run.

    Raises
    ------
    InvalidVolume
        If it holds anything but plain tables, is not what it was written as, or is not of the reviewer that it is
        named after.
    """
    with refusing(str(path), _REMEDY):
        judge_log(path)
        found = read_rows(path)
        verdicts = tuple(found[0]) if found else ()
        if any(verdict.reviewer != path.stem for verdict in verdicts):
            raise ValueError(f"it is not the log of {path.stem!r} alone")
        if any(later.instant <= former.instant for former, later in pairwise(verdicts)):
            raise ValueError("its times do not rise")
    return verdicts


def judge_log(path: Path) -> None:
    """Refuse a database that is more than tables, and what refuses changes to them: views could compute without end.

    Raises
    ------
    InvalidVolume
        If it is no such database.
    """
    with (
        refusing(str(path), _REMEDY),
        closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as database,
    ):
        database.execute("PRAGMA trusted_schema = OFF")
        parts = database.execute("SELECT type, name, tbl_name, upper(sql) FROM sqlite_master").fetchall()
        for kind, name, table, code in parts:
            harmless = kind in ("table", "index") or (kind == "trigger" and "RAISE" in code and "SELECT RAISE" in code)
            if not harmless or "VIRTUAL TABLE" in (code or "") or "GENERATED" in (code or ""):
                raise InvalidVolume(f"{str(path)!r} holds more than verdicts: {kind} {name!r} of {table!r}.", _REMEDY)
