"""Propagating: a button that lays one animal's labels onto those without, in the background, without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medaka_kd.workflow.requirements import census

from .parts import button, words

if TYPE_CHECKING:
    from napari_medaka_kd.project import Project
    from napari_medaka_kd.workflow.requirements import Census

    from .session import Session

NAME = "propagated"
_TIP = (
    "The labels of the animal on show, or of the only labelled one, laid onto every animal without labels, in any "
    f"pose, as label maps {NAME!r}; no network is needed. To be looked at, measured and corrected: what you correct "
    "teaches students; an animal that is right as a whole becomes a labelled one in Cases."
)


class PropagateBox(QWidget):
    """A button that begins ``medaka-kd propagate``, and what it would do or what it lacks."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.start, self.state = button("Warp labels onto the others", self.propagate, _TIP), words()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 8, 0, 0)
        column.addWidget(self.start)
        column.addWidget(self.state)

    def refresh(self) -> None:
        """Say whose labels would be warped onto how many, or why none."""
        if self.session.project is None:
            return
        found = census(self.session.project)
        atlas = self._atlas(self.session.project, found)
        self.start.setEnabled(bool(atlas) and found.unlabelled > 0)
        if not found.labelled:
            self.state.setText("No animal has labels that could be warped.")
        elif not found.unlabelled:
            self.state.setText("No animal is without labels.")
        elif not atlas:
            self.state.setText("To warp labels, look at the animal that has them, in Cases.")
        else:
            self.state.setText(f"Those of {atlas}, onto {found.unlabelled} without.")

    def propagate(self) -> None:
        """Have the labels warped, show and review what comes of it."""
        project = self.session.project
        if project is not None and (atlas := self._atlas(project, census(project))):
            self.session.use(NAME)
            argv = ["propagate", str(project.folder), "--name", NAME, "--atlas", atlas]
            self.session.start(f"warp the labels of {atlas}", argv)

    def _atlas(self, project: Project, found: Census) -> str:
        """The labelled animal on show, or the only one; empty where it is not clear which."""
        case = self.session.case
        if case is not None and case.labelled and not case.held_out:
            return case.id
        if found.labelled != 1:
            return ""
        return next(case.id for case in project.cases if case.labelled and not case.held_out)
