"""The panel Segment: a first teacher, and proposals for this animal or for all that lack them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QCheckBox, QFormLayout, QGridLayout, QLineEdit, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.settings import TrainSettings
from napari_medaka_kd.turns import turned
from napari_medaka_kd.workflow.herd import proposers, segmented
from napari_medaka_kd.workflow.kinds import finds_things

from ..adopting import adopt_button
from ..forecast_line import ForecastLine
from ..form import SettingsForm
from ..parts import CommandLine, button, choice, fill, words
from ..propagating import PropagateBox

if TYPE_CHECKING:
    from ..session import Session

_NO_PROJECT = "Open a project first, in Cases."
_SCORE = "How far each is to be believed; the review begins with the doubtful ones."
_NO_SCORE = "This checkpoint finds things that overlap; only proposals of organs are scored and reviewed."
_NO_TEACHER = "There is no network yet. Train a teacher on your labels; then it proposes organs in the other animals."


class SegmentPanel(QWidget):
    """Who proposes organs, and where."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.help, self.state, self.command = words(_NO_PROJECT), words(), CommandLine()
        self.checkpoint = choice("Whose proposals are made, shown and reviewed.")
        self.this = button("Segment this animal", self.segment_this, "The tiles where you look come first.")
        self.all = button("Segment all that lack it", self.segment_all, "This animal first, then the others.")
        self.forecast = ForecastLine(session)
        self.score = QCheckBox("Score the proposals afterwards")
        self.score.setChecked(True)
        self.score.setToolTip(_SCORE)
        self.doubt = QCheckBox("Show the teacher's doubt  (U)")
        self.train = TrainBox(session)
        self.propagate = PropagateBox(session)
        self.adopt = adopt_button(session, self)
        self._lay_out()
        self._listen()

    def refresh(self, *_: object) -> None:
        """Show what can be done now; out of sight it asks nothing of the animals, of which there may be hundreds."""
        if not self.isVisible():
            return
        project, chosen = self.session.project, self.session.checkpoint
        checkpoints = () if project is None else project.checkpoints
        self.help.setText(_NO_PROJECT if project is None else "" if checkpoints else _NO_TEACHER)
        self.help.setVisible(bool(self.help.text()))
        names = () if project is None else (*proposers(project), *filter(None, (chosen,)))
        fill(self.checkpoint, {name: name for name in names}, chosen or None)
        self.work.setVisible(bool(names))
        for part in (self.train, self.propagate, self.adopt):
            part.setVisible(project is not None)
        self.train.refresh()
        self.propagate.refresh()
        self._show_chosen(self.checkpoint.currentData() or "")

    def _show_chosen(self, chosen: str) -> None:
        """What can be done with ``chosen``: only a checkpoint segments."""
        project = self.session.project
        network = project is not None and chosen in project.checkpoints
        organs = project is None or not finds_things(project, chosen)
        self.this.setEnabled(network and self.session.case is not None)
        self.all.setEnabled(network)
        self.score.setEnabled(network and organs)
        self.score.setToolTip(_SCORE if organs else _NO_SCORE)
        self.forecast.show_for(chosen if network and organs else "")
        self.command.setVisible(network)
        if project is not None and chosen:
            have, of = segmented(project, chosen)
            self.state.setText(f"{have} of {of} animals have proposals by {chosen!r}.")
            self.command.show_command(self._argv())

    def showEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        super().showEvent(event)
        self.refresh()

    def segment_this(self) -> None:
        """Have the animal on show segmented, from where the person looks."""
        if self.session.case is not None and self.checkpoint.currentData():
            self._start(f"segment {self.session.case.id}", [*self._argv(), "--case", self.session.case.id])

    def segment_all(self) -> None:
        """Have every animal segmented that has no proposals yet."""
        self._start(f"segment all with {self.checkpoint.currentData()}", self._argv())

    def _start(self, title: str, argv: list[str]) -> None:
        self.session.use(self.checkpoint.currentData())
        self.session.start(title, argv)
        if self.score.isEnabled() and self.score.isChecked():
            self.session.start("score the proposals", ["score", *argv[1:4]])

    def _argv(self) -> list[str]:
        assert self.session.project is not None
        argv = ["segment", str(self.session.project.folder), "--checkpoint", self.checkpoint.currentData() or ""]
        if self.session.case is None:
            return argv
        z, y, x = (str(round(side)) for side in self.session.position)
        return [*argv, "--first", self.session.case.id, "--at", z, y, x]

    def _listen(self) -> None:
        session = self.session
        for signal in (session.project_changed, session.case_changed, session.checkpoint_changed, session.data_changed):
            signal.connect(self.refresh)
        session.overlay_changed.connect(self._on_overlay)
        self.checkpoint.activated.connect(self._on_checkpoint)
        self.doubt.toggled.connect(self._on_doubt)

    def _on_checkpoint(self, _: int) -> None:
        self.session.use(self.checkpoint.currentData())

    def _on_doubt(self, shown: bool) -> None:
        self.session.set_overlay("both" if shown else "organs")

    def _on_overlay(self, overlay: str) -> None:
        self.doubt.blockSignals(True)
        self.doubt.setChecked(overlay == "both")
        self.doubt.blockSignals(False)

    def _lay_out(self) -> None:
        self.work = QWidget()
        inner = QVBoxLayout(self.work)
        inner.setContentsMargins(0, 0, 0, 0)
        grid = QGridLayout()
        grid.addWidget(words("Checkpoint"), 0, 0)
        grid.addWidget(self.checkpoint, 0, 1)
        inner.addLayout(grid)
        for widget in (self.this, self.forecast, self.all, self.score, self.doubt, self.state, self.command):
            inner.addWidget(widget)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        for part in (self.help, self.work, self.train, self.propagate, self.adopt):
            column.addWidget(part)
        column.addStretch()


class TrainBox(QWidget):
    """Training a teacher on labels alone."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.name, self.command, self.form = QLineEdit("teacher"), CommandLine(), SettingsForm(TrainSettings())
        self.start = button("Train a teacher", self.train, "From the labelled animals that are not held out.")
        fold = QCollapsible("Settings of the training")
        fold.addWidget(self.form)
        fold.collapse(animate=False)
        rows = QFormLayout()
        rows.addRow("Name", self.name)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 8, 0, 0)
        column.addLayout(rows)
        for widget in (fold, self.command, self.start):
            column.addWidget(widget)
        self.form.changed.connect(self._on_changed)
        self.name.textEdited.connect(self._on_changed)
        session.project_changed.connect(self._on_project)
        session.defaults.changed.connect(self._on_defaults)
        self._on_project(session.project)

    def refresh(self) -> None:
        """Offer a name that is free."""
        project = self.session.project
        if project is not None and self.name.text() in project.checkpoints:
            numbers = (f"teacher-{number}" for number in range(2, 1000))
            self.name.setText(next(name for name in numbers if name not in project.checkpoints))
        self._on_changed()

    def train(self) -> None:
        """Begin the training in the background."""
        argv = self._argv()
        if argv is not None:
            self.session.start(f"train {self.name.text()}", argv)

    def _argv(self) -> list[str] | None:
        project = self.session.project
        if project is None:
            return None
        try:
            turns = turned(self.form.value, self.form.base)
        except UserError as error:
            self.session.went_wrong.emit(str(error))
            return None
        sets = [word for turn in turns for word in ("--set", turn)]
        return ["train", str(project.folder), "--name", self.name.text(), *sets]

    def _on_project(self, _: object) -> None:
        self.form.setValue(self.session.defaults.of("train", TrainSettings) or TrainSettings())
        self._on_changed()

    def _on_defaults(self) -> None:
        base = self.session.defaults.of("train", TrainSettings)
        if base is not None:
            self.form.rebase(base)
            self._on_changed()

    def _on_changed(self, *_: object) -> None:
        argv = self._argv()
        if argv is not None:
            self.command.show_command(argv)
