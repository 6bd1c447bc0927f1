"""The ledger of a label map that is being written: which of its blocks are on the disk."""

from __future__ import annotations

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
        self._file = path.open("a+b")
        weakref.finalize(self, self._file.close)  # whoever drops it lets go of the folder
        share(self._file)
        self._file.seek(0)
        whole_lines = self._file.read().rpartition(b"\n")[0]
        self._file.truncate(len(whole_lines) + 1 if whole_lines else 0)
        self.done = read_blocks(folder)
        if not whole_lines:
            self._append(plan)
            sync_folder(folder)

    def finish(self, block: int) -> None:
        """Note that ``block`` is on the disk; returns when the note is, too."""
        self._append({"block": block})
        self.done.add(block)

    def close(self) -> None:
        self._file.close()

    def _append(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
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
    whole_lines = (folder / LEDGER).read_bytes().rpartition(b"\n")[0]
    return {int(json.loads(line)["block"]) for line in whole_lines.splitlines()[1:]}
