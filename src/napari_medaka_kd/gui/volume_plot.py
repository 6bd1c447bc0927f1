"""Organ volumes of a cohort as a plot: a row an organ, a dot an animal, outliers marked; a click goes there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph
from qtpy.QtCore import QSize, Signal

from napari_medaka_kd.workflow.cohort import worded

if TYPE_CHECKING:
    from qtpy.QtGui import QWheelEvent
    from qtpy.QtWidgets import QWidget

    from napari_medaka_kd.workflow.cohort import Cohort, CohortRow

OUTLIER, USUAL = "#e69f00", "#909090"
_SYMBOLS = {"": "o", "large": "t2", "small": "t3", "missing": "x"}  # triangles that point to where it lies
_WIDEST, _NARROWEST = 4.0, 1.2  # doublings of the median to either side
_LEVELS = (-0.18, 0.0, 0.18)  # rows; neighbours do not hide one another
_LETTERS = 14  # of an organ's name


class VolumePlot(pyqtgraph.PlotWidget):
    """How many times the median each organ of each animal is.

    Attributes
    ----------
    opened
        The row of the cohort that was clicked.
    """

    opened = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, background=None)
        self.dots = pyqtgraph.ScatterPlotItem(pxMode=True, hoverable=True, tip=_tip)
        self.dots.sigClicked.connect(self._on_clicked)
        self._rows = 1
        self.setMouseEnabled(x=False, y=False)
        self.setMenuEnabled(False)
        self.hideButtons()
        self.getPlotItem().invertY(True)
        self.setLabel("bottom", "× median")
        self.addItem(self.dots)

    def show_cohort(self, cohort: Cohort) -> None:
        """Draw ``cohort``."""
        self._style()
        medians = cohort.medians()
        organs = [organ for organ in dict.fromkeys(row.organ for row in cohort.rows) if organ in medians]
        names = {row.organ: row.name for row in cohort.rows}
        self._rows = len(organs)
        reach = _reach(cohort, medians)
        self.dots.setData(
            [
                _dot(row, organs.index(row.organ), medians[row.organ], reach)
                for row in sorted(cohort.rows, key=lambda row: bool(row.kind))  # outliers on top
                if row.organ in medians and (row.volume_um3 > 0 or row.kind)
            ]
        )
        self.getAxis("left").setTicks([[(place, _cut(names[organ])) for place, organ in enumerate(organs)]])
        self.getAxis("bottom").setTicks([[(at, _times(at)) for at in range(-int(reach), int(reach) + 1)]])
        self.setXRange(-reach - 0.2, reach + 0.2, padding=0)
        self.setYRange(-0.6, self._rows - 0.4, padding=0)
        self.setFixedHeight(self.sizeHint().height())

    def sizeHint(self) -> QSize:  # noqa: N802  Qt's name
        line = self.fontMetrics().height()
        return QSize(10 * line, int((1.25 * self._rows + 3.5) * line))

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802  Qt's name
        """The wheel scrolls the panel around it."""
        event.ignore()

    def _style(self) -> None:
        """In the ink and the font of the window."""
        self.ensurePolished()  # or it would not know the theme yet
        ink = self.palette().windowText().color()
        for side in ("left", "bottom"):
            axis = self.getAxis(side)
            axis.setPen(ink)
            axis.setTextPen(ink)
            axis.setStyle(tickFont=self.font(), tickLength=-3)
        self.getAxis("bottom").label.setFont(self.font())
        self.getAxis("bottom").setGrid(60)

    def _on_clicked(self, _: Any, points: Any, *__: Any) -> None:
        found = sorted((point.data() for point in points), key=lambda row: not row.kind)
        if found:
            self.opened.emit(found[0])


def _reach(cohort: Cohort, medians: dict[int, float]) -> float:
    """To how many doublings of the median the axis goes, to either side."""
    ratios = [abs(math.log2(row.volume_um3 / medians[row.organ])) for row in cohort.rows if row.volume_um3 > 0]
    return float(np.clip(max(ratios, default=0.0), _NARROWEST, _WIDEST))


def _dot(row: CohortRow, place: int, median: float, reach: float) -> dict[str, Any]:
    """Of a missing organ at the left end."""
    ratio = math.log2(row.volume_um3 / median) if row.volume_um3 > 0 else -reach
    colour = OUTLIER if row.kind else USUAL
    return {
        "pos": (min(max(ratio, -reach), reach), place + _LEVELS[sum(map(ord, row.case)) % len(_LEVELS)]),
        "data": row,
        "symbol": _SYMBOLS[row.kind],
        "size": 12 if row.kind else 6,
        "brush": pyqtgraph.mkBrush(colour),
        "pen": pyqtgraph.mkPen(colour if row.kind == "missing" else "k", width=3 if row.kind == "missing" else 1),
    }


def _tip(x: float, y: float, data: CohortRow) -> str:
    return f"{data.case}: {data.name}, {worded(data)}"


def _times(doublings: int) -> str:
    return f"{2**doublings}" if doublings >= 0 else f"1/{2**-doublings}"


def _cut(name: str) -> str:
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
