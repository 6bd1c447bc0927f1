"""What runs in the background, as a list: how far it is, how long it takes, cancel, the log of what went wrong."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_medaka_kd.background import PENDING, Report, State, Task, pace

if TYPE_CHECKING:
    from pathlib import Path

    from .session import Session

#: In sight at most; of those that ended well the last one is enough, and the last that did something otherwise.
_FAILED = 2
_MARKS = {
    State.WAITING: "…",
    State.RUNNING: "▶",
    State.DONE: "✓",
    State.FAILED: "✗",
    State.CANCELLED: "■",
    State.LOST: "✗",
}


class TasksWidget(QWidget):
    """The project's tasks: those under way, then the last ones that ended."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.rows: dict[Path, TaskRow] = {}
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        session.board.changed.connect(self.refresh)
        session.project_changed.connect(self._on_project)
        self.refresh()

    def refresh(self) -> None:
        """Show the tasks as they are now."""
        shown = self._chosen()
        for folder in [folder for folder in self.rows if folder not in {task.folder for task in shown}]:
            row = self.rows.pop(folder)
            self._layout.removeWidget(row)
            row.deleteLater()
        for place, task in enumerate(shown):
            if task.folder not in self.rows:
                self.rows[task.folder] = TaskRow(self.session, task, self)
                self._layout.insertWidget(place, self.rows[task.folder])
            self.rows[task.folder].update_from(task)
        self.setVisible(bool(shown))

    def _chosen(self) -> list[Task]:
        tasks = self.session.board.tasks
        done = [task for task in tasks if task.state == State.DONE]
        told = [task for task in done[:-1] if _said(task)]
        failed = [task for task in tasks if task.state not in (State.DONE, *PENDING)]
        return [task for task in tasks if task.state in PENDING] + failed[-_FAILED:][::-1] + done[-1:] + told[-1:]

    def _on_project(self, _: object) -> None:
        self.refresh()


class TaskRow(QFrame):
    """One task."""

    def __init__(self, session: Session, task: Task, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session, self.task = session, task
        self._reports: list[Report] = []
        self._offset = 0
        self.title, self.detail, self.bar = QLabel(), QLabel(), QProgressBar()
        for label in (self.title, self.detail):
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.detail.setWordWrap(True)
        self.detail.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.bar.setTextVisible(False)
        self.stop, self.open_log, self.dismiss = self._button("Cancel"), self._button("Log"), self._button("Dismiss")
        self.stop.clicked.connect(self._on_cancel)
        self.open_log.clicked.connect(self.show_log)
        self.dismiss.clicked.connect(self._on_dismiss)
        self._lay_out()

    def update_from(self, task: Task) -> None:
        """Show how ``task`` stands."""
        self.task = task
        state = task.state
        self.title.setText(f"{_MARKS[state]}  {task.title}")
        self.setToolTip(f"{state}\n{task.command()}")
        self.stop.setVisible(state in PENDING)
        self.dismiss.setVisible(state not in PENDING)
        self.open_log.setVisible(state != State.WAITING)
        self.bar.setVisible(state == State.RUNNING)
        detail = self._running() if state == State.RUNNING else _ended(task)
        self.detail.setText(detail)
        self.detail.setVisible(bool(detail))

    def show_log(self) -> None:
        """The task's command and the last lines that it wrote."""
        window = QDialog(self)
        window.setWindowTitle(self.task.title)
        window.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        text = QPlainTextEdit(f"{self.task.command()}\n\n{self.task.log()}")
        text.setReadOnly(True)
        QVBoxLayout(window).addWidget(text)
        window.resize(640, 400)
        window.show()

    def _running(self) -> str:
        """How far, how fast, how long still; also moves the bar."""
        fresh, self._offset = self.task.reports(self._offset)
        self._reports = [*self._reports, *fresh][-200:]
        if not self._reports:
            self.bar.setRange(0, 0)
            return "starting …"
        last = self._reports[-1]
        self.bar.setRange(0, last.total)
        self.bar.setValue(last.done)
        return " · ".join(word for word in (last.doing, _amount(last), _time_left(self._reports)) if word)

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.setContentsMargins(0, 0, 0, 0)
        for button in (self.stop, self.open_log, self.dismiss):
            buttons.addWidget(button)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 2, 0, 2)
        grid.setVerticalSpacing(2)
        grid.addWidget(self.title, 0, 0)
        grid.addLayout(buttons, 0, 1)
        grid.addWidget(self.bar, 1, 0, 1, 2)
        grid.addWidget(self.detail, 2, 0, 1, 2)
        grid.setColumnStretch(0, 1)

    def _button(self, word: str) -> QToolButton:
        button = QToolButton(self)
        button.setText(word)
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        return button

    def _on_cancel(self) -> None:
        self.session.board.cancel(self.task)

    def _on_dismiss(self) -> None:
        self.session.board.dismiss(self.task)


@lru_cache(maxsize=256)
def _said(task: Task) -> str:
    """What had to be done otherwise in a task that is done; nothing is added to that any more."""
    last = task.latest()
    return "" if last is None else last.said


def _ended(task: Task) -> str:
    if task.state == State.WAITING:
        return "waits for those before it"
    return _said(task) if task.state == State.DONE else task.complaint()


def _amount(report: Report) -> str:
    figures = ", ".join(f"{name} {value:.3g}" for name, value in list(report.values.items())[:2])
    counted = f"{report.done} of {report.total}" if report.total else ""
    return " · ".join(word for word in (counted, figures) if word)


def _time_left(reports: list[Report]) -> str:
    left = pace(reports).seconds_left
    if left is None:
        return ""
    return f"about {left:.0f} s left" if left < 90 else f"about {left / 60:.0f} min left"
