"""The report card: teacher against student organ by organ, size and speed, and the report as a page."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QGridLayout, QSizePolicy, QVBoxLayout, QWidget

from napari_medaka_kd.workflow.results import export_page, export_table

from .parts import button, words
from .saving import ask_where, save
from .table import Cell, Column, FigureTable

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medaka_kd.workflow.results import Cost, OrganResult, ReportCard

    from .session import Session

# Okabe and Ito's orange and sky blue: told apart by any eye, on dark and on light.
TEACHER, STUDENT = "#e69f00", "#56b4e9"
_COLUMNS = (
    Column("organ"),
    Column("teacher", "Mean IoU with the truth over the held-out animals, in %."),
    Column("student", "Mean IoU with the truth over the held-out animals, in %."),
    Column("gain", "By how many points the student is better (▲) or worse (▼)."),
)


class ReportView(QWidget):
    """A report card."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.card: ReportCard | None = None
        self.sentence, self.costs = words(), words()
        self.table = FigureTable(_COLUMNS, most=14)
        self.page = button("Open report", self._on_open, "The whole report, with pictures, in the browser.")
        self.keep_page = button("Save report …", self._on_save_page, "The report as one page that needs nothing else.")
        self.keep_table = button("Save table …", self._on_save_table, "IoU organ by organ, for a spreadsheet.")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self.sentence, self.table, self.costs):
            column.addWidget(widget)
        grid = QGridLayout()
        for each in (self.page, self.keep_page, self.keep_table):
            each.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        grid.addWidget(self.page, 0, 0, 1, 2)
        grid.addWidget(self.keep_page, 1, 0)
        grid.addWidget(self.keep_table, 1, 1)
        column.addLayout(grid)

    def show_card(self, card: ReportCard | None) -> None:
        """Show ``card``; nothing while there is none."""
        self.card = card
        self.setVisible(card is not None)
        if card is not None:
            self.sentence.setText(f"<b>{card.sentence}</b>")
            organs = [_row(organ) for organ in card.organs]
            self.table.show_rows([*organs, _means(card)])
            self.costs.setText(word_costs(card))

    def save_table(self, path: Path) -> None:
        """Write the table to ``path``."""
        if self.card is not None:
            save(self.session, path, partial(export_table, self.card))

    def save_page(self, path: Path) -> None:
        """Copy the report to ``path``."""
        if self.card is not None:
            save(self.session, path, partial(export_page, self.card))

    def _on_open(self) -> None:
        if self.card is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.card.page)))

    def _on_save_table(self) -> None:
        path = ask_where(self, "student-and-teacher.csv", "Table (*.csv)")
        if path is not None:
            self.save_table(path)

    def _on_save_page(self) -> None:
        path = ask_where(self, "student-and-teacher.html", "Page (*.html)")
        if path is not None:
            self.save_page(path)


def word_costs(card: ReportCard) -> str:
    """What both cost, a line each, and how they compare; empty where nothing is known."""
    costs = {name: card.costs[name] for name in (card.teacher, card.student) if name in card.costs}
    lines = [f"{name}: {said}" for name, cost in costs.items() if (said := _cost(cost))]
    theirs, ours = costs.get(card.teacher), costs.get(card.student)
    if theirs and ours and theirs.voxels_per_second and ours.voxels_per_second and theirs.device == ours.device:
        lines.append(f"{card.student} is {ours.voxels_per_second / theirs.voxels_per_second:.2g} × as fast.")
    return "\n".join(lines)


def _cost(cost: Cost) -> str:
    said = []
    if cost.parameters is not None and cost.megabytes is not None:
        said += [f"{short(cost.parameters)} parameters", f"{cost.megabytes:.3g} MB"]
    if cost.voxels_per_second:
        said.append(f"{short(cost.voxels_per_second)} voxels/s" + (f" on {cost.device}" if cost.device else ""))
    return ", ".join(said)


def short(number: float) -> str:
    """Three digits of a large number: ``12.3 k``, ``1.9 M``."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def _row(organ: OrganResult) -> tuple[Cell, ...]:
    return (
        Cell(organ.name, tip=organ.name),
        _percent(organ.teacher, TEACHER),
        _percent(organ.student, STUDENT),
        _gain(organ.gain),
    )


def _means(card: ReportCard) -> tuple[Cell, ...]:
    return (
        Cell("all organs", tip="The mean over the organs.", strong=True),
        replace(_percent(card.teacher_iou, TEACHER), strong=True),
        replace(_percent(card.student_iou, STUDENT), strong=True),
        replace(_gain(card.student_iou - card.teacher_iou), strong=True),
    )


def _percent(iou: float, colour: str) -> Cell:
    return Cell("-" if math.isnan(iou) else f"{100 * iou:.1f}", iou, iou, colour)


def _gain(gain: float) -> Cell:
    if math.isnan(gain):
        return Cell("-", gain)
    points = round(100 * gain, 1)
    sign = "▲" if points > 0 else "▼" if points < 0 else "="
    return Cell(f"{sign} {abs(points):.1f}", gain)
