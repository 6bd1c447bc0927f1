"""What segmenting the animal on show will take, in a line, and a small button that has it measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QToolButton, QWidget

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.settings import SegmentSettings
from napari_medaka_kd.workflow.forecast import Machine, Outlook, at_a_glance

from .parts import words

if TYPE_CHECKING:
    from .session import Session

_NOTHING = "forecast: press Estimate"


class ForecastLine(QWidget):
    """Time, memory and disk, from prices that were measured before."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session, self.checkpoint = session, ""
        self.text, self.estimate = words(_NOTHING), QToolButton()
        self.estimate.setText("Estimate")
        self.estimate.setAutoRaise(True)
        self.estimate.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.estimate.setToolTip("Computes a few tiles in the background, some seconds long. No animal is changed.")
        self.estimate.clicked.connect(self._on_estimate)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.text, 1)
        row.addWidget(self.estimate)

    def show_for(self, checkpoint: str) -> None:
        """Say what ``checkpoint`` will take for the animal on show."""
        self.checkpoint = checkpoint
        self.setVisible(bool(checkpoint) and self.session.case is not None)
        found = self._outlook()
        self.text.setText(_NOTHING if found is None else self._worded(found))

    def _worded(self, found: Outlook) -> str:
        assert self.session.project is not None
        free = Machine.now(self.session.project.folder)
        return "\n".join([found.total.words(), *found.warnings(free)])

    def _outlook(self) -> Outlook | None:
        project, case = self.session.project, self.session.case
        if project is None or case is None or not self.checkpoint:
            return None
        try:
            settings = self.session.defaults.of("segment", SegmentSettings) or SegmentSettings()
            return at_a_glance(project, self.checkpoint, case, settings)
        except UserError:
            return None  # a damaged case or checkpoint: others say so

    def _on_estimate(self) -> None:
        project, case = self.session.project, self.session.case
        if project is not None and case is not None and self.checkpoint:
            argv = ["forecast", str(project.folder), "--checkpoint", self.checkpoint, "--case", case.id, "--again"]
            self.session.start(f"estimate {case.id}", argv)
