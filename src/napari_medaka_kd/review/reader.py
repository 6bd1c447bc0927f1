"""VerdictReader: reads what was added to the logs of all reviewers since it last looked, and no more."""

from __future__ import annotations

import time
from bisect import insort
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .rows import START, Mark, read_rows
from .verdict import Verdict, by_time

if TYPE_CHECKING:
    from pathlib import Path

# Seconds after which a file's new time of change differs from the old one on any file system (FAT counts in steps of
# two); two changes within one step look like one. The file itself is not looked at: closing it would drop the locks
# that SQLite holds on it in another thread of this process (sqlite.org/howtocorrupt.html, 2.2).
_STEP = 2.0


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
    verdicts: list[Verdict] = field(default_factory=list)
    stamp: tuple[int, int, int] = (0, 0, 0)
    since: float = 0.0
    settled: bool = False


class VerdictReader:
    """The verdicts of all reviewers in a folder, kept up to date while any process appends to their logs.

    Only new rows are read, and their hashes continue the chain of those before. Where nothing changed, only the files'
    times are asked for. A log that was removed or exchanged is noticed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tails: dict[Path, _Tail] = {}
        self._sorted: list[Verdict] = []
        self._verdicts: tuple[Verdict, ...] = ()
        self._whole = True  # whether all that was read is in _sorted; not after an error half-way

    def read(self) -> tuple[Verdict, ...]:
        """All verdicts in the order of their time; the very same tuple as before if there are no others.

        Raises
        ------
        UserError
            If a log is damaged, its chain is broken, or a newer version wrote it.
        """
        logs = _logs(self.folder)
        gone = self._tails.keys() - logs.keys()
        for path in gone:
            del self._tails[path]
        fresh: list[Verdict] | None = [] if self._whole and not gone else None
        self._whole = False
        for path, stamp in logs.items():
            found = self._continue(path, stamp)
            fresh = None if fresh is None or found is None else [*fresh, *found]
        self._merge(fresh)
        self._whole = True
        return self._verdicts

    def _continue(self, path: Path, stamp: tuple[int, int, int]) -> list[Verdict] | None:
        """What is new in the log at ``path``; ``None`` where what was read before is no longer there."""
        tail = self._tails.setdefault(path, _Tail())
        looked = time.monotonic()
        if stamp != tail.stamp:
            tail.stamp, tail.since, tail.settled = stamp, looked, False
        if tail.settled:
            return []
        found = read_rows(path, tail.mark)
        if found is None:
            tail.verdicts, tail.mark = read_rows(path) or ([], START)
            return None
        fresh, tail.mark = found
        tail.verdicts += fresh
        tail.settled = looked - tail.since > _STEP
        return fresh

    def _merge(self, fresh: list[Verdict] | None) -> None:
        if fresh is None or len(fresh) > len(self._sorted):
            self._sorted = sorted((v for tail in self._tails.values() for v in tail.verdicts), key=by_time)
        else:
            for verdict in fresh:
                insort(self._sorted, verdict, key=by_time)
        if fresh is None or fresh:
            self._verdicts = tuple(self._sorted)


def _logs(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """All logs in ``folder`` with their stamps, without the hidden ``._*`` that macOS puts beside files."""
    found = {}
    for path in sorted(folder.glob("*.sqlite")):
        if not path.name.startswith("."):
            with suppress(FileNotFoundError):  # removed just now
                state = path.stat()
                found[path] = (state.st_ino, state.st_size, state.st_mtime_ns)
    return found
