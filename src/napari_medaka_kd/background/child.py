"""A task from the inside: it waits for its turn, writes how far it is, and notes how it ended."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from .queue import tasks
from .task import BEGUN, CANCELLED, ENDED, ENVIRONMENT, INTERRUPTED, PENDING, PROGRESS, note_process, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_medaka_kd.job import Progress

_TURN = 0.2  # seconds between two looks at whether it is one's turn
_OFTEN = 0.1  # seconds between two reports of the same thing


def own_folder() -> Path | None:
    """The folder of the task that this process is, if it is one."""
    named = os.environ.get(ENVIRONMENT)
    return Path(named) if named else None


@contextmanager
def attend(folder: Path) -> Iterator[None]:
    """Wait for one's turn, and note how it ends, whatever happens in between."""
    signal.signal(signal.SIGTERM, _interrupt)
    note_process(
        folder, os.getpid()
    )  # on Windows another one than was begun: that of the virtual environment's starter
    _step_back()
    code = 1
    try:
        _await_turn(folder)
        (folder / BEGUN).touch()
        yield
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    except KeyboardInterrupt:
        code = INTERRUPTED
        raise SystemExit(code) from None
    except Exception as bug:
        traceback.print_exc()  # before it counts as ended, for then its last words are read
        raise SystemExit(code) from bug
    finally:
        write_json(folder / ENDED, {"code": code, "cancelled": (folder / CANCELLED).exists(), "time": time.time()})


def recorder() -> Callable[[Progress], None] | None:
    """Writes reports into the folder of the task that this process is; ``None`` where it is none."""
    folder = own_folder()
    return None if folder is None else Recorder(folder / PROGRESS)


class Recorder:
    """A line a report, at most ten a second of the same thing; the first and the last of a thing always."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._last: Progress | None = None
        self._held: bytes = b""  # the last report, while it is not written
        self._written = 0.0

    def __call__(self, progress: Progress) -> None:
        same = self._last is not None and progress.doing == self._last.doing
        line = _line(progress)
        if not same:
            self._write(self._held + line)
        elif progress.done >= progress.total > 0 or time.monotonic() - self._written >= _OFTEN:
            self._write(line)
        else:
            self._held = line
        self._last = progress

    def _write(self, lines: bytes) -> None:
        with self._file.open("ab") as stream:
            stream.write(lines)
        self._held, self._written = b"", time.monotonic()


def _line(progress: Progress) -> bytes:
    said = {"time": time.time(), "doing": progress.doing, "done": progress.done, "total": progress.total}
    if progress.said:
        said["said"] = progress.said
    return (
        json.dumps(said | {"values": {name: float(value) for name, value in progress.values.items()}}).encode() + b"\n"
    )


def _await_turn(folder: Path) -> None:
    """Return when all earlier tasks of the project have ended; those that were cancelled in vain are killed.

    Raises
    ------
    KeyboardInterrupt
        If one was cancelled before one could be told.
    """
    before = [task for task in tasks(folder.parents[1]) if task.folder.name < folder.name]
    while before := [task for task in before if task.state in PENDING]:
        for task in before:
            task.insist()
        time.sleep(_TURN)
    if (folder / CANCELLED).exists():
        raise KeyboardInterrupt


def _step_back() -> None:
    """Let the window go first."""
    with suppress(psutil.Error):
        psutil.Process().nice(getattr(psutil, "IDLE_PRIORITY_CLASS", 19))


def _interrupt(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough; what is being cleaned up is not to be interrupted
    raise KeyboardInterrupt
