"""What the command palette and the menus offer: the dock's most wanted deeds, which open it first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import napari
from napari.utils.notifications import show_warning
from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from .dock import MedakaDock

PLUGIN, WIDGET = "napari-medaka-kd", "Medaka KD"


def open_dock(viewer: Viewer | None = None) -> MedakaDock | None:
    """The dock of the current viewer, opened if need be; ``None`` where there is no window."""
    viewer = viewer or napari.current_viewer()
    if viewer is None:
        show_warning("There is no napari window to open the dock in.")
        return None
    dock: MedakaDock = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)[1]
    return dock


def drop_soon(viewer: Viewer, name: str) -> None:
    """Remove the layer of that name once the event loop runs again."""

    def drop() -> None:
        if name in viewer.layers:
            viewer.layers.remove(name)

    QTimer.singleShot(0, drop)


def review() -> None:
    """Go to the review."""
    dock = open_dock()
    if dock is not None:
        dock.show_panel("Review")


def segment_this() -> None:
    """Have the animal on show segmented."""
    dock = open_dock()
    if dock is not None:
        dock.show_panel("Segment")
        dock.panels["Segment"].segment_this()


def worst_spot() -> None:
    """Look at where the teacher doubts the item under review most."""
    dock = open_dock()
    if dock is not None:
        dock.session.go_to_worst()
