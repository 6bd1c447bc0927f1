"""The panel Distil: whether there is enough to learn from, how to learn, one button, and how it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QHeaderView, QLineEdit, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.settings import DistilSettings, strategies
from napari_medaka_kd.turns import turned
from napari_medaka_kd.workflow.readiness import Readiness, readiness
from napari_medaka_kd.workflow.requirements import advise, census, missing
from napari_medaka_kd.workflow.training import Training, read_training, stop_training, trainings

from ..form import SettingsForm
from ..parts import CommandLine, button, choice, fill, scroll_to_top, words

if TYPE_CHECKING:
    from napari_medaka_kd.settings import Unreviewed

    from ..curves import Curves
    from ..session import Session

_EMPTY = "Open a project first, in Cases. A student needs a teacher's proposals, and verdicts make it better."
_HEADS = ("organ", "labelled", "✓", "✎", "✗", "open", "believed")
_TIPS = (
    "", "animals that a person labelled", "accepted", "corrected", "rejected", "without a verdict",
    "open ones that teach, too",
)  # fmt: skip
_ROWS = 6
_NAMES = {"train": "teacher", "distil": "student"}  # what a command calls it that is not told


class DistilPanel(QWidget):
    """From labels, verdicts and the teacher's soft answers to a student."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.empty, self.sentence, self.warnings = words(_EMPTY), words(), words()
        self.teacher, self.strategy = choice("Whom the student learns from."), choice("How the student learns.")
        self.advice = words()
        self.name, self.command = QLineEdit("student"), CommandLine()
        self.table = self._readiness_table()
        self.review = button("Review what is missing", self._on_review, "Those organs' proposals come first.")
        self.forms: dict[str, SettingsForm] = {}
        self.start = button("Distil a student", self.distil)
        self.stop = button("Stop, and keep the best", self._on_stop, "Ends after this step.")
        self.open_results = button("See the results", self._on_results)
        self.found: Readiness | None = None
        self.curves: Curves | None = None
        self._running: str | None = None
        self._drawn: Training | None = None
        self._unseen: Unreviewed | None = None  # what of the unreviewed teaches, as the table has it
        self._lay_out()
        self._listen()
        self._on_project(session.project)

    # ---- what is shown -----------------------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Show whether there is enough to learn from, and how the training goes."""
        project = self.session.project
        self.empty.setVisible(project is None)
        self.work.setVisible(project is not None)
        if project is None or not self.isVisible():
            return
        checkpoints = project.checkpoints
        fill(self.teacher, {name: name for name in checkpoints}, self.session.checkpoint or None)
        self._offer_name()
        self._show_readiness()
        self._show_command()
        self.follow()

    def follow(self, *_: object) -> None:
        """Show how the training goes that is under way, or was last."""
        project = self.session.project
        if project is None or not self.isVisible():
            return
        task = next((t for t in self.session.board.pending if t.verb in ("train", "distil")), None)
        self._running = None if task is None else _name_of(task.argv)
        self.stop.setVisible(self._running is not None and self.session.board.active == task)
        self.open_results.setVisible(self._running is None and self.name_taken("student"))
        self._bring_up(self._running is not None)
        runs = trainings(project)
        training = read_training(project, runs[0]) if runs else None
        if training is not None and training != self._drawn:
            self._drawn = training
            self._curves().show_training(training, project.schema)

    def _bring_up(self, running: bool) -> None:
        """The curves stand above all else while something is learned, and below it afterwards."""
        inner = self.work.layout()
        assert isinstance(inner, QVBoxLayout)
        wanted = 0 if running else inner.count() - 1
        if inner.indexOf(self.progress) != wanted:
            inner.removeWidget(self.progress)
            inner.insertWidget(wanted, self.progress)
            scroll_to_top(self)

    def name_taken(self, name: str) -> bool:
        return self.session.project is not None and name in self.session.project.checkpoints

    def showEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        super().showEvent(event)
        self.refresh()

    # ---- what is done ------------------------------------------------------------------------------------------

    def distil(self) -> None:
        """Begin in the background."""
        argv = self._argv()
        if argv is not None:
            self.session.start(f"distil {self.name.text()}", argv)

    def _argv(self) -> list[str] | None:
        project = self.session.project
        strategy = strategies()[self.strategy.currentData()][1]
        if project is None or (strategy.from_proposals and not self.teacher.currentData()):
            return None
        try:
            turns = turned(self.settings, self.forms["rest"].base)
        except UserError as error:
            self.session.went_wrong.emit(str(error))
            return None
        turns = tuple(turn for turn in turns if not turn.startswith("strategy.name="))
        teacher = self.teacher.currentData() or "teacher"
        argv = ["distil", str(project.folder), "--teacher", teacher, "--name", self.name.text()]
        argv += ["--strategy", self.strategy.currentData()]
        return [*argv, *(word for turn in turns for word in ("--set", turn))]

    @property
    def settings(self) -> DistilSettings:
        """As the forms say."""
        chosen = self.forms["rest"].value
        updated: DistilSettings = chosen.model_copy(update={"strategy": self.forms[self.strategy.currentData()].value})
        return updated

    # ---- inside ------------------------------------------------------------------------------------------------

    def _strategy(self) -> Any:
        """As its form says; as it comes while a knob there cannot be turned that far."""
        name = self.strategy.currentData()
        try:
            return self.forms[name].value
        except UserError:
            return strategies()[name][1]()

    def _offer_name(self) -> None:
        names = ("student", *(f"student-{number}" for number in range(2, 1000)))
        if self.name_taken(self.name.text()):
            self.name.setText(next(name for name in names if not self.name_taken(name)))

    def _show_readiness(self) -> None:
        project, teacher = self.session.project, self.teacher.currentData()
        kind, self.found = strategies()[self.strategy.currentData()][1], None
        found = None if project is None else census(project)
        lack = "" if found is None else missing(self._strategy(), found)
        self.advice.setText("" if found is None else advise(found).why)
        if lack:
            self.sentence.setText(f"{lack[0].upper()}{lack[1:]}")
        elif project is not None and kind.from_proposals and teacher:
            self._unseen = self._strategy().unreviewed
            self.found = readiness(project, teacher, self._unseen)
            self.sentence.setText(self.found.sentence)
        else:
            self.sentence.setText("There is enough to learn from.")
        organs = self.found.organs if self.found else ()
        self.table.setRowCount(len(organs))
        for row, o in enumerate(organs):
            cells = (o.name, o.labelled, o.accepted, o.corrected, o.rejected, o.open, o.believed)
            for column, cell in enumerate(cells):
                self.table.setItem(row, column, QTableWidgetItem(str(cell)))
        self.table.setVisible(bool(organs))
        self.warnings.setText("\n".join(f"⚠ {warning}" for warning in self.found.warnings) if self.found else "")
        self.warnings.setVisible(bool(self.warnings.text()))
        self.review.setVisible(bool(self.found and self.found.review_next))
        self.start.setEnabled(self.found.ready if self.found else not lack)

    def _show_command(self, *_: object) -> None:
        argv = self._argv() if self.forms else None
        if argv is not None:
            self.command.show_command(argv)

    def _curves(self) -> Curves:
        """Made when there is something to draw: the library for plots takes its time to load."""
        if self.curves is None:
            from ..curves import Curves

            self.curves = Curves()
            self._progress.addWidget(self.curves)
        return self.curves

    def _listen(self) -> None:
        session = self.session
        session.project_changed.connect(self._on_project)
        session.checkpoint_changed.connect(self.refresh)
        session.data_changed.connect(self.refresh)
        session.defaults.changed.connect(self._on_defaults)
        session.board.changed.connect(self.follow)
        self.teacher.activated.connect(self.refresh)
        self.strategy.activated.connect(self._on_strategy)
        self.name.textEdited.connect(self._show_command)

    def _on_project(self, _: object) -> None:
        base = self.session.defaults.of("distil", DistilSettings) or DistilSettings()
        self._drawn = None
        self.forms["rest"].setValue(base)
        self.forms[base.strategy.name].setValue(base.strategy)
        self.strategy.setCurrentIndex(self.strategy.findData(base.strategy.name))
        self._on_strategy(0)

    def _on_defaults(self) -> None:
        base, rest = self.session.defaults.of("distil", DistilSettings), self.forms["rest"]
        if base is None:
            return
        if self.strategy.currentData() == rest.base.strategy.name:
            self.strategy.setCurrentIndex(self.strategy.findData(base.strategy.name))
        rest.rebase(base)
        self.forms[base.strategy.name].rebase(base.strategy)
        self._on_strategy(0)

    def _on_strategy(self, _: int) -> None:
        for name, (_, fold) in self._folds.items():
            fold.setVisible(name == self.strategy.currentData())
        self.refresh()

    def _on_knob(self) -> None:
        """What a strategy lacks takes no time to look for; what people said of proposals does, and few knobs matter."""
        self._show_command()
        strategy = self._strategy()
        if self.session.project is not None and (not strategy.from_proposals or strategy.unreviewed != self._unseen):
            self._show_readiness()

    def _on_review(self) -> None:
        if self.found is not None:
            self.session.review.pin(self.found.review_next)
            self.session.ask_for_panel("Review")
            if self.session.review.queue:
                self.session.show(self.session.review.queue[0])

    def _on_stop(self) -> None:
        if self.session.project is not None and self._running:
            try:
                stop_training(self.session.project, self._running)
            except UserError as error:
                self.session.went_wrong.emit(str(error))
            else:
                self.session.said.emit(f"{self._running!r} stops after this step; the best of it is kept.")

    def _on_results(self) -> None:
        self.session.ask_for_panel("Results")

    def _readiness_table(self) -> QTableWidget:
        table = QTableWidget(0, len(_HEADS))
        table.setHorizontalHeaderLabels(_HEADS)
        for column, tip in enumerate(_TIPS):
            table.horizontalHeaderItem(column).setToolTip(tip)
        table.verticalHeader().hide()
        table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        table.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
        table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        table.horizontalHeader().setMinimumSectionSize(1)
        table.setMinimumHeight(_ROWS * (self.fontMetrics().height() + 8))
        return table

    def _lay_out(self) -> None:
        self.work, self.progress = QWidget(), QWidget()
        self._progress = QVBoxLayout(self.progress)
        self._progress.setContentsMargins(0, 0, 0, 0)
        for widget in (self.stop, self.open_results):
            self._progress.addWidget(widget)
        self._folds: dict[str, tuple[SettingsForm, QCollapsible]] = {}
        rows = QFormLayout()
        rows.addRow("Teacher", self.teacher)
        rows.addRow("Strategy", self.strategy)
        rows.addRow(self.advice)
        rows.addRow("Name", self.name)
        inner = QVBoxLayout(self.work)
        inner.setContentsMargins(0, 0, 0, 0)
        for widget in (self.sentence, self.table, self.warnings, self.review):
            inner.addWidget(widget)
        inner.addLayout(rows)
        fill(self.strategy, {title: name for name, (title, _) in strategies().items()})
        for name, (title, kind) in strategies().items():
            self._folds[name] = (self._form(name, kind()), self._fold(f"Settings: {title}", self.forms[name]))
        self._form("rest", DistilSettings(), without="strategy")
        folds = [fold for _, fold in self._folds.values()]
        for widget in (*folds, self._fold("Settings: training", self.forms["rest"]), self.command, self.start):
            inner.addWidget(widget)
        inner.addWidget(self.progress)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        column.addWidget(self.empty)
        column.addWidget(self.work)
        column.addStretch()

    def _form(self, name: str, settings: Any, without: str = "") -> SettingsForm:
        form = SettingsForm(settings, without=without)
        form.changed.connect(self._on_knob)
        self.forms[name] = form
        return form

    def _fold(self, title: str, form: SettingsForm) -> QCollapsible:
        fold = QCollapsible(title)
        fold.addWidget(form)
        fold.collapse(animate=False)
        return fold


def _name_of(argv: tuple[str, ...]) -> str:
    return argv[argv.index("--name") + 1] if "--name" in argv[:-1] else _NAMES[argv[0]]
