"""The ledger of a label map that is being written: which of its blocks are on the disk."""

from __future__ import annotations

import errno
import json
import os
import weakref
from typing import TYPE_CHECKING, Any

from .atomic import share, sync_folder

if TYPE_CHECKING:
    from pathlib import Path

LEDGER = ".ledger"


class Ledger:
    """An append-only file: a line that says what is being written, then a line per finished block.

    It is shared while it is open, so that nobody else sweeps the folder.
    """

    def __init__(self, folder: Path, plan: dict[str, Any]) -> None:
        """Open the ledger in ``folder``, or begin it with ``plan``; a line that a crash cut short is dropped."""
        path = folder / LEDGER
        self._file = path.open("a+b", buffering=0)  # or what a full disk refused is tried again when it is closed
        weakref.finalize(self, self._file.close)  # whoever drops it lets go of the folder
        share(self._file)
        self._file.seek(0)
        whole_lines = self._file.read().rpartition(b"\n")[0]
        self._file.truncate(len(whole_lines) + 1 if whole_lines else 0)
        self.done = read_blocks(folder)
        if not whole_lines:
            self._append(plan)
            sync_folder(folder)

    def finish(self, block: int, **facts: str) -> None:
        """Note that ``block`` is on the disk, and what is to be known of it; returns when the note is there, too."""
        self._append({"block": block, **facts})
        self.done.add(block)

    def close(self) -> None:
        self._file.close()

    def _append(self, line: dict[str, Any]) -> None:
        data = json.dumps(line).encode() + b"\n"
        if self._file.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(self._file.fileno())


def read_plan(folder: Path) -> dict[str, Any] | None:
    """What the ledger in ``folder`` says is being written there; ``None`` where it says nothing readable."""
    try:
        with (folder / LEDGER).open("rb") as file:
            plan = json.loads(file.readline(2**20))
    except (OSError, ValueError):
        return None
    return plan if isinstance(plan, dict) else None


def read_blocks(folder: Path) -> set[int]:
    """The blocks that the ledger in ``folder`` says are on the disk; a line that is being written is left out."""
    return set(read_notes(folder))


def read_notes(folder: Path) -> dict[int, dict[str, Any]]:
    """What is noted of each finished block."""
    whole_lines = (folder / LEDGER).read_bytes().rpartition(b"\n")[0]
    notes = [json.loads(line) for line in whole_lines.splitlines()[1:]]
    return {int(note["block"]): note for note in notes}
