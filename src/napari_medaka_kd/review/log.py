"""VerdictLog: an append-only file of verdicts that never loses one it has acknowledged."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError

from .reader import VerdictReader
from .rows import CHUNK, START, append_rows, append_texts, opened, read_rows, row_text, texts_of
from .verdict import by_time

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from .table import Verdicts
    from .verdict import Verdict

_REVIEWER = re.compile(r"\w[\w .@-]{0,62}")


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
        The verdict as written, see :meth:`append_all`.

        Raises
        ------
        UserError
            If the file cannot be written: no space, no permission, damaged, or held by another process for 30 s.
        """
        (written,) = self.append_all([verdict])
        return written

    def append_all(self, verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
        """Write ``verdicts`` as one gesture: when this returns, all are on the disk; killed before, all or none.

        Returns
        -------
        The verdicts as written: with the gesture's number where they had none, their times in UTC and each after that
        of the row before, whatever the clock did.

        Raises
        ------
        UserError
            As for :meth:`append`.
        """
        for verdict in verdicts:
            if verdict.reviewer != self.reviewer:
                raise ValueError(f"a verdict of {verdict.reviewer!r} does not belong into the log of {self.reviewer!r}")
        with _writing(self.path) as database:
            return append_rows(database, verdicts, self.path)


def take_in(log: VerdictLog, verdicts: Iterable[Verdict]) -> int:
    """Add verdicts of the past, as they are, to a file beside ``log``: ``<reviewer>+imported.sqlite``.

    A log's own rows come in the order of time; these need not. All are on the disk when this returns, or none. Those
    that the file has already are left out.

    Returns
    -------
    How many were added.

    Raises
    ------
    UserError
        As for :meth:`VerdictLog.append`.
    """
    rows = dict.fromkeys(row_text(verdict) for verdict in sorted(verdicts, key=by_time))
    with _writing(log.path.with_name(f"{log.reviewer}+imported.sqlite")) as database:
        known = texts_of(database)
        fresh = [text for text in rows if text not in known]
        append_texts(database, fresh)
    return len(fresh)


@contextmanager
def _writing(path: Path) -> Iterator[sqlite3.Connection]:
    """The only one who appends to the log at ``path``; what was appended is on the disk afterwards, or nothing is."""
    with opened(path) as database:
        # The journal stays, its header zeroed: four waits for the disk a gesture instead of six, for no name in the
        # folder changes. EXTRA waits for that last one, too: else the journal could be back after a power cut and
        # take an acknowledged verdict with it (sqlite.org/pragma.html, synchronous and journal_mode).
        database.execute("PRAGMA journal_mode = PERSIST")
        database.execute("PRAGMA synchronous = EXTRA")
        database.execute("BEGIN IMMEDIATE")
        with database:  # commits, or rolls back when something is raised
            yield database


def read_verdicts(folder: Path) -> Verdicts:
    """The verdicts of all reviewers in ``folder``, in the order of their time; none if there is no such folder.

    Raises
    ------
    UserError
        If a log is damaged, its chain is broken, or a newer version wrote it.
    """
    return VerdictReader(folder).read()


def verify_chain(path: Path) -> int:
    """Check every row of the log at ``path`` and return how many there are.

    Raises
    ------
    UserError
        Naming the first row that is not what was written.
    """
    if not path.is_file():
        raise UserError(f"There is no log {str(path)!r}.", "Name a file of the project's review folder.")
    texts, mark = read_rows(path) or ([], START)
    while len(texts) == CHUNK:
        texts, mark = read_rows(path, mark) or ([], mark)
    return mark.row
