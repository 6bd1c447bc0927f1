"""Rows of a verdict log: its SQLite table, the JSON in it, and the chain of hashes that shows every change."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
import time
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.volumes.shares import on_share

from .verdict import Decision, write_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import TypeAlias

    from .verdict import Verdict

    _Opened: TypeAlias = AbstractContextManager[sqlite3.Connection]

FORMAT = 1
CHUNK = 50_000  # rows that are read at once: a third of a second in which nobody can append
_PATIENCE = 30.0  # seconds that an append waits for others to finish theirs
_LOOKS_AGAIN = (0.001, 0.004)  # seconds after which it does
_SETTLES = 2.0  # seconds in which a log on a share is whole at least once, however often another machine writes
_SHARE = threading.Lock()  # held while a log on a share is open: to close it drops locks of this process on it


@dataclass(frozen=True)
class Mark:
    """The last row of a log that is known, and its hash; before the first row there are none."""

    row: int = 0
    hash: str = "0" * 64


START = Mark()


def read_rows(path: Path, after: Mark = START) -> tuple[list[str], Mark] | None:
    """The next rows behind ``after``, at most :data:`CHUNK`, as they were written, and the mark of the last one.

    The hash of each was checked. ``None`` where the log does not hold the marked row: it is another one, and to be read
    from the start. On a network share the log is read as it lies there, without locks: those of another machine may not
    show, and SQLite would take a row that is being written for one that a crash left, and undo it.

    Raises
    ------
    UserError
        If the log is damaged, its chain is broken, or a newer version wrote it.
    """
    if not on_share(path.parent):
        return _rows(path, after, opened)
    until = time.monotonic() + _SETTLES
    while True:
        last = time.monotonic() > until
        try:
            found = _rows(path, after, _as_it_lies)
        except UserError:
            if last:
                raise
        else:
            if last or found is not None:
                return found
        time.sleep(random.uniform(*_LOOKS_AGAIN))


def _rows(path: Path, after: Mark, open_log: Callable[[Path], _Opened]) -> tuple[list[str], Mark] | None:
    ask = "SELECT row, verdict, hash FROM verdicts WHERE row >= ? ORDER BY row LIMIT ?"
    known = min(after.row, 1)
    with open_log(path) as database:
        rows = database.execute(ask, (after.row, CHUNK + known)).fetchall() if _has_table(database) else []
    if known and (not rows or (rows[0][0], rows[0][2]) != (after.row, after.hash)):
        return None
    texts, link = [], after.hash
    for number, (row, text, written) in enumerate(rows[known:], start=after.row + 1):
        link = sha256(f"{link}\n{text}".encode()).hexdigest()
        if row != number or link != written:
            raise damaged(path, f"row {number} is not what was written")
        texts.append(text)
    return texts, Mark(after.row + len(texts), link)


def append_rows(database: sqlite3.Connection, verdicts: Sequence[Verdict], path: Path) -> tuple[Verdict, ...]:
    """Add ``verdicts`` as one gesture, linked to the last row and later than it; the caller holds the lock."""
    last = _last(database)
    earliest = _instant(last[1], path) + timedelta(microseconds=1) if last else None
    gesture, written = (last[0] if last else 0) + 1, []
    for verdict in verdicts:
        instant = verdict.instant.astimezone(UTC)
        instant = instant if earliest is None else max(instant, earliest)
        earliest = instant + timedelta(microseconds=1)
        own = verdict.gesture or (0 if verdict.decision is Decision.UNDONE else gesture)
        written.append(replace(verdict, time=write_time(instant), gesture=own))
    append_texts(database, map(row_text, written))
    return tuple(written)


def append_texts(database: sqlite3.Connection, texts: Iterable[str]) -> None:
    """Add rows as they are, linked to the last row; the caller holds the lock."""
    last = _last(database)
    row, link = (last[0], last[2]) if last else (START.row, START.hash)
    for number, text in enumerate(texts, start=row + 1):
        link = sha256(f"{link}\n{text}".encode()).hexdigest()
        database.execute("INSERT INTO verdicts VALUES (?, ?, ?)", (number, text, link))


def texts_of(database: sqlite3.Connection) -> set[str]:
    """All rows as they are."""
    _create(database)
    return {text for (text,) in database.execute("SELECT verdict FROM verdicts")}


def _last(database: sqlite3.Connection) -> tuple[int, str, str] | None:
    """The last row, of a table that is made if there is none."""
    _create(database)
    found: tuple[int, str, str] | None
    found = database.execute("SELECT row, verdict, hash FROM verdicts ORDER BY row DESC LIMIT 1").fetchone()
    return found


def row_text(verdict: Verdict) -> str:
    """What the log has of a verdict."""
    return json.dumps(asdict(verdict), ensure_ascii=False, sort_keys=True)


def begin(database: sqlite3.Connection) -> None:
    """Begin to write, as soon as nobody else does.

    Raises
    ------
    sqlite3.OperationalError
        If others wrote for 30 s without a pause.
    """
    _patiently(database, lambda: database.execute("BEGIN IMMEDIATE"))


def _patiently(database: sqlite3.Connection, work: Callable[[], object]) -> None:
    """Do ``work`` as soon as no other connection is in its way, for 30 s at most.

    SQLite would look again after 0.1 s, while whoever has just finished begins again at once: of sixteen writers some
    waited in vain for half a minute. So all look every few milliseconds.
    """
    until = time.monotonic() + _PATIENCE
    database.execute("PRAGMA busy_timeout = 0")
    while True:
        try:
            work()
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(random.uniform(*_LOOKS_AGAIN))
    database.execute(f"PRAGMA busy_timeout = {1000 * _PATIENCE:.0f}")


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection without implicit transactions; SQLite's errors become sentences."""
    with _connected(path, str(path)) as database:
        yield database


@contextmanager
def _as_it_lies(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that neither locks nor changes anything: what it reads may be half written."""
    with _connected(path, f"{path.resolve().as_uri()}?immutable=1") as database:
        yield database


@contextmanager
def _connected(path: Path, name: str) -> Iterator[sqlite3.Connection]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            _SHARE if on_share(path.parent) else nullcontext(),
            closing(sqlite3.connect(name, timeout=_PATIENCE, isolation_level=None, uri=name != str(path))) as database,
        ):
            _patiently(database, lambda: _refuse_newer(database, path))
            yield database
    except (sqlite3.OperationalError, OSError) as error:
        raise UserError(
            f"The review log {str(path)!r} cannot be used: {error}.",
            "Check free space and permissions, and that no other program holds the file.",
        ) from error
    except sqlite3.DatabaseError as error:
        raise damaged(path, str(error)) from error


def _refuse_newer(database: sqlite3.Connection, path: Path) -> None:
    (made_by,) = database.execute("PRAGMA user_version").fetchone()
    if made_by > FORMAT:
        raise UserError(
            f"The review log {str(path)!r} has format {made_by}, this version reads up to {FORMAT}.",
            "Update napari-medaka-kd.",
        )


def _create(database: sqlite3.Connection) -> None:
    """Make the table if there is none; its triggers refuse changes, also by other programs."""
    if _has_table(database):
        return
    database.execute("CREATE TABLE verdicts (row INTEGER PRIMARY KEY, verdict TEXT NOT NULL, hash TEXT NOT NULL)")
    for change in ("UPDATE", "DELETE"):
        database.execute(
            f"CREATE TRIGGER no_{change.lower()} BEFORE {change} ON verdicts "
            "BEGIN SELECT RAISE(ABORT, 'verdicts are only ever appended'); END"
        )
    database.execute(f"PRAGMA user_version = {FORMAT}")


def _has_table(database: sqlite3.Connection) -> bool:
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = 'verdicts'").fetchone() is not None


def damaged(path: Path, reason: str) -> UserError:
    return UserError(
        f"The review log {str(path)!r} is damaged: {reason}.",
        "Restore it from a backup, or move it out of the folder to go on without it.",
    )


def _instant(text: str, path: Path) -> datetime:
    try:
        return datetime.fromisoformat(json.loads(text)["time"]).astimezone(UTC)
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, f"its last row is no verdict ({error})") from error
