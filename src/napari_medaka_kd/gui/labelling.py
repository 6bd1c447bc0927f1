"""Labelling: the animal on show is given labels: from a file, or the label map that is shown, and those taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from napari_medaka_kd.workflow.label import taken_from

from .parts import button, side_by_side, words

if TYPE_CHECKING:
    from .session import Session

_FILE = "Organ ids on the grid of this animal's scan, drawn with any program."
_FOLDER = "The same from an OME-Zarr, or a folder of slices."
_TAKE = (
    "All organs of this animal are right by now, as proposed or as you corrected them: a teacher learns from them as "
    "from labels that you drew. Not of animals that are held out."
)
_BACK = "The animal is without labels again; proposals and corrections stay."


class LabelsBox(QWidget):
    """Four buttons, of which those are there that the animal on show has a use for."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.file = button("Labels from a file …", self.choose, _FILE)
        self.folder = button("Labels from a folder …", self.choose_folder, _FOLDER)
        self.take = button("Take these as its labels", self.take_over, _TAKE)
        self.back = button("Take its labels back", self.take_back, _BACK)
        self.state = words()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.state)
        column.addWidget(side_by_side(self.file, self.folder))
        column.addWidget(side_by_side(self.take, self.back))
        session.checkpoint_changed.connect(self._on_change)
        self.refresh()

    def refresh(self) -> None:
        """Offer what the animal on show has a use for."""
        case, chosen = self.session.case, self.session.checkpoint
        bare = case is not None and not case.labelled
        taken = taken_from(case) if case is not None else ""
        self.file.setVisible(bare)
        self.folder.setVisible(bare)
        self.take.setVisible(case is not None and bare and not case.held_out and chosen in case.label_names)
        self.back.setVisible(bool(taken))
        self.state.setText("" if case is None or not taken else f"The labels of {case.id} were taken from {taken!r}.")
        self.state.setVisible(bool(taken))
        self.setVisible(bare or bool(taken))

    def choose(self) -> None:
        """Ask for a file of labels, and have them copied."""
        file, _ = QFileDialog.getOpenFileName(self, "Labels of this animal")
        self._give(file)

    def choose_folder(self) -> None:
        """Ask for a folder of labels, and have them copied."""
        self._give(QFileDialog.getExistingDirectory(self, "Labels of this animal"))

    def take_over(self) -> None:
        """Have the label map on show taken as labels."""
        self._start("take the labels of {}", "--from", self.session.checkpoint)

    def take_back(self) -> None:
        """Have the animal be without labels again."""
        self._start("take back the labels of {}", "--take-back")

    def _give(self, labels: str) -> None:
        if labels:
            self._start("give {} labels", "--labels", labels)

    def _start(self, title: str, *argv: str) -> None:
        project, case = self.session.project, self.session.case
        if project is not None and case is not None:
            self.session.start(title.format(case.id), ["label", str(project.folder), case.id, *argv])

    def _on_change(self, _: str) -> None:
        self.refresh()
