"""The whole way in a real window: sample, teacher, segment, watch, review by key, correct by painting, distil, results.

Everything is done with buttons, keys and the mouse; what came of it is read from the screen and from the disk.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QWidget

from napari_medaka_kd.gui.dock import MedakaDock
from napari_medaka_kd.project import open_project
from napari_medaka_kd.review import read_verdicts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PATIENCE = 240_000  # ms; the machine may be busy, and what runs in the background gives way
LOOK_EVERY = 0.2  # s

# A teacher and a student that learn little, fast: this is about the way, not about the figures.
KNOBS = """
[train]
network = { dimensions = 2, widths = [8, 16], members = 1 }
patches = { patch = [1, 32, 32], batch = 8 }
fit = { steps = 60, save_every = 30, validate_every = 20 }
[score]
slab = 32
good_iou = 0.5
copies = 4
critic_steps = 0
[distil]
patches = { patch = [1, 32, 32], batch = 4 }
fit = { steps = 60, save_every = 30, validate_every = 20 }
strategy = { unlabelled = 4 }
"""


class Window:
    """A person in front of the window."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot

    @property
    def dock(self) -> MedakaDock:
        return next(dock for dock in self.viewer.window._qt_window.findChildren(MedakaDock))

    @property
    def canvas(self) -> QWidget:
        return self.viewer.window._qt_viewer.canvas.native

    def tab(self, name: str) -> None:
        tabs = self.dock.tabs
        bar = tabs.tabBar()
        place = next(number for number in range(tabs.count()) if tabs.tabText(number) == name)
        QTest.mouseClick(bar, Qt.MouseButton.LeftButton, pos=bar.tabRect(place).center())
        assert tabs.currentIndex() == place

    def button(self, word: str) -> QAbstractButton:
        found = [b for b in self.dock.findChildren(QAbstractButton) if b.isVisible() and b.text().startswith(word)]
        assert found, (
            f"no button {word!r} among {[b.text() for b in self.dock.findChildren(QAbstractButton) if b.isVisible()]}"
        )
        return found[0]

    def press(self, word: str) -> None:
        self.until(lambda: self.button(word).isEnabled())
        QTest.mouseClick(self.button(word), Qt.MouseButton.LeftButton)

    def key(self, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
        QTest.keyClick(self.canvas, key, modifier)

    def until(self, what: Callable[[], bool], patience: int = PATIENCE) -> None:
        """Wait, and look only now and then: what runs in the background gives way to this process."""
        next_look = time.monotonic()

        def seen() -> bool:
            nonlocal next_look
            if time.monotonic() < next_look:
                return False
            found = what()
            next_look = time.monotonic() + LOOK_EVERY
            return found

        self.qtbot.waitUntil(seen, timeout=patience)

    def drag(self, start: QPoint, end: QPoint) -> None:
        QTest.mousePress(self.canvas, Qt.MouseButton.LeftButton, pos=start)
        for part in range(1, 6):
            QTest.mouseMove(self.canvas, start + (end - start) * part / 5)
            self.qtbot.wait(20)
        QTest.mouseRelease(self.canvas, Qt.MouseButton.LeftButton, pos=end)


@pytest.fixture
def window(make_napari_viewer: Any, qtbot: Any) -> Iterator[Window]:
    viewer = make_napari_viewer(show=True)
    yield Window(viewer, qtbot)
    for dock in viewer.window._qt_window.findChildren(MedakaDock):
        dock.shut()


def test_the_whole_way_from_the_sample_project_to_the_results(window: Window) -> None:
    folder = make_the_sample(window)
    teach_and_segment(window, folder)
    review_ten_by_key_with_each_kind_of_layer_active(window, folder)
    correct_one_by_painting(window, folder)
    distil_and_look_at_the_results(window, folder)


def make_the_sample(window: Window) -> Path:
    window.viewer.open_sample("napari-medaka-kd", "project")
    folder = window.dock.session.remembered.sample
    window.until(lambda: (folder / "project.toml").is_file() and len(open_project(folder).cases) >= 8)
    window.until(lambda: not window.dock.session.board.pending)
    (folder / "settings.toml").write_text(KNOBS)
    window.until(lambda: window.dock.panels["Distil"].settings.fit.steps == 60)
    window.until(lambda: "scan" in window.viewer.layers)
    assert "made-up fish" not in window.viewer.layers
    return folder


def teach_and_segment(window: Window, folder: Path) -> None:
    window.tab("Segment")
    window.press("Train")
    window.until(lambda: open_project(folder).checkpoints == ("teacher",))
    window.press("Segment all")
    window.until(lambda: all("teacher" in case.label_names for case in open_project(folder).cases))
    unlabelled = [case for case in open_project(folder).cases if not case.labelled]
    window.until(lambda: all((case.folder / "quality.json").is_file() for case in unlabelled))
    window.until(lambda: not window.dock.session.board.pending)
    organs = window.viewer.layers["organs"]
    assert organs.visible
    assert np.asarray(organs.data[0]).any()


def add_one_layer_of_each_kind(viewer: Any) -> list[Any]:
    viewer.add_image(np.zeros((8, 8, 8), np.float32), name="an image")
    viewer.add_labels(np.zeros((8, 8, 8), np.uint8), name="labels")
    viewer.add_points(np.zeros((1, 3)), name="points")
    viewer.add_shapes(ndim=3, name="shapes")
    viewer.add_tracks(np.array([[0, 0, 1, 1], [0, 1, 2, 2.0]]), name="tracks")
    viewer.add_vectors(np.zeros((1, 2, 3)), name="vectors")
    viewer.add_surface((np.zeros((3, 3)), np.array([[0, 1, 2]])), name="surface")
    return list(viewer.layers)


def review_ten_by_key_with_each_kind_of_layer_active(window: Window, folder: Path) -> None:
    window.tab("Review")
    layers = add_one_layer_of_each_kind(window.viewer)
    keys = [(Qt.Key.Key_A, "accepted"), (Qt.Key.Key_R, "rejected"), (Qt.Key.Key_S, "unsure")]
    wanted = []
    for number in range(10):
        window.viewer.layers.selection.active = layers[number % len(layers)]
        key, decision = keys[number % len(keys)]
        window.key(key)
        wanted.append(decision)
    assert [str(v.decision) for v in read_verdicts(folder / "review")] == wanted
    window.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert str(read_verdicts(folder / "review")[-1].decision) == "undone"
    for name in ("an image", "labels", "points", "shapes", "tracks", "vectors", "surface"):
        window.viewer.layers.remove(name)


def correct_one_by_painting(window: Window, folder: Path) -> None:
    item = window.dock.session.review.item
    assert item is not None
    window.key(Qt.Key.Key_W)
    layer = window.viewer.layers["correction"]
    before = np.array(layer.data)
    assert str(layer.mode) == "paint"
    middle = window.canvas.rect().center()
    window.drag(middle, middle + QPoint(30, 10))
    window.until(lambda: not np.array_equal(layer.data, before))
    painted = np.array(layer.data)
    window.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    window.until(lambda: np.array_equal(layer.data, before))
    window.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    window.until(lambda: np.array_equal(layer.data, painted))
    window.key(Qt.Key.Key_D)
    window.until(lambda: "reviewed" in open_project(folder).case(item.case).label_names)
    window.until(lambda: "correction" not in [each.name for each in window.viewer.layers if each.visible])
    assert "corrected" in [str(v.decision) for v in read_verdicts(folder / "review")]


def distil_and_look_at_the_results(window: Window, folder: Path) -> None:
    window.tab("Distil")
    window.press("Distil")
    window.until(lambda: "student" in open_project(folder).checkpoints)
    window.until(lambda: not window.dock.session.board.pending)
    window.tab("Results")
    window.press("Evaluate")
    window.until(lambda: any((folder / "runs").glob("*evaluate*/report.html")))
    window.until(lambda: not window.dock.session.board.pending)
