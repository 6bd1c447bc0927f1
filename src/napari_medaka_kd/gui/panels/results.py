"""The panel Results: student against teacher, where they differ, the volumes of the cohort, and taking them along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from qtpy.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.workflow.assess_things import read_things
from napari_medaka_kd.workflow.cohort import read_cohort, remeasure
from napari_medaka_kd.workflow.disagree import compare_again, read_disagreements
from napari_medaka_kd.workflow.kinds import finds_things
from napari_medaka_kd.workflow.measure_things import read_measured_things
from napari_medaka_kd.workflow.results import (
    animals_to_test_on,
    export_labels,
    label_names,
    report_card,
    unsegmented,
    usual_pair,
)

from ..cohort_view import CohortView
from ..difference_view import DifferenceView
from ..parts import button, choice, fill, words
from ..report_view import ReportView
from ..saving import ask_where

if TYPE_CHECKING:
    from pathlib import Path

    from qtpy.QtGui import QShowEvent

    from napari_medaka_kd.project import Project

    from ..session import Session

_NO_PROJECT = "Open a project first, in Cases."
_NO_PAIR = "Here a student is held against its teacher. Train a teacher in Segment, then distil a student in Distil."
_NO_TRUTH = "No labelled animal is held out to test on: add one in Cases, with its labels and «held out» ticked."
_NOT_YET = "Press Evaluate to hold both against people's labels of the held-out animals."
_THINGS = "Press Evaluate to hold it against people's labels of things in the held-out animals."
_NO_LABELS = "No animal has labels yet: segment some first."
_DIFFER = "The places that the two label most differently: worth a look, and a verdict."
_VOLUMES = "How large each organ of each animal is, and which stand out."
_COUNTS = "How many things each scan has, and how large each of them is."


class ResultsPanel(QWidget):
    """What came of it.

    Attributes
    ----------
    report, differences, cohort
        The three parts.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self._stale, self._picked = True, False
        self.help, self.state = words(), words()
        self.student, self.teacher = choice("The student."), choice("Whom it is held against.")
        self.labels = choice("Whose labels are measured and exported, with people's corrections.")
        self.report, self.differences, self.cohort = ReportView(session), DifferenceView(session), CohortView(session)
        self.evaluate = button(
            "Evaluate", self.start_evaluation, "On the held-out animals; they are segmented first where need be."
        )
        self.compare = button(
            "Find disagreements", self.start_comparison, "In all animals that were not labelled for training."
        )
        self.measure = button("Measure cohort", self.start_measuring, "The volume of each organ of each animal.")
        self.keep = button("Save this animal's labels …", self._on_save, "As NIfTI, with the voxel size in µm.")
        self._lay_out()
        self._listen()
        self.refresh()

    # ---- what is shown -----------------------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Show what is on the disk; put off until the panel is in sight."""
        self._stale = not self.isVisible() and self.session.project is not None
        if not self._stale:
            self._show(self.session.project)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802  Qt's name
        super().showEvent(event)
        if self._stale:
            self._stale = False
            self._show(self.session.project)

    def _show(self, project: Project | None) -> None:
        self.work.setVisible(project is not None)
        self.help.setVisible(project is None)
        self.help.setText(_NO_PROJECT)
        if project is not None:
            self._fill_choices(project)
            self._show_pair(project)
            self._show_cohort(project)
            self._show_state()

    def _fill_choices(self, project: Project) -> None:
        names = {name: name for name in project.checkpoints}
        wanted = self._pair() if self._picked and set(self._pair()) <= names.keys() else usual_pair(project)
        for box, name in zip((self.student, self.teacher), wanted, strict=True):
            fill(box, names, name)
            box.setCurrentIndex(box.findData(name) if name else -1)
        measured = {name: name for name in label_names(project)}
        fill(self.labels, measured, self.labels.currentData() or self.session.checkpoint or None)

    def _show_pair(self, project: Project) -> None:
        student, teacher = self._pair()
        paired = bool(student and teacher and student != teacher)
        card = report_card(project, student, teacher) if paired else None
        found = read_disagreements(project, student, teacher) if paired else None
        self.report.show_card(card)
        self.differences.show_found(found, 0 if found is None else len(compare_again(project, found)))

    def _show_cohort(self, project: Project) -> None:
        labels = self.labels.currentData() or ""
        cohort = read_cohort(project, labels) if labels else None
        self.cohort.show_cohort(cohort, 0 if cohort is None else len(remeasure(project, cohort)))

    def _show_state(self) -> None:
        """What to do next, and which buttons can be pressed."""
        project = self.session.project
        if project is None:
            return
        student, teacher = self._pair()
        things = finds_things(project, student)  # held against people's alone
        paired, labels = bool(student and teacher and student != teacher), bool(self.labels.currentData())
        truth = bool(animals_to_test_on(project, student))
        at_work = {task.verb for task in self.session.board.pending}
        for each, verb, ready in (
            (self.evaluate, "evaluate", (paired or things) and truth),
            (self.compare, "disagree", paired and not things),
            (self.measure, "measure", labels or things),
        ):
            each.setEnabled(ready and verb not in at_work)
        self.keep.setEnabled(labels and self.session.case is not None)
        self.measure.setText("Measure things" if things else "Measure cohort")
        said = _said_of_things(project, student, truth) if things else ""
        self.state.setText(said or self._next_step(paired or things, truth))
        self.state.setVisible(bool(self.state.text()))
        self.differ.setVisible(self.differences.found is None)
        self.volumes.setVisible(self.cohort.cohort is None)
        self.volumes.setText(_COUNTS if things else _VOLUMES if labels else _NO_LABELS)

    def _next_step(self, paired: bool, truth: bool) -> str:
        if not paired:
            same = len(self.session.project.checkpoints) > 1 if self.session.project else False
            return "Choose two different checkpoints." if same else _NO_PAIR
        if not truth:
            return _NO_TRUTH
        return _NOT_YET if self.report.card is None else ""

    # ---- what it starts ----------------------------------------------------------------------------------------

    def start_evaluation(self) -> None:
        """Hold both against the truth of the held-out animals, which are segmented first where need be."""
        student, teacher = self._pair()
        if self.session.project is not None and finds_things(self.session.project, student):
            self._segment_first("held out", student)
            argv = ["evaluate", str(self.session.project.folder), "--checkpoint", student]
            self.session.start(f"evaluate {student}", argv)
            return
        self._segment_first("held out", student, teacher)
        self._start(f"evaluate {student} against {teacher}", ["evaluate"], student, teacher)

    def start_comparison(self) -> None:
        """Look for where the two differ, in all animals that teach nothing new; segmented first where need be."""
        student, teacher = self._pair()
        self._segment_first("unseen", student, teacher)
        self._start(f"find where {student} and {teacher} differ", ["disagree"], student, teacher)

    def start_measuring(self) -> None:
        """Measure the organs of all animals; where the student finds things, these."""
        project, student = self.session.project, self._pair()[0]
        if project is not None:
            things = finds_things(project, student)
            labels = student if things else self.labels.currentData()
            argv = ["measure", str(project.folder), "--labels", labels]
            self.session.start(f"measure the {'things' if things else 'organs'} by {labels}", argv)

    def save_labels(self, path: Path) -> None:
        """Write the labels of the animal on show to ``path``."""
        project, case, labels = self.session.project, self.session.case, self.labels.currentData()
        if project is not None and case is not None and labels:
            self.session.said.emit(f"Saving {path} …")
            self.session.play(export_labels(project, case, labels, path), self._on_saved)

    def _start(self, title: str, verb: list[str], student: str, teacher: str) -> None:
        if self.session.project is not None:
            argv = [*verb, str(self.session.project.folder), "--checkpoint", student, "--against", teacher]
            self.session.start(title, argv)

    def _segment_first(self, which: Literal["held out", "unseen"], *names: str) -> None:
        """Have them segment what they have not yet."""
        project = self.session.project
        if project is None:
            return
        for name in names:
            lacking = unsegmented(project, name, which)
            if lacking:
                named = [word for case in lacking for word in ("--case", case)]
                argv = ["segment", str(project.folder), "--checkpoint", name, *named]
                self.session.start(f"segment {len(lacking)} animals with {name}", argv)

    # ---- what happens ------------------------------------------------------------------------------------------

    def _pair(self) -> tuple[str, str]:
        return self.student.currentData() or "", self.teacher.currentData() or ""

    def _listen(self) -> None:
        session = self.session
        session.project_changed.connect(self._on_project)
        session.data_changed.connect(self.refresh)
        session.case_changed.connect(self._on_any)
        session.board.changed.connect(self._on_any)
        self.labels.activated.connect(self.refresh)
        for box in (self.student, self.teacher):
            box.activated.connect(self._on_picked)

    def _on_project(self, _: object) -> None:
        self._picked = False
        for box in (self.student, self.teacher, self.labels):
            box.clear()
        self.refresh()

    def _on_any(self, *_: object) -> None:
        if self.isVisible():
            self._show_state()

    def _on_picked(self, _: int) -> None:
        self._picked = True
        self.refresh()

    def _on_saved(self, outcome: Path | UserError) -> None:
        if isinstance(outcome, UserError):
            self.session.went_wrong.emit(str(outcome))
        else:
            self.session.said.emit(f"Saved: {outcome}")

    def _on_save(self) -> None:
        case = self.session.case
        name = f"{case.id if case else 'organs'}-{self.labels.currentData()}.nii.gz"
        path = ask_where(self, name, "NIfTI (*.nii.gz *.nii)")
        if path is not None:
            self.save_labels(path)

    # ---- how it is built ---------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        self.work, self.differ, self.volumes = QWidget(), words(_DIFFER), words()
        column = QVBoxLayout(self.work)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(_named(("Student", self.student), ("Teacher", self.teacher)))
        for widget in (self.evaluate, self.state, self.report):
            column.addWidget(widget)
        column.addWidget(_head("Where they differ"))
        for widget in (self.differ, self.compare, self.differences):
            column.addWidget(widget)
        column.addWidget(_head("Volumes"))
        column.addWidget(self.volumes)
        column.addLayout(_named(("Labels", self.labels)))
        for widget in (self.measure, self.cohort, self.keep):
            column.addWidget(widget)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 4, 0, 0)
        outer.addWidget(self.help)
        outer.addWidget(self.work)
        outer.addStretch()


def _said_of_things(project: Project, checkpoint: str, truth: bool) -> str:
    """How well they were found, or what to do to know it, and how many there are."""
    scored = (read_things(project, checkpoint) or _THINGS) if truth else ""
    return "\n".join(filter(None, (scored, read_measured_things(project, checkpoint))))


def _named(*rows: tuple[str, QWidget]) -> QGridLayout:
    """Each with its word before it."""
    grid = QGridLayout()
    for place, (word, widget) in enumerate(rows):
        grid.addWidget(QLabel(word), place, 0)
        grid.addWidget(widget, place, 1)
    grid.setColumnStretch(1, 1)
    return grid


def _head(text: str) -> QLabel:
    return words(f"<b>{text}</b>")
