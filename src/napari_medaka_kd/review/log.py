"""VerdictLog: an append-only file of verdicts that never loses one it has acknowledged."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError

from .verdict import Decision, ReviewItem, Verdict, by_time, write_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT = 1
_REVIEWER = re.compile(r"\w[\w .@-]{0,62}")
_PATIENCE = 30.0  # seconds that an append waits for others to finish theirs
_START = "0" * 64  # the hash before the first row


@dataclass(frozen=True)
class VerdictLog:
    """The verdicts of one reviewer: ``<folder>/<reviewer>.sqlite``, append-only.

    Each row holds the hash of the row before, so a row that was changed, removed or put in between shows
    (:func:`verify_chain`); rows cut off at the end do not. Several processes may append at the same time.

    Raises
    ------
    UserError
        If the reviewer's name cannot name a file.
    """

    folder: Path
    reviewer: str

    def __post_init__(self) -> None:
        if not _REVIEWER.fullmatch(self.reviewer) or self.reviewer[-1] in " .":
            raise UserError(
                f"A reviewer cannot be called {self.reviewer!r}.",
                "Use up to 63 letters, digits, spaces and . _ - @, beginning with a letter or digit.",
            )

    @property
    def path(self) -> Path:
        return self.folder / f"{self.reviewer}.sqlite"

    def append(self, verdict: Verdict) -> Verdict:
        """Write ``verdict``; when this returns, it is on the disk.

        Returns
        -------
        The verdict as written: its time in UTC and after that of the row before, whatever the clock did.

        Raises
        ------
        UserError
            If the file cannot be written: no space, no permission, damaged, or held by another process for 30 s.
        """
        if verdict.reviewer != self.reviewer:
            raise ValueError(f"a verdict of {verdict.reviewer!r} does not belong into the log of {self.reviewer!r}")
        with _opened(self.path) as database:
            # EXTRA is FULL and syncs the folder once the journal is gone: after a power cut with FULL alone, the
            # journal could be back and take an acknowledged verdict with it (sqlite.org/pragma.html, synchronous).
            database.execute("PRAGMA synchronous = EXTRA")
            database.execute("BEGIN IMMEDIATE")
            with database:  # commits, or rolls back when something is raised
                _create(database)
                written = _append(database, verdict, self.path)
        return written


def read_verdicts(folder: Path) -> tuple[Verdict, ...]:
    """The verdicts of all reviewers in ``folder``, in the order of their time; none if there is no such folder.

    Raises
    ------
    UserError
        If a log is damaged, its chain is broken, or a newer version wrote it.
    """
    verdicts = [verdict for path in _logs(folder) for verdict in _read(path)]
    return tuple(sorted(verdicts, key=by_time))


def verify_chain(path: Path) -> int:
    """Check every row of the log at ``path`` and return how many there are.

    Raises
    ------
    UserError
        Naming the first row that is not what was written.
    """
    if not path.is_file():
        raise UserError(f"There is no log {str(path)!r}.", "Name a file of the project's review folder.")
    return len(_read(path))


def _logs(folder: Path) -> list[Path]:
    """All logs in ``folder``, without the hidden ``._*`` that macOS puts beside files on network disks."""
    return sorted(path for path in folder.glob("*.sqlite") if not path.name.startswith("."))


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection without implicit transactions; SQLite's errors become sentences."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as database:
            _refuse_newer(database, path)
            yield database
    except (sqlite3.OperationalError, OSError) as error:
        raise UserError(
            f"The review log {str(path)!r} cannot be used: {error}.",
            "Check free space and permissions, and that no other program holds the file.",
        ) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from error


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


def _append(database: sqlite3.Connection, verdict: Verdict, path: Path) -> Verdict:
    """Add a row that is linked to the last one and later than it; the caller holds the lock."""
    last = database.execute("SELECT row, verdict, hash FROM verdicts ORDER BY row DESC LIMIT 1").fetchone()
    row, before, link = (0, None, _START) if last is None else (last[0], _from_json(last[1], path), last[2])
    instant = verdict.instant.astimezone(UTC)
    if before is not None:
        instant = max(instant, before.instant + timedelta(microseconds=1))
    written = replace(verdict, time=write_time(instant))
    text = json.dumps(asdict(written), ensure_ascii=False, sort_keys=True)
    database.execute("INSERT INTO verdicts VALUES (?, ?, ?)", (row + 1, text, _link(link, text)))
    return written


def _read(path: Path) -> list[Verdict]:
    """The rows of a log in the order they were written, every one of them checked."""
    with _opened(path) as database:
        found = _has_table(database)
        rows = database.execute("SELECT row, verdict, hash FROM verdicts ORDER BY row").fetchall() if found else []
    verdicts = []
    link = _START
    for number, (row, text, written) in enumerate(rows, start=1):
        link = _link(link, text)
        if row != number or link != written:
            raise _damaged(path, f"row {number} is not what was written")
        verdicts.append(_from_json(text, path))
    return verdicts


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        f"The review log {str(path)!r} is damaged: {reason}.",
        "Restore it from a backup, or move it out of the folder to go on without it.",
    )


def _link(before: str, text: str) -> str:
    return hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()


def _from_json(text: str, path: Path) -> Verdict:
    try:
        data = json.loads(text)
        item = data.pop("item")
        slab = None if item["slab"] is None else (int(item["slab"][0]), int(item["slab"][1]))
        data["item"] = ReviewItem(item["case"], item["organ"], slab)
        data["decision"] = Decision(data["decision"])
        data["reasons"] = tuple(data["reasons"])
        return Verdict(**data)
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"a row is no verdict ({error})") from error
