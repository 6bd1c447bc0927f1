"""Curves of a training: its losses, and each organ's IoU against the teacher's, with a preview of a slice."""

from __future__ import annotations

import math
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
_POINTS = 200  # of a curve that are drawn; more cannot be told apart
_COLOURS = ("#56b4e9", "#e69f00", "#f0e442", "#cc79a7", "#009e73")  # Okabe and Ito: told apart by everyone
_TALL = 9  # lines of text that a plot is high
_SHOWN = 110  # pixels of a preview


class Curves(QWidget):
    """How a training goes."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.sentence, self.organ = words(), choice("Which organ's curve is drawn.")
        self.losses, self.ious = self._plot("loss"), self._plot("IoU")
        self._frames: dict[Any, tuple[int, float]] = {}
        self._lines: dict[Any, dict[str, Any]] = {self.losses: {}, self.ious: {}}
        self.previews = {name: QLabel() for name in ("truth", "teacher", "student")}
        self.training: Training | None = None
        self._previewed: Preview | None = None
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
        if training.preview is not None and training.preview != self._previewed:
            self._previewed = training.preview
            self._show_preview(training.preview, schema)

    def _draw_ious(self, training: Training) -> None:
        organ = self.organ.currentData() or ""
        taught = training.teacher.get(organ) if organ else _mean(training.teacher)
        if training.ious:
            curve = training.ious.get(organ, ()) if organ else training.mean
            curves = {"student" if training.teacher else "network": curve}
        else:
            curves = {"on known labels": training.known}
        if taught is not None:
            curves["teacher"] = ((0, taught), (training.steps, taught))
        self._draw(self.ious, curves)

    def _draw(self, plot: Any, curves: Mapping[str, Curve]) -> None:
        """One line a curve, kept from one time to the next: making them anew would hold the window up."""
        lines = self._lines[plot]
        if lines.keys() != curves.keys():
            plot.clear()
            lines.clear()
            for number, name in enumerate(curves):
                pen = pyqtgraph.mkPen(_COLOURS[number % len(_COLOURS)], width=2, style=_DASHES[number % len(_DASHES)])
                lines[name] = plot.plot(pen=pen, name=name)
        self._frame(plot, max((value for curve in curves.values() for _, value in curve), default=1.0))
        for name, curve in curves.items():
            steps, values = np.array(curve[:: len(curve) // _POINTS + 1], float).reshape(-1, 2).T
            lines[name].setData(steps, values)

    def _frame(self, plot: Any, highest: float) -> None:
        """Keep the axes still while a training runs: drawing them anew costs more than the curves."""
        assert self.training is not None
        top = 1.0 if plot is self.ious else 2.0 ** math.ceil(math.log2(max(highest, 1e-3)))
        frame = (self.training.steps, top)
        if self._frames.get(plot) != frame:
            self._frames[plot] = frame
            plot.setRange(xRange=(0, self.training.steps), yRange=(0, top), disableAutoRange=True)

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
        plot.setFixedHeight(_TALL * self.fontMetrics().height())
        plot.setMouseEnabled(x=False, y=False)
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.addLegend(offset=(-4, 4), labelTextSize="7pt")
        return plot

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
