"""VerdictReader: reads what was added to the logs of all reviewers since it last looked, and no more."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .rows import CHUNK, START, Mark, damaged, read_rows
from .snapshot import keep_snapshot, read_snapshot
from .table import Table, Verdicts

if TYPE_CHECKING:
    from pathlib import Path

# Seconds after which a file's new time of change differs from the old one on any file system (FAT counts in steps of
# two); two changes within one step look like one. The file itself is not looked at: closing it would drop the locks
# that SQLite holds on it in another thread of this process (sqlite.org/howtocorrupt.html, 2.2).
_STEP = 2.0
_WORTH = 2000  # rows, and one in so many of those there are, that are parsed anew rather than kept in a snapshot
_SHARE = 50


@dataclass
class _Tail:
    """How far one log was read.

    Attributes
    ----------
    stamp
        Inode, size and time of change of the file when it was last seen to differ, and when that was.
    settled
        Whether the file was read so long after that a later change must have altered the stamp.
    """

    mark: Mark = START
    stamp: tuple[int, int, int] = (0, 0, 0)
    since: float = 0.0
    settled: bool = False


class _Exchanged(Exception):
    """A log does not hold what was read of it."""


class VerdictReader:
    """The verdicts of all reviewers in a folder, kept up to date while any process appends to their logs.

    Only new rows are read, and their hashes continue the chain of those before. Where nothing changed, only the files'
    times are asked for. A log that was removed or exchanged is noticed. Some thousand rows and more are kept in a
    snapshot (``snapshot.py``) for the next reader.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tails: dict[Path, _Tail] = {}
        self._verdicts: Verdicts | None = None
        self._table, self._kept = Table(), 0

    def read(self) -> Verdicts:
        """All verdicts in the order of their time; the very same object as before if there are no others.

        Raises
        ------
        UserError
            If a log is damaged, its chain is broken, or a newer version wrote it.
        """
        logs = _logs(self.folder)
        try:
            if self._verdicts is None:
                self._begin(logs)
            self._continue(logs)
        except _Exchanged:
            self._forget()
            self._continue(logs)
        except BaseException:
            self._forget()
            raise
        if self._table.count - self._kept > max(_WORTH, self._kept // _SHARE):
            keep_snapshot(self.folder, self._table, {path.name: tail.mark for path, tail in self._tails.items()})
            self._kept = self._table.count
        if self._verdicts is None or len(self._verdicts) != self._table.count:
            self._verdicts = Verdicts(self._table)
        return self._verdicts

    def _begin(self, logs: dict[Path, tuple[int, int, int]]) -> None:
        """Go on from a snapshot, if there is one of these logs."""
        self._forget()
        found = read_snapshot(self.folder) if logs else None
        if found is not None:
            self._table, marks = found
            self._kept = self._table.count
            self._tails = {self.folder / name: _Tail(mark) for name, mark in marks.items()}

    def _forget(self) -> None:
        self._tails, self._table, self._kept, self._verdicts = {}, Table(), 0, None

    def _continue(self, logs: dict[Path, tuple[int, int, int]]) -> None:
        if self._tails.keys() - logs.keys():
            raise _Exchanged
        for path, stamp in logs.items():
            self._follow(path, stamp)

    def _follow(self, path: Path, stamp: tuple[int, int, int]) -> None:
        """Take in what is new in the log at ``path``."""
        tail = self._tails.setdefault(path, _Tail())
        looked = time.monotonic()
        if stamp != tail.stamp:
            tail.stamp, tail.since, tail.settled = stamp, looked, False
        if tail.settled:
            return
        texts = [""] * CHUNK
        while len(texts) == CHUNK:
            found = read_rows(path, tail.mark)
            if found is None:
                raise _Exchanged
            texts, mark = found
            try:
                self._table.add(texts)
            except (ValueError, LookupError, TypeError, OverflowError) as error:
                rows = f"{tail.mark.row + 1} to {mark.row}"
                raise damaged(path, f"one of the rows {rows} is no verdict ({error})") from error
            tail.mark = mark
        tail.settled = looked - tail.since > _STEP


def _logs(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """All logs in ``folder`` with their stamps, without the hidden ``._*`` that macOS puts beside files."""
    found = {}
    for path in sorted(folder.glob("*.sqlite")):
        if not path.name.startswith("."):
            with suppress(FileNotFoundError):  # removed just now
                state = path.stat()
                found[path] = (state.st_ino, state.st_size, state.st_mtime_ns)
    return found
