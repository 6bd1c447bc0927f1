"""Board: the tasks of the project on show, begun here or found running. Evented; knows neither Qt nor napari."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from napari_medaka_kd import background
from napari_medaka_kd.background import PENDING, State, Task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Board:
    """The background tasks of a project.

    Attributes
    ----------
    tasks
        As they were when they were last looked at, the oldest first.
    """

    changed = Signal()  # a task began, reported or ended
    went_on = Signal(object)  # that task, which turned to something that it had not done before
    ended = Signal(object)  # that task

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.tasks: tuple[Task, ...] = ()
        self._open: frozenset[Path] = frozenset()
        self._doings: set[tuple[Path, str]] = set()

    @property
    def pending(self) -> tuple[Task, ...]:
        """Tasks that wait or run."""
        return tuple(task for task in self.tasks if task.state in PENDING)

    @property
    def active(self) -> Task | None:
        """The task that is running."""
        return next((task for task in self.tasks if task.state == State.RUNNING), None)

    def follow(self, project: Path | None) -> None:
        """Turn to the tasks of ``project``, those begun by an earlier window included."""
        self.folder = project
        self.tasks = () if project is None else background.tasks(project)
        self._open = frozenset(task.folder for task in self.pending)
        self.changed.emit()

    def start(self, title: str, argv: Sequence[str]) -> Task | None:
        """Have a command line of ours carried out after those before it; ``argv`` begins with the verb."""
        if self.folder is None:
            return None
        task = background.start(self.folder, title, argv)
        self.take((*self.tasks, task))
        return task

    def cancel(self, task: Task) -> None:
        task.cancel()
        self.changed.emit()

    def dismiss(self, task: Task) -> None:
        """Forget a task that has ended."""
        task.dismiss()
        self.take(tuple(known for known in self.tasks if known.folder != task.folder))

    def take(self, tasks: tuple[Task, ...]) -> None:
        """Note how the tasks stand now, and tell which have ended since.

        ``tasks`` may have been looked at before the last ones were begun here; those are kept.
        """
        since = tuple(task for task in self.tasks if task not in tasks and task.folder.exists())
        before, self.tasks = self._open, (*tasks, *since)
        self._open = frozenset(task.folder for task in self.pending)
        self.changed.emit()
        for task in self.pending:
            doing = (task.folder, report.doing) if (report := task.latest()) else None
            if doing is not None and doing not in self._doings:
                self._doings.add(doing)
                self.went_on.emit(task)
        for task in self.tasks:
            if task.folder in before - self._open:
                self.ended.emit(task)
