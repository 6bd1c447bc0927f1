"""The dock: builds session, layers, keys and panels, and lets them hear of what happens outside."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import qtpy
from napari.utils.notifications import show_warning
from qtpy.QtCore import QEvent, QSize, Qt, QTimer
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QLabel, QScrollArea, QSizePolicy, QTabWidget, QVBoxLayout, QWidget

from .follow import Follower, play_aside
from .keys import KeyBindings
from .layers import Scene
from .panels.cases import CasesPanel
from .panels.distil import DistilPanel
from .panels.results import ResultsPanel
from .panels.review import ReviewPanel
from .panels.segment import SegmentPanel
from .panes import OrthoViews
from .preferences import read_preferences
from .session import Session
from .tasks import TasksWidget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.viewer import Viewer
    from qtpy.QtGui import QKeyEvent, QShowEvent

PANELS = {
    "Cases": CasesPanel,
    "Segment": SegmentPanel,
    "Review": ReviewPanel,
    "Distil": DistilPanel,
    "Results": ResultsPanel,
}
HELP = {
    "Cases": "Open a project, or drop a scan here to add it.",
    "Segment": "A checkpoint proposes organs; the tiles where you look come first.",
    "Review": "One key a verdict: A accept, R reject, W correct. N goes on.",
    "Distil": "A student learns from labels, verdicts and the teacher's soft answers.",
    "Results": "Teacher against student on animals that neither has seen.",
}
_WIDE = 400  # pixels; usable from 320 on
_NOTICE = 1000  # ms between two looks at what others said and did


class MedakaDock(QWidget):
    """Everything a biologist does with a project, in the order of the work.

    Attributes
    ----------
    session
        What is being looked at and done.
    panels
        By the word on their tabs.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        warn_of_bad_qt()
        self.viewer = napari_viewer
        self.preferences = read_preferences()
        self.session = Session(reviewer=self.preferences.reviewer)
        self.session.review.order = self.preferences.order
        self.session.play = play_aside
        self.scene = Scene(napari_viewer, self.session, self.preferences.ghost)
        self.keys = KeyBindings(napari_viewer, self.session, self.scene)
        self.follower = Follower(self.session)
        self.views: OrthoViews | None = None
        self.tabs, self.tasks, self.words = QTabWidget(), TasksWidget(self.session), QLabel()
        self.panels: dict[str, Any] = {name: kind(self.session) for name, kind in PANELS.items()}
        self._lay_out()
        self._timer = QTimer(self)
        self._timer.setInterval(_NOTICE)
        self._listen()

    def show_panel(self, name: str) -> None:
        """Bring the panel of that name to the front."""
        self.tabs.setCurrentIndex(list(self.panels).index(name))

    def say(self, words: str) -> None:
        """Show one line, until there is another one."""
        self.words.setText(words)

    def shut(self) -> None:
        """Let go of the viewer, the keys and the project; what runs in the background runs on."""
        self._timer.stop()
        self.follower.stop()
        self.keys.release()
        self.session.close()
        self.scene.close()

    def sizeHint(self) -> QSize:  # noqa: N802  Qt's name
        """Wide enough for the tabs; it can be made narrower."""
        return QSize(max(_WIDE, 24 * self.fontMetrics().averageCharWidth()), 800)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802  Qt's name
        super().showEvent(event)
        self._timer.start()
        self._on_tab(self.tabs.currentIndex())

    def hideEvent(self, event: QEvent) -> None:  # noqa: N802  Qt's name
        super().hideEvent(event)
        self.keys.release()
        self.session.remember()

    def closeEvent(self, event: QEvent) -> None:  # noqa: N802  Qt's name
        self.shut()
        super().closeEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802  Qt's name
        """Keys that no field of the dock wanted do what they do on the canvas."""
        pressed = QKeySequence(event.keyCombination()).toString(QKeySequence.SequenceFormat.PortableText)
        if not (self.keys.bound and self.keys.play(pressed.replace("Ctrl", "Control").replace("+", "-"))):
            super().keyPressEvent(event)

    def _lay_out(self) -> None:
        for name, panel in self.panels.items():
            area = QScrollArea()
            area.setWidgetResizable(True)
            area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
            area.setFrameShape(QScrollArea.Shape.NoFrame)
            area.setWidget(panel)
            self.tabs.addTab(area, name)
        self.tabs.setUsesScrollButtons(True)
        self.tabs.tabBar().setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.words.setWordWrap(True)
        self.words.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.addWidget(self.tabs, 1)
        column.addWidget(self.tasks)
        column.addWidget(self.words)

    def _listen(self) -> None:
        session = self.session
        session.said.connect(self.say)
        session.went_wrong.connect(self._on_wrong)
        session.panel_asked.connect(self.show_panel)
        session.project_changed.connect(self._on_project)
        session.board.changed.connect(self.follower.wake)
        session.data_changed.connect(self._on_data)
        self.tabs.currentChanged.connect(self._on_tab)
        self._timer.timeout.connect(session.listen)
        self.destroyed.connect(self.follower.stop)

    def _on_tab(self, index: int) -> None:
        name = self.tabs.tabText(index)
        self.say(HELP[name])
        if name == "Review" and self.isVisible():
            self.keys.bind()
            self._open_views()
            self.session.begin_review()
        else:
            self.keys.release()

    def _on_project(self, project: Any) -> None:
        name = "" if project is None else f"{project.name}: {project.folder}"
        self.setToolTip(name)
        self.follower.wake()

    def _on_data(self) -> None:
        if self.keys.bound:
            self.session.begin_review()

    def _on_wrong(self, sentences: str) -> None:
        self.say(sentences)
        show_warning(sentences)

    def _open_views(self) -> None:
        """The two other views, under the canvas."""
        if self.views is None and self.preferences.views:
            self.views = OrthoViews(self.session, self.scene)
            self.viewer.window.add_dock_widget(self.views, name="Medaka KD: other views", area="bottom")


def warn_of_bad_qt() -> None:
    """PySide6 6.12 loses references to None, and Python 3.11 then aborts after some twenty layers."""
    if qtpy.PYSIDE6 and qtpy.PYSIDE_VERSION.startswith("6.12") and sys.version_info < (3, 12):
        show_warning(
            f"PySide6 {qtpy.PYSIDE_VERSION} crashes napari under Python 3.11. Install another one: "
            'pip install "PySide6<6.12", or PyQt6.'
        )


def open_docks(viewer: Viewer) -> Iterator[MedakaDock]:
    """The docks of this plugin that are open in ``viewer``."""
    for widget in viewer.window.dock_widgets.values():
        if isinstance(widget, MedakaDock):
            yield widget
