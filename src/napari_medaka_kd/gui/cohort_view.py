"""The cohort: organ volumes of all animals as a plot and a table; outliers come first and jump to their slice."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from napari_medaka_kd.workflow.cohort import worded
from napari_medaka_kd.workflow.results import export_table

from .parts import button, choice, fill, words
from .saving import ask_where, save
from .table import Cell, Column, FigureTable

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medaka_kd.workflow.cohort import Cohort, CohortRow

    from .session import Session

_SIGNS = {"large": "▲", "small": "▼"}
_ALL = "all organs"
_MM3 = 1e9  # µm³
_COLUMNS = (
    Column("organ"),
    Column("animal"),
    Column("mm³"),
    Column("spreads", "How far from the median of all animals, in robust spreads; more than 3.5 stands out: ▲ ▼."),
)


class CohortView(QWidget):
    """Organ volumes of all animals.

    Attributes
    ----------
    plot
        ``None`` until there is something to draw.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.cohort: Cohort | None = None
        self.plot: Any = None
        self.rows: tuple[CohortRow, ...] = ()
        self.state, self.organ = words(), choice("Which organ's volumes are listed.")
        self.table = FigureTable(_COLUMNS, most=8)
        self.keep = button("Save table …", self._on_save, "All volumes, for a spreadsheet.")
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        row.addWidget(self.organ, 1)
        row.addWidget(self.keep)
        self._column.addWidget(self.state)
        self._column.addLayout(row)
        self._column.addWidget(self.table)
        self.table.opened.connect(self._on_opened)
        self.organ.activated.connect(self._on_organ)

    def show_cohort(self, cohort: Cohort | None, changed: int = 0) -> None:
        """Show ``cohort``; ``changed``: how many animals' labels are newer than it."""
        same, self.cohort = cohort == self.cohort, cohort
        self.setVisible(cohort is not None)
        if cohort is None:
            return
        self.state.setText(_summary(cohort, changed))
        if not same or self.plot is None:
            fill(self.organ, {_ALL: "", **{row.name: row.name for row in cohort.rows}})
            self._draw(cohort)
            self._list(cohort)

    def go_to(self, row: CohortRow) -> None:
        """Show that organ of that animal."""
        self.session.go_to(row.case, row.centre, row.organ)

    def save_table(self, path: Path) -> None:
        """Write the table to ``path``."""
        if self.cohort is not None:
            save(self.session, path, partial(export_table, self.cohort))

    def _draw(self, cohort: Cohort) -> None:
        if self.plot is None:
            from .volume_plot import VolumePlot  # pyqtgraph takes half a second to load

            self.plot = VolumePlot(self)
            self.plot.opened.connect(self.go_to)
            self._column.insertWidget(1, self.plot)
        self.plot.show_cohort(cohort)

    def _list(self, cohort: Cohort) -> None:
        organ = self.organ.currentData() or ""
        kept = [row for row in cohort.rows if organ in ("", row.name)]
        self.rows = tuple(sorted(kept, key=lambda row: (not row.kind, -abs(_or_zero(row.deviation)))))
        self.table.show_rows([_cells(row) for row in self.rows])

    def _on_opened(self, row: int) -> None:
        self.go_to(self.rows[row])

    def _on_organ(self, _: int) -> None:
        if self.cohort is not None:
            self._list(self.cohort)

    def _on_save(self) -> None:
        path = ask_where(self, "organ-volumes.csv", "Table (*.csv)")
        if path is not None:
            self.save_table(path)


def _summary(cohort: Cohort, changed: int) -> str:
    found = len(cohort.outliers())
    said = f"{found} of {len(cohort.rows)} organs stand out" if found else "No organ stands out"
    said += f" in {len(cohort.cases)} animals. Click a mark, or double click a row, to go there."
    return said + (" Some labels are newer: measure again." if changed else "")


def _cells(row: CohortRow) -> tuple[Cell, ...]:
    deviation = row.deviation
    figure = f"{deviation:+.1f}".replace("-", "−")
    said = {"": figure, "missing": "missing"}.get(row.kind, f"{_SIGNS.get(row.kind)} {abs(deviation):.1f}")
    said = "" if math.isnan(deviation) else said
    return (
        Cell(row.name, tip=f"{row.name}: {worded(row)}"),
        Cell(row.case),
        Cell(f"{row.volume_um3 / _MM3:.3g}" if row.volume_um3 else "-", row.volume_um3, tip=f"{row.volume_um3:g} µm³"),
        Cell(said, deviation, tip=worded(row), strong=bool(row.kind)),
    )


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
