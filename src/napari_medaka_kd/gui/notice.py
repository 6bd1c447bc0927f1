"""The notice of the Review panel where there is nothing to review: what to do next, and a button that does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medaka_kd.workflow.desk import Filter
from napari_medaka_kd.workflow.kinds import finds_things

from .parts import button, words

if TYPE_CHECKING:
    from .session import Session


class Notice(QWidget):
    """What to do next where there is nothing to review, with a button that does it."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.text = words()
        self.next = button("", self._on_next)
        self._panel = ""
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.text)
        column.addWidget(self.next)
        column.addStretch(1)

    def refresh(self) -> None:
        """Say how things stand, or nothing where there is something to review."""
        sentence, self._panel, word = _advice(self.session)
        self.setVisible(bool(sentence))
        self.text.setText(sentence)
        self.next.setText(word)

    def _on_next(self) -> None:
        if self._panel:
            self.session.ask_for_panel(self._panel)
        else:
            self.session.review.arrange(keep=Filter())
            self.session.step(1)


def _advice(session: Session) -> tuple[str, str, str]:
    """What to say, the panel to go to (empty: to all that is open), and the button's word."""
    review = session.review
    if session.project is None:
        return "No project is open.", "Cases", "Open a project"
    if finds_things(session.project, session.checkpoint):
        name = session.checkpoint
        return f"{name} finds things that overlap: they can be looked at, not reviewed.", "Segment", "Go to Segment"
    if review.desk is None:
        who = f"{session.checkpoint} has proposed" if session.checkpoint else "There is"
        told = f"{who} nothing to review yet: let a teacher segment the animals without labels, then judge it here."
        return told, "Segment", "Go to Segment"
    if review.queue:
        return "", "", ""
    if review.keep != Filter():
        return "Nothing is left with these filters.", "", "Show all that is open"
    return "All is judged. A student can learn from it now.", "Distil", "Go to Distil"
