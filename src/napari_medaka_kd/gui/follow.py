"""Threads of the window: one follows the tasks of a project, another plays short jobs; neither touches the window."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.qt.threading import GeneratorWorker, create_worker

from napari_medaka_kd.background import PENDING, Task, tasks
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Job, drain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .session import Session

_LOOK = 0.25  # seconds between two looks


class Follower:
    """Tells the session how its tasks stand, as long as one waits or runs; napari asks before it closes meanwhile."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._stopped = threading.Event()
        self._worker: GeneratorWorker | None = None

    def wake(self) -> None:
        """Begin to follow, if there is anything to follow and nobody does."""
        if self._worker is None and self.session.project is not None and self.session.board.pending:
            self._stopped = threading.Event()
            titles = [task.title for task in self.session.board.pending]
            watch = _Watch(_watch, self.session.project.folder, self._stopped, titles)
            self._worker = create_worker(watch, _start_thread=False)
            self._worker.yielded.connect(self._on_tasks)
            self._worker.finished.connect(self._on_end)
            self._worker.start()

    def stop(self) -> None:
        """Follow no longer; the tasks run on."""
        self._stopped.set()
        if self._worker is not None:
            self._worker.yielded.disconnect(self._on_tasks)
            self._worker.finished.disconnect(self._on_end)
            self._worker = None

    def _on_tasks(self, seen: tuple[Path, tuple[Task, ...]]) -> None:
        folder, known = seen
        if self.session.project is not None and self.session.project.folder == folder:
            self.session.board.take(known)
        else:
            self.stop()

    def _on_end(self) -> None:
        self._worker = None
        self.wake()


class _Watch(partial[Any]):
    """:func:`_watch` with its arguments; its text is what napari says when it is closed meanwhile."""

    def __str__(self) -> str:
        titles = "», «".join(self.args[2])
        return f"«{titles}». It goes on without napari; open the project again to see how far it is"


def _watch(folder: Path, stopped: threading.Event, _: list[str]) -> Iterator[tuple[Path, tuple[Task, ...]]]:
    """Read the tasks of a project until all have ended."""
    going_on = True
    while going_on and not stopped.is_set():
        with suppress(OSError):  # a disk that is away for a moment
            known = tasks(folder)
            going_on = any(task.state in PENDING for task in known)  # before the window looks: it must see the end
            yield folder, known
        stopped.wait(_LOOK if going_on else 0)


def play_aside(job: Job[Any], done: Callable[[Any], None]) -> None:
    """Play ``job`` on another thread and call ``done`` on this one, with its result or with what the user can mend."""
    worker = create_worker(_outcome, job, _start_thread=False)
    worker.returned.connect(done)
    worker.start()


def _outcome(job: Job[Any]) -> Any:
    """Superqt's workers swallow some errors, so that which can be mended is a result."""
    try:
        return drain(job)
    except UserError as error:
        return error
