"""Task: a command line of ours at work in a child process, or at its end; all that is known of it lies in a folder."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import psutil

from napari_medaka_kd.volumes.atomic import replace_file

from .report import Report, latest_report, read_reports

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENVIRONMENT = "MEDAKA_KD_TASK"  # names the folder of the task that a child process is
#: The files of a task. Which of them are there tells how it stands.
CARD, PROCESS, BEGUN, CANCELLED, ENDED = "task.json", "process.json", "begun", "cancelled", "ended.json"
PROGRESS, OUTPUT, LOG = "progress.jsonl", "output.txt", "log.txt"
INTERRUPTED = 130  # exit code of a command that was interrupted, as shells have it
_PATIENCE = 5.0  # seconds that a cancelled task gets to clean up
_BIRTH = 10.0  # seconds within which a new task has its process
_CLOCK = 10.0  # seconds that clocks may be set by while a process lives; numbers are not given anew that soon
_LOST = "It stopped without a word: killed, or out of memory. Start it again: it goes on where it was."


class State(StrEnum):
    """Where a task stands; ``LOST`` is one that died without a word."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


PENDING = (State.WAITING, State.RUNNING)
_settled: dict[Path, State] = {}  # how tasks ended; that cannot change any more


@dataclass(frozen=True)
class Task:
    """A command line of ours at work, or at its end.

    Attributes
    ----------
    folder
        Where all that is known of it lies.
    title
        What it does, in the words of the user.
    argv
        The command line without its first word.
    made
        When it was asked for, seconds since the epoch.
    """

    folder: Path
    title: str
    argv: tuple[str, ...]
    made: float = field(compare=False)

    @property
    def verb(self) -> str:
        return self.argv[0]

    @property
    def state(self) -> State:
        """Where it stands now."""
        state = _settled.get(self.folder) or self._look()
        if state not in (*PENDING, State.LOST):
            _settled[self.folder] = state
        return state

    def reports(self, offset: int = 0) -> tuple[tuple[Report, ...], int]:
        """The reports after byte ``offset``, and the offset to go on from; a line that is being written waits."""
        return read_reports(self.folder / PROGRESS, offset)

    def latest(self) -> Report | None:
        """The last report."""
        return latest_report(self.folder / PROGRESS)

    def outcome(self) -> Mapping[str, Any]:
        """The line of JSON that the command ended with; empty where there is none."""
        with suppress(OSError, ValueError, IndexError):
            said = json.loads((self.folder / OUTPUT).read_text("utf-8").strip().splitlines()[-1])
            return said if isinstance(said, dict) else {}
        return {}

    def complaint(self) -> str:
        """Why it did not end well, in sentences; empty where it did."""
        state = self.state
        if state == State.LOST:
            return _LOST
        if state != State.FAILED:
            return ""
        said = self.outcome()
        if "error" in said:
            return f"{said['error']} {said.get('remedy', '')}".strip()
        last = self.log(1).strip().rstrip(".")
        return f"It failed: {last}. See the log." if last else "It failed without saying why. Start it again."

    def log(self, lines: int = 200) -> str:
        """The last lines that it wrote."""
        with suppress(OSError):
            return "\n".join((self.folder / LOG).read_text("utf-8", "replace").splitlines()[-lines:])
        return ""

    def command(self) -> str:
        """As it would be typed."""
        return shlex.join(["medaka-kd", *self.argv])

    def cancel(self) -> None:
        """Stop it now; what it finished is kept. One that does not let go within 5 s is killed by :func:`tasks`."""
        if self.state in PENDING and not self.cancelled:
            (self.folder / CANCELLED).touch()
            process = process_of(self.folder)
            if process is not None:
                _end(process)

    def insist(self) -> None:
        """Kill it, and what it began, if it was asked to end some time ago and has not; else nothing happens."""
        with suppress(OSError, psutil.Error):
            asked = (self.folder / CANCELLED).stat().st_mtime
            process = process_of(self.folder) if time.time() - asked > _PATIENCE else None
            if process is not None:
                for one in (*process.children(recursive=True), process):
                    one.kill()

    def dismiss(self) -> None:
        """Forget a task that has ended."""
        if self.state not in PENDING:
            shutil.rmtree(self.folder, ignore_errors=True)
            _settled.pop(self.folder, None)

    @property
    def cancelled(self) -> bool:
        """Whether it was asked to stop, though it may still be cleaning up."""
        return (self.folder / CANCELLED).exists()

    def _look(self) -> State:
        alive = process_of(self.folder) is not None
        ended = read_json(self.folder / ENDED)  # looked at second: it may just have said its last word
        if ended is not None:
            return self._end_of(ended.get("code"))
        if alive:
            return State.RUNNING if (self.folder / BEGUN).exists() else State.WAITING
        if self.cancelled:
            return State.CANCELLED
        born = (self.folder / PROCESS).exists() or time.time() - self.made > _BIRTH
        return State.LOST if born else State.WAITING

    def _end_of(self, code: object) -> State:
        if code == 0:
            return State.DONE
        return State.CANCELLED if self.cancelled or code == INTERRUPTED else State.FAILED


def process_of(folder: Path) -> psutil.Process | None:
    """A task's process, unless that has ended; a number that another process has got since does not count."""
    born = read_json(folder / PROCESS)
    if born is None:
        return None
    with suppress(psutil.Error, KeyError, TypeError, ValueError):
        process = psutil.Process(int(born["pid"]))
        same = abs(process.create_time() - float(born["born"])) < _CLOCK
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def note_process(folder: Path, pid: int) -> None:
    """Write down which process a task is."""
    write_json(folder / PROCESS, {"pid": pid, "born": psutil.Process(pid).create_time()})


def read_json(file: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def write_json(file: Path, data: Mapping[str, Any]) -> None:
    replace_file(file, json.dumps(data).encode())


def _end(process: psutil.Process) -> None:
    """Ask a process, and the others of its group, to end; it leads a group of its own."""
    with suppress(OSError, psutil.Error):
        if hasattr(os, "killpg") and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()
