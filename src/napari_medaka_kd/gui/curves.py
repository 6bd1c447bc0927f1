"""Curves of a training: its losses, and each organ's IoU against the teacher's, with a preview of a slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from .colours import colour_table, lay_over
from .parts import choice, fill, words

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from napari_medaka_kd.volumes.labels import LabelSchema
    from napari_medaka_kd.workflow.training import Curve, Preview, Training

_DASHES = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine, Qt.PenStyle.DashDotLine)
_ALL = "mean of all organs"
_TALL = 7  # lines of text that a plot is high at least
_SHOWN = 110  # pixels of a preview


class Curves(QWidget):
    """How a training goes."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.sentence, self.organ = words(), choice("Which organ's curve is drawn.")
        self.losses, self.ious = self._plot("loss"), self._plot("IoU")
        self.ious.setYRange(0, 1)
        self.previews = {name: QLabel() for name in ("truth", "teacher", "student")}
        self.training: Training | None = None
        self._lay_out()
        self.organ.activated.connect(self._on_organ)

    def show_training(self, training: Training, schema: LabelSchema) -> None:
        """Draw ``training`` as it stands."""
        self.training = training
        self.sentence.setText(training.sentence)
        names = {_ALL: "", **{name: name for name in training.ious}}
        if self.organ.count() != len(names):
            fill(self.organ, names)
        self._draw(self.losses, dict(training.losses))
        self._draw_ious(training)
        if training.preview is not None:
            self._show_preview(training.preview, schema)

    def _draw_ious(self, training: Training) -> None:
        organ = self.organ.currentData() or ""
        if training.ious:
            curve = training.ious.get(organ, ()) if organ else training.mean
            taught = training.teacher.get(organ) if organ else _mean(training.teacher)
            self._draw(self.ious, {"student" if training.teacher else "network": curve})
        else:
            taught = None
            self._draw(self.ious, {"on known labels": training.known})
        if taught is not None:
            pen = pyqtgraph.mkPen(self._ink(), width=1, style=Qt.PenStyle.DashLine)
            self.ious.addItem(pyqtgraph.InfiniteLine(taught, angle=0, pen=pen, label="teacher"))

    def _draw(self, plot: Any, curves: Mapping[str, Curve]) -> None:
        """One line a curve; told apart by dashes as well as by colour."""
        plot.clear()
        plot.addLegend(offset=(-4, 4), labelTextSize="7pt")
        for number, (name, curve) in enumerate(curves.items()):
            colour = pyqtgraph.intColor(number, hues=max(3, len(curves)), minValue=200)
            pen = pyqtgraph.mkPen(colour, width=2, style=_DASHES[number % len(_DASHES)])
            steps, values = np.array(curve, float).reshape(-1, 2).T
            plot.plot(steps, values, pen=pen, name=name)

    def _show_preview(self, preview: Preview, schema: LabelSchema) -> None:
        table = colour_table(schema)
        for name, label in self.previews.items():
            label.setVisible(name in preview.maps)
            if name in preview.maps:
                label.setPixmap(_picture(lay_over(preview.image, preview.maps[name], table, 0)))
                label.setToolTip(f"{name}: a slice of a held-out animal")

    def _plot(self, left: str) -> Any:
        plot = pyqtgraph.PlotWidget(background=None)
        plot.setLabel("left", left)
        plot.setLabel("bottom", "step")
        plot.setMinimumHeight(_TALL * self.fontMetrics().height())
        plot.setMouseEnabled(x=False, y=False)
        plot.setMenuEnabled(False)
        plot.hideButtons()
        return plot

    def _ink(self) -> Any:
        return self.palette().windowText().color()

    def _on_organ(self, _: int) -> None:
        if self.training is not None:
            self._draw_ious(self.training)

    def _lay_out(self) -> None:
        pictures = QHBoxLayout()
        for name, label in self.previews.items():
            both = QVBoxLayout()
            both.addWidget(label)
            both.addWidget(QLabel(name))
            pictures.addLayout(both)
        pictures.addStretch()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self.sentence, self.losses, self.organ, self.ious):
            column.addWidget(widget)
        column.addLayout(pictures)


def _mean(values: Mapping[str, float]) -> float | None:
    return float(np.mean(list(values.values()))) if values else None


def _picture(rgb: npt.NDArray[np.uint8]) -> QPixmap:
    """(y, x, 3) as a picture of its longer side's size in pixels."""
    height, width, _ = rgb.shape
    image = QImage(np.ascontiguousarray(rgb).data, width, height, 3 * width, QImage.Format.Format_RGB888).copy()
    return QPixmap.fromImage(image).scaled(_SHOWN, _SHOWN, Qt.AspectRatioMode.KeepAspectRatio)
